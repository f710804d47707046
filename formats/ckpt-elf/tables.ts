// SPDX-License-Identifier: Apache-2.0
/** The tables segment: header, directory, tables, string heap, blob heap (SPEC 5). */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { HeapReader, HeapWriter } from "../../src/bytes/heaps.js";
import {
  directoryEntrySize,
  readDirectoryEntry,
  readTablesHeader,
  type RowCodec,
  rowCodecs,
  tablesHeaderSize,
  writeDirectoryEntry,
  writeTablesHeader,
} from "../../src/gen/ckpt-elf-v2.js";
import {
  type DirectoryEntry,
  emptyTables,
  kindBlobs,
  kindStrings,
  type MutableTables,
  type Tables,
  tableSpecs,
  type TableSpec,
  tablesVersionMajor,
  tablesVersionMinor,
} from "../../src/gen/tables.js";
import type { UnknownTable } from "../../src/model/checkpoint.js";

/** More directory entries than this are an attack, not a future. */
const maxTables = 4096;
const noRow = 0xffff_ffff;

/** Where a table lies in its segment, for the section headers. */
export interface PlacedTable {
  readonly kind: number;
  /** `tasks`; for tables of unknown kind `table` and the number. */
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  readonly rowLength: number;
}

export interface TablesSegment {
  readonly bytes: Uint8Array;
  readonly tables: readonly PlacedTable[];
}

/** Makes the segment. Unknown tables are carried through. */
export function writeTablesSegment(tables: Tables, unknownTables: readonly UnknownTable[]): TablesSegment {
  const heaps = new HeapWriter();
  const pieces: {
    readonly kind: number;
    readonly name: string;
    readonly rowLength: number;
    readonly numRows: number;
    readonly bytes: Uint8Array;
  }[] = [];
  for (const spec of tableSpecs) {
    const rows = tables[spec.table];
    if (rows.length === 0) continue;
    const writer = new ByteWriter(rows.length * spec.size);
    const codec = codecOf(spec);
    rows.forEach((row, index) => {
      writer.enter(spec.tableId, index);
      codec.write(writer, row, heaps);
    });
    pieces.push({ kind: spec.kind, name: spec.tableId, rowLength: spec.size, numRows: rows.length, bytes: writer.finish() });
  }
  for (const { kind, rowLength, bytes } of unknownTables) {
    pieces.push({ kind, name: `table${kind}`, rowLength, numRows: rowLength === 0 ? 0 : bytes.length / rowLength, bytes });
  }
  for (const [kind, name, bytes] of [
    [kindStrings, "strings", heaps.strings.finish()],
    [kindBlobs, "blobs", heaps.blobs.finish()],
  ] as const) {
    pieces.push({ kind, name, rowLength: 1, numRows: bytes.length, bytes });
  }
  let offset = tablesHeaderSize + directoryEntrySize * pieces.length;
  const placed = pieces.map((piece) => {
    offset = Math.ceil(offset / 8) * 8;
    const at = offset;
    offset += piece.bytes.length;
    return { ...piece, offset: at };
  });
  const length = Math.ceil(offset / 8) * 8;
  const writer = new ByteWriter(length);
  writeTablesHeader(writer, {
    versionMajor: tablesVersionMajor,
    versionMinor: tablesVersionMinor,
    numTables: placed.length,
    lenSegment: BigInt(length),
  });
  for (const { kind, rowLength, numRows, offset: at } of placed) {
    writeDirectoryEntry(writer, { kind, lenRow: rowLength, numRows: BigInt(numRows), ofsRows: BigInt(at) });
  }
  for (const { bytes, offset: at } of placed) {
    writer.zeros(at - writer.length);
    writer.bytes(bytes);
  }
  writer.zeros(length - writer.length);
  return {
    bytes: writer.finish(),
    tables: placed.map(({ kind, name, rowLength, bytes, offset: at }) => ({ kind, name, rowLength, offset: at, length: bytes.length })),
  };
}

/** Reads the segment. `base` is its offset in the file, for messages. @throws CrimgError `tables.*`, `bytes.*` */
export function readTablesSegment(
  bytes: Uint8Array,
  place: { readonly source: string; readonly base: bigint },
): { readonly tables: MutableTables; readonly unknownTables: readonly UnknownTable[] } {
  const where = { ...place, format: "ckpt-elf" };
  const reader = new ByteReader(bytes, where);
  reader.enter("tables_header");
  const header = readTablesHeader(reader);
  if (header.lenSegment !== BigInt(bytes.length)) {
    throw reader.error(
      "tables.length",
      `len_segment is ${header.lenSegment}, but the segment has ${bytes.length} bytes`,
      16,
      "len_segment",
    );
  }
  if (header.numTables > maxTables)
    throw reader.error("tables.count", `num_tables is ${header.numTables}, more than ${maxTables}`, 12, "num_tables");
  const entries = Array.from({ length: header.numTables }, (_, index) => {
    reader.enter("directory", index);
    return readEntry(reader, bytes.length);
  });
  const seen = new Set<number>();
  for (const { entry, pos } of entries) {
    if (seen.has(entry.kind)) throw reader.error("tables.twice", `two tables are of kind ${entry.kind}`, pos, "kind");
    seen.add(entry.kind);
  }
  const heap = (kind: number) => {
    const found = entries.find(({ entry }) => entry.kind === kind)?.entry;
    return found === undefined ? new Uint8Array(0) : bytesOf(bytes, found);
  };
  const heaps = new HeapReader(heap(kindStrings), heap(kindBlobs));
  const tables = emptyTables();
  const unknownTables: UnknownTable[] = [];
  const specs = new Map(tableSpecs.map((spec) => [spec.kind, spec]));
  for (const { entry } of entries) {
    if (entry.kind === kindStrings || entry.kind === kindBlobs) continue;
    const spec = specs.get(entry.kind);
    if (spec === undefined) unknownTables.push({ kind: entry.kind, rowLength: entry.lenRow, bytes: bytesOf(bytes, entry).slice() });
    else (tables[spec.table] as unknown[]).push(...readRows(spec, entry, bytes, heaps, where));
  }
  return { tables, unknownTables };
}

function readEntry(reader: ByteReader, segmentLength: number): { readonly entry: DirectoryEntry; readonly pos: number } {
  const pos = reader.pos;
  const entry = readDirectoryEntry(reader);
  if (entry.lenRow === 0) throw reader.error("tables.row-length", "len_row must not be 0", pos + 4, "len_row");
  if (entry.ofsRows % 8n !== 0n)
    throw reader.error("tables.alignment", `ofs_rows must be a multiple of 8, found ${entry.ofsRows}`, pos + 16, "ofs_rows");
  const end = entry.ofsRows + entry.numRows * BigInt(entry.lenRow);
  if (end > BigInt(segmentLength)) {
    throw reader.error("tables.range", `the table ends at ${end}, but the segment has ${segmentLength} bytes`, pos + 16, "ofs_rows");
  }
  return { entry, pos };
}

function bytesOf(segment: Uint8Array, entry: DirectoryEntry): Uint8Array {
  const start = Number(entry.ofsRows);
  return segment.subarray(start, start + Number(entry.numRows) * entry.lenRow);
}

function* readRows(
  spec: TableSpec,
  entry: DirectoryEntry,
  segment: Uint8Array,
  heaps: HeapReader,
  place: { readonly source: string; readonly base: bigint; readonly format: string },
): Generator<unknown> {
  const codec = codecOf(spec);
  const start = Number(entry.ofsRows);
  const isShort = entry.lenRow < spec.size;
  const whole = new ByteReader(bytesOf(segment, entry), { ...place, base: place.base + entry.ofsRows });
  for (let row = 0; row < Number(entry.numRows); row++) {
    const at = row * entry.lenRow;
    const reader = isShort
      ? new ByteReader(lengthen(spec, segment.subarray(start + at, start + at + entry.lenRow)), { ...place, base: whole.offsetOf(at) })
      : whole;
    if (!isShort) reader.seek(at);
    reader.enter(spec.tableId, row);
    yield codec.read(reader, heaps);
  }
}

/** A record of an older version: what it lacks is zero, and for references none. */
function lengthen(spec: TableSpec, record: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(spec.size);
  bytes.set(record);
  const view = new DataView(bytes.buffer);
  for (const field of spec.fields) {
    if (field.optional === true && field.offset >= record.length) view.setUint32(field.offset, noRow, true);
  }
  return bytes;
}

/** The codec as one of rows of any table; which row type it takes follows from the spec that it is looked up by. */
function codecOf(spec: TableSpec): RowCodec<unknown> {
  return rowCodecs[spec.table] as unknown as RowCodec<unknown>;
}
