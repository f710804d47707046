// SPDX-License-Identifier: Apache-2.0
/** The restore program of an image, for explain. */
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders, readSegment } from "../../src/elf/headers.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { formatId, segmentsOf } from "./image-header.js";

/** The bytes of the PT_CKPT_PROGRAM segment. @throws CrimgError `ckpt-elf.no-program`, `elf.*` */
export function readProgramBytes(path: string): Uint8Array {
  const file = FileBytes.open(path);
  try {
    const headers = readProgramHeaders(file, readElfHeader(file, formatId));
    const { program } = segmentsOf(headers);
    if (program === undefined) {
      throw new CrimgError("ckpt-elf.no-program", "the file has no PT_CKPT_PROGRAM segment", { source: path, format: formatId });
    }
    return readSegment(file, program, `program_headers[${headers.indexOf(program)}]`);
  } finally {
    file.close();
  }
}
