// SPDX-License-Identifier: Apache-2.0
/** The restore program of a checkpoint whose extents say where their pages are in the image. */
import { DescriptorProgram } from "../../src/lower/fds/lowering.js";
import type { LinkedProgram } from "../../src/lower/link-program.js";
import { lowerCheckpoint } from "../../src/lower/lower.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import type { StoredFrame } from "../../src/model/stored-frames.js";
import { frameRecords } from "./frames.js";
import { helperFor } from "./helper.js";
import { pageSize } from "./image-header.js";
import { readInterpreter } from "./interpreter.js";

/** Lowers and links for the interpreter of this version. Throws CrimgError `lower.*`. */
export function linkProgramOf(checkpoint: Checkpoint, frames: readonly StoredFrame[] = []): LinkedProgram {
  const interpreter = readInterpreter();
  const helper = helperFor(checkpoint);
  return lowerCheckpoint(checkpoint, {
    codeSize: pageSize + BigInt(interpreter.bytes.length),
    codeSyscallOffset: pageSize + BigInt(interpreter.syscallOffset),
    codeChecksum: interpreter.checksum,
    ...(helper === undefined ? {} : { helper: { fileOffset: helper.fileOffset, size: BigInt(helper.bytes.length) } }),
    ...(frames.length === 0 ? {} : { frames: { records: frameRecords(frames), count: frames.length } }),
    lowerDescriptors: (context) => new DescriptorProgram(context),
  });
}
