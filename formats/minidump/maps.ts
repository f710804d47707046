// SPDX-License-Identifier: Apache-2.0
/** /proc/PID/maps, as minidumps of Linux keep it, in the words of a core: segments without bytes, and entries of NT_FILE. */
import { decodeText } from "../../src/bytes/text.js";
import { programHeader, type ProgramHeader, segmentTypeValues } from "../../src/gen/elf64.js";
import type { CoreMapping } from "../core/process-notes.js";

export interface Maps {
  readonly loads: readonly ProgramHeader[];
  readonly files: readonly CoreMapping[];
  readonly stack?: bigint;
  readonly heap?: bigint;
}

const linePattern = /^([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-])([w-])([x-])[ps] ([0-9a-f]{1,16}) [0-9a-f]+:[0-9a-f]+ [0-9]+ *(.*)$/;
const maxMaps = 1 << 20;

/** Lines that are none, or not in order, are passed over: the text is a stranger's. */
export function readMaps(bytes: Uint8Array): Maps {
  const loads: ProgramHeader[] = [];
  const files: CoreMapping[] = [];
  let stack: bigint | undefined;
  let heap: bigint | undefined;
  let last = 0n;
  for (const line of decodeText(bytes).split("\n")) {
    const [, from, to, read, write, execute, at, name = ""] = linePattern.exec(line) ?? [];
    if (from === undefined || to === undefined || at === undefined || loads.length >= maxMaps) continue;
    const [start, end, offset] = [BigInt(`0x${from}`), BigInt(`0x${to}`), BigInt(`0x${at}`)];
    if (start < last || end <= start || start % 4096n !== 0n || end % 4096n !== 0n || offset >= 1n << 63n) continue;
    last = end;
    const flags = (read === "r" ? 4 : 0) | (write === "w" ? 2 : 0) | (execute === "x" ? 1 : 0);
    loads.push(programHeader({ pType: segmentTypeValues.load, pFlags: flags, pVaddr: start, pMemsz: end - start, pAlign: 4096n }));
    if (name.startsWith("/")) files.push({ start, end, offset, path: name });
    else if (name === "[stack]") stack = start;
    else if (name === "[heap]") heap = start;
  }
  return { loads, files, ...(stack !== undefined && { stack }), ...(heap !== undefined && { heap }) };
}
