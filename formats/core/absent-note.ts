// SPDX-License-Identifier: Apache-2.0
/**
 * crimg's own note: memory that the core lacks because crimg did not know it. Without it, a PT_LOAD without bytes would be
 * taken for untouched memory when the core is read again. Debuggers pass over notes of owners that they do not know.
 */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { decodeText, encodeText } from "../../src/bytes/text.js";
import { writeNote, type Note } from "../../src/elf/notes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  absentRangesHeaderSize,
  absentRangeSize,
  ntCrimgAbsent,
  readAbsentRange,
  readAbsentRangesHeader,
  writeAbsentRange,
  writeAbsentRangesHeader,
} from "../../src/gen/core-notes.js";
import type { AbsentRegionRow } from "../../src/gen/tables.js";
import type { Missing } from "./absent.js";

export const crimgOwner = "crimg";

/** Appends the note, if anything is absent. */
export function writeAbsentNote(writer: ByteWriter, regions: readonly AbsentRegionRow[]): void {
  if (regions.length === 0) return;
  const desc = new ByteWriter(absentRangesHeaderSize + regions.length * (absentRangeSize + 64));
  writeAbsentRangesHeader(desc, { numEntries: BigInt(regions.length) });
  for (const { start, end } of regions) writeAbsentRange(desc, { start, end });
  for (const { reason } of regions) {
    desc.bytes(encodeText(reason));
    desc.u1(0);
  }
  writeNote(writer, crimgOwner, ntCrimgAbsent, desc.finish());
}

/** Ascending, disjoint. Throws CrimgError `core.note`, `bytes.*`. */
export function readAbsentNote(note: Note, source: string): Missing[] {
  const reader = new ByteReader(note.desc, { source, base: note.descOffset, path: "crimg_absent", format: "core" });
  const { numEntries } = readAbsentRangesHeader(reader);
  const count = reader.count(numEntries, absentRangeSize + 1, "num_entries");
  const ranges = Array.from({ length: count }, (_, index) => {
    reader.enter("crimg_absent", index);
    return readAbsentRange(reader);
  });
  let last = 0n;
  for (const { start, end } of ranges) {
    if (start < last || end <= start || start % 4096n !== 0n || end % 4096n !== 0n) {
      throw new CrimgError("core.note", `absent memory at 0x${start.toString(16)}: pages in ascending order are expected`, {
        source,
        format: "core",
        offset: note.descOffset,
        path: "crimg_absent",
      });
    }
    last = end;
  }
  return ranges.map((range) => {
    const rest = note.desc.subarray(reader.pos);
    const end = rest.indexOf(0);
    if (end < 0) throw reader.error("core.note", "a reason is cut off", reader.pos);
    reader.skip(end + 1);
    return { ...range, reason: decodeText(rest.subarray(0, end)) };
  });
}
