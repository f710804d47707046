// SPDX-License-Identifier: Apache-2.0
/** Notes that are nothing but records of one kind. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import type { Note } from "../../src/elf/notes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { type DumpedRange, dumpedRangeSize, readDumpedRange } from "../../src/gen/core-notes.js";

/** All whole records of a note. */
export function recordsOf<Value>(note: Note, size: number, read: (reader: ByteReader) => Value, source: string): Value[] {
  const reader = new ByteReader(note.desc, { source, base: note.descOffset, path: note.name, format: "core" });
  return Array.from({ length: Math.floor(note.desc.length / size) }, (_, index) => {
    reader.enter(note.name, index);
    return read(reader);
  });
}

/** minicoredumper's list of what it dumped, ascending. Throws CrimgError `core.note` for a range beyond all memory. */
export function readDumpList(note: Note, source: string): DumpedRange[] {
  const ranges = recordsOf(note, dumpedRangeSize, readDumpedRange, source);
  const wrong = ranges.findIndex(({ address, length }) => address + length > 1n << 64n);
  if (wrong >= 0) {
    throw new CrimgError(
      "core.note",
      `the dump list names memory beyond 2^64: ${ranges[wrong]?.length} bytes at 0x${ranges[wrong]?.address.toString(16)}`,
      {
        source,
        format: "core",
        offset: note.descOffset + BigInt(wrong * dumpedRangeSize),
        path: `dump_list[${wrong}]`,
      },
    );
  }
  return ranges.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
}
