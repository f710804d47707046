// SPDX-License-Identifier: Apache-2.0
/** Header and directory of a tables segment, judged before any row is read (SPEC 4). */
import { type BytesPlace, ByteReader } from "../bytes/byte-reader.js";
import { directoryEntrySize, readDirectoryEntry, readTablesHeader } from "../gen/ckpt-elf-v2.js";
import { kindBlobs, kindChecksums, kindFrames, kindStrings, tableSpecs } from "../gen/tables.js";

/** Longest record that a reader accepts, bytes. */
const maxRowBytes = 1 << 16;

/** Where a table lies. */
export interface TableLocation {
  readonly kind: number;
  /** ksy name, "strings" or "blobs"; undefined for a kind that this version does not know. */
  readonly name?: string;
  /** From the start of the segment, bytes. */
  readonly offset: number;
  readonly rowLength: number;
  readonly rowCount: number;
}

export interface TableDirectory {
  readonly versionMinor: number;
  /** Checksums (SPEC 7.1); 0: none. */
  readonly sumTables: number;
  readonly sumRest: number;
  /** In the order of the directory. */
  readonly tables: readonly TableLocation[];
}

const names = new Map<number, string>([
  ...tableSpecs.map(({ kind, tableId }) => [kind, tableId] as const),
  [kindStrings, "strings"],
  [kindBlobs, "blobs"],
  [kindChecksums, "checksums"],
  [kindFrames, "frames"],
]);

/**
 * The directory of a whole segment.
 * @throws CrimgError `bytes.*`, `tables.directory` where tables overlap, repeat, or leave the segment
 */
export function readTableDirectory(bytes: Uint8Array, place: BytesPlace): TableDirectory {
  const reader = new ByteReader(bytes, place);
  reader.enter("tables_header");
  const header = readTablesHeader(reader);
  if (header.lenSegment !== BigInt(bytes.length)) {
    throw reader.error("tables.length", `len_segment must be ${bytes.length}, found ${header.lenSegment}`, 16, "len_segment");
  }
  const count = reader.count(header.numTables, directoryEntrySize, "num_tables");
  const firstRow = reader.pos + count * directoryEntrySize;
  const seen = new Set<number>();
  const tables: TableLocation[] = [];
  for (let index = 0; index < count; index++) {
    reader.enter("directory", index);
    const start = reader.pos;
    const { kind, lenRow, numRows, ofsRows } = readDirectoryEntry(reader);
    const check = (isRight: boolean, field: string, offset: number, expected: string, actual: number | bigint): void => {
      if (isRight) return;
      const message = `${field} of table ${names.get(kind) ?? kind} must be ${expected}, found ${actual}`;
      throw reader.error("tables.directory", message, start + offset, field, { expected, actual: String(actual) });
    };
    check(!seen.has(kind), "kind", 0, "one that no other entry has", kind);
    seen.add(kind);
    const isHeap = kind === kindStrings || kind === kindBlobs;
    if (isHeap) check(lenRow === 1, "len_row", 4, "1", lenRow);
    else check(lenRow >= 8 && lenRow % 8 === 0 && lenRow <= maxRowBytes, "len_row", 4, `a multiple of 8 up to ${maxRowBytes}`, lenRow);
    check(ofsRows % 8n === 0n && ofsRows >= BigInt(firstRow), "ofs_rows", 16, `a multiple of 8 from ${firstRow} on`, ofsRows);
    const room = BigInt(bytes.length) - ofsRows;
    check(room >= 0n && numRows * BigInt(lenRow) <= room, "num_rows", 8, `in the segment of ${bytes.length} bytes`, numRows);
    tables.push({ kind, name: names.get(kind), offset: Number(ofsRows), rowLength: lenRow, rowCount: Number(numRows) });
  }
  assertDisjoint(tables, reader);
  return { versionMinor: header.versionMinor, sumTables: header.sumTables, sumRest: header.sumRest, tables };
}

function assertDisjoint(tables: readonly TableLocation[], reader: ByteReader): void {
  const filled = tables.filter(({ rowCount }) => rowCount > 0).sort((a, b) => a.offset - b.offset);
  let end = 0;
  for (const { kind, offset, rowCount, rowLength } of filled) {
    if (offset < end) {
      reader.enter("directory");
      throw reader.error("tables.directory", `table ${names.get(kind) ?? kind} overlaps the one before it`, offset);
    }
    end = offset + rowCount * rowLength;
  }
}
