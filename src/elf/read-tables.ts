// SPDX-License-Identifier: Apache-2.0
/** Reads a whole tables segment into rows (SPEC 4 to 6). */
import { type BytesPlace, ByteReader } from "../bytes/byte-reader.js";
import { HeapReader } from "../bytes/heaps.js";
import { type RowCodec, rowCodecs } from "../gen/ckpt-elf-v2.js";
import { type TableSpec, type Tables, emptyTables, kindBlobs, kindChecksums, kindFrames, kindStrings, tableSpecs } from "../gen/tables.js";
import { type TableLocation, readTableDirectory } from "./table-directory.js";
import { setTrailingBytes } from "./trailing-bytes.js";

/** A table that this version does not know, or a heap that such a table may refer to, kept as bytes. */
export interface RawTable {
  readonly kind: number;
  readonly rowLength: number;
  readonly bytes: Uint8Array;
}

export interface TablesContent {
  readonly tables: Tables;
  /**
   * Tables of unknown kind. Where there is anything unknown (also trailing bytes of rows), the two heaps are here as
   * well, because the unknown may refer to them; `writeTables` keeps them in place.
   */
  readonly unknownTables: readonly RawTable[];
  readonly versionMinor: number;
}

/**
 * Rows of a segment. Blobs are views of `bytes`. References between rows are not judged here: see
 * `src/model/references.ts`.
 * @throws CrimgError with the absolute offset and path such as `tasks[3].state`
 */
export function readTables(bytes: Uint8Array, place: BytesPlace): TablesContent {
  const directory = readTableDirectory(bytes, place);
  const heapBytes = (kind: number): Uint8Array => {
    const heap = directory.tables.find((table) => table.kind === kind);
    return heap ? bytesOf(bytes, heap) : new Uint8Array(0);
  };
  const heaps = new HeapReader(heapBytes(kindStrings), heapBytes(kindBlobs));
  const tables = emptyTables();
  const unknownTables: RawTable[] = [];
  const heapTables: RawTable[] = [];
  let hasTrailing = false;
  for (const location of directory.tables) {
    const spec = tableSpecs.find(({ kind }) => kind === location.kind);
    if (location.kind === kindChecksums || location.kind === kindFrames) continue; // of this file: sums.ts
    if (spec) {
      const read = (name: keyof Tables): void => {
        readRows(bytes, place, location, spec, rowCodecs[name].read, heaps, tables[name]);
      };
      read(spec.table);
      hasTrailing ||= location.rowCount > 0 && location.rowLength > spec.size;
    } else {
      const raw = { kind: location.kind, rowLength: location.rowLength, bytes: bytesOf(bytes, location) };
      (location.kind === kindStrings || location.kind === kindBlobs ? heapTables : unknownTables).push(raw);
    }
  }
  if (unknownTables.length > 0 || hasTrailing) unknownTables.push(...heapTables);
  return { tables, unknownTables, versionMinor: directory.versionMinor };
}

function bytesOf(segment: Uint8Array, { offset, rowLength, rowCount }: TableLocation): Uint8Array {
  return segment.subarray(offset, offset + rowLength * rowCount);
}

function readRows(
  segment: Uint8Array,
  place: BytesPlace,
  location: TableLocation,
  spec: TableSpec,
  read: RowCodec<object>["read"],
  heaps: HeapReader,
  into: object[],
): void {
  const { rowLength, rowCount, offset } = location;
  const known = Math.min(rowLength, spec.size);
  const reader = new ByteReader(segment, place);
  // Records of an older writer are laid over a record of defaults.
  const padded = rowLength < spec.size ? defaultRecord(spec) : undefined;
  for (let index = 0; index < rowCount; index++) {
    const start = offset + index * rowLength;
    let row: object;
    if (padded) {
      padded.set(segment.subarray(start, start + known));
      const base = (place.base ?? 0n) + BigInt(start);
      const own = new ByteReader(padded, { ...place, base });
      own.enter(spec.tableId, index);
      row = read(own, heaps);
    } else {
      reader.pos = start;
      reader.enter(spec.tableId, index);
      row = read(reader, heaps);
      if (rowLength > known) setTrailingBytes(row, segment.subarray(start + known, start + rowLength));
    }
    into.push(row);
  }
}

/** What missing fields read as: zero, and none for optional references. */
function defaultRecord(spec: TableSpec): Uint8Array {
  const bytes = new Uint8Array(spec.size);
  for (const { optional, offset, size } of spec.fields) if (optional) bytes.fill(0xff, offset, offset + size);
  return bytes;
}
