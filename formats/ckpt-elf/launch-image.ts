// SPDX-License-Identifier: Apache-2.0
/** An executable that holds a program and no checkpoint: what `crimg run` starts a command with. */
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { imageHeader } from "../../src/elf/writing.js";
import { elfTypeValues, programHeader, segmentTypeValues, writeElfHeader, writeProgramHeader } from "../../src/gen/elf64.js";
import { lowerLaunch, type LaunchOptions } from "../../src/lower/launch.js";
import { pageSize } from "./image-header.js";
import { readInterpreter } from "./interpreter.js";

const PF = { x: 1, w: 2, r: 4 } as const;

/** The bytes of the file. */
export function launchImage(options: Omit<LaunchOptions, "codeSize" | "codeChecksum">): Uint8Array {
  const interpreter = readInterpreter();
  const codeSize = pageSize + BigInt(interpreter.bytes.length);
  const { bytes, header } = lowerLaunch({ ...options, codeSize, codeChecksum: interpreter.checksum });
  const writer = new ByteWriter(Number(codeSize) + bytes.length);
  writeElfHeader(
    writer,
    imageHeader({ eType: elfTypeValues.exec, eEntry: header.holeBase + pageSize, ePhnum: 3, eShoff: 0n, eShnum: 0, eShstrndx: 0 }),
  );
  const segment = (pType: number, pFlags: number, pOffset: bigint, pFilesz: bigint, pVaddr: bigint, pMemsz: bigint, pAlign: bigint): void =>
    writeProgramHeader(writer, programHeader({ pType, pFlags, pOffset, pFilesz, pMemsz, pVaddr, pPaddr: pVaddr, pAlign }));
  segment(segmentTypeValues.load, PF.r | PF.x, 0n, codeSize, header.holeBase, codeSize, pageSize);
  segment(segmentTypeValues.ckpt_program, PF.r | PF.w, codeSize, BigInt(bytes.length), header.addrProgram, header.lenMemory, pageSize);
  segment(segmentTypeValues.gnu_stack, PF.r | PF.w, 0n, 0n, 0n, 0n, 16n);
  writer.zeros(Number(pageSize) - writer.length);
  writer.bytes(interpreter.bytes);
  writer.bytes(bytes);
  return writer.finish();
}
