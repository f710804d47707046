// SPDX-License-Identifier: Apache-2.0
/** Writes a whole tables segment (SPEC 4 to 6). The same rows always give the same bytes. */
import { ByteWriter } from "../bytes/byte-writer.js";
import { HeapWriter } from "../bytes/heaps.js";
import { CrimgError } from "../errors/crimg-error.js";
import {
  type RowCodec,
  checksumEntrySize,
  directoryEntrySize,
  frameEntrySize,
  rowCodecs,
  tablesHeaderSize,
  writeDirectoryEntry,
  writeTablesHeader,
} from "../gen/ckpt-elf-v2.js";
import {
  type DirectoryEntry,
  type ExtentRow,
  type Tables,
  kindBlobs,
  kindChecksums,
  kindFrames,
  kindStrings,
  tableSpecs,
  tablesVersionMajor,
  tablesVersionMinor,
} from "../gen/tables.js";
import { type KnownRecords, knownRecords } from "./known-records.js";
import type { RawTable } from "./read-tables.js";
import { haveTrailingBytes, trailingBytesOf } from "./trailing-bytes.js";

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

/** A table ready to be placed. */
interface Part {
  readonly kind: number;
  readonly name: string;
  readonly rowLength: number;
  readonly bytes: Uint8Array;
}

/**
 * Bytes of a segment: header, directory, tables in the order of their kinds, unknown tables, heaps; each table at a
 * multiple of 8, tables without rows left out. `unknownTables` is what `readTables` gave (heaps included).
 * @throws CrimgError `bytes.*`, `tables.*` for values that no record can hold, with a path such as `tasks[3].pid`
 */
export function writeTables(tables: Tables, unknownTables: readonly RawTable[] = []): Uint8Array {
  return new EncodedTables(tables, unknownTables).segment(tables.extents, 0).bytes;
}

/** All tables but extents as they will lie in a segment: where pages are stored may be known later. */
export class EncodedTables {
  readonly #heaps: HeapWriter;
  /** In the order of their kinds; undefined: extents. */
  readonly #known: (Part | undefined)[] = [];
  readonly #unknown: readonly RawTable[];

  /** @throws as `writeTables` */
  constructor(tables: Omit<Tables, "extents">, unknownTables: readonly RawTable[] = []) {
    const seed = (kind: number): Uint8Array | undefined => unknownTables.find((table) => table.kind === kind)?.bytes;
    // Extended registers are by far the most of it, where there are thousands of threads.
    const xstates = new Set(tables.threads.map(({ xstate }) => xstate));
    const room = [...xstates].reduce((sum, { length }) => sum + ((length + 7) & ~7), 4096);
    this.#heaps = new HeapWriter(seed(kindStrings), seed(kindBlobs), room);
    for (const { table } of tableSpecs) {
      if (table === "extents") this.#known.push(undefined);
      else if (tables[table].length > 0) this.#known.push(this.#encode(table, tables[table]));
    }
    const known = new Set<number>([...tableSpecs.map(({ kind }) => kind), kindStrings, kindBlobs, kindChecksums, kindFrames]);
    this.#unknown = unknownTables.filter(({ kind }) => kind !== kindStrings && kind !== kindBlobs);
    for (const raw of this.#unknown) checkRaw(raw, known);
  }

  #encode(table: keyof Tables, rows: readonly object[]): Part {
    const { kind, tableId, size } = tableSpecs.find((spec) => spec.table === table) ?? unknownSpec(table);
    return tablePart(kind, tableId, size, rows, rowCodecs[table] as RowCodec<object>, this.#heaps);
  }

  /**
   * The segment with these extents, which refer to nothing in the heaps, with room for that many checksums and frames of stored
   * bytes, and where each table is. May be called again.
   * @throws as `writeTables`
   */
  segment(extents: readonly ExtentRow[], checksums: number, frames = 0): TablesSegment {
    const parts = this.#known.flatMap((part) => part ?? (extents.length > 0 ? this.#encode("extents", extents) : []));
    for (const raw of this.#unknown) parts.push({ ...raw, name: `table${raw.kind}` });
    if (frames > 0) {
      parts.push({ kind: kindFrames, name: "frames", rowLength: frameEntrySize, bytes: new Uint8Array(frames * frameEntrySize) });
    }
    if (checksums > 0) {
      const rows = new Uint8Array(checksums * checksumEntrySize);
      parts.push({ kind: kindChecksums, name: "checksums", rowLength: checksumEntrySize, bytes: rows });
    }
    parts.push({ kind: kindStrings, name: "strings", rowLength: 1, bytes: this.#heaps.strings.finish() });
    parts.push({ kind: kindBlobs, name: "blobs", rowLength: 1, bytes: this.#heaps.blobs.finish() });
    return assemble(parts);
  }
}

function unknownSpec(table: string): never {
  throw new Error(`no table ${table}`);
}

function tablePart(kind: number, id: string, size: number, rows: readonly object[], codec: RowCodec<object>, heaps: HeapWriter): Part {
  const trailingLength = haveTrailingBytes() ? rows.reduce((most, row) => Math.max(most, trailingBytesOf(row)?.length ?? 0), 0) : 0;
  const rowLength = size + trailingLength;
  const records = trailingLength === 0 ? knownRecords(rows) : undefined;
  if (records !== undefined) return { kind, name: id, rowLength, bytes: completed(records, size, id, rows, codec, heaps) };
  const writer = new ByteWriter(rowLength * rows.length);
  let repeated: object | undefined;
  let before: object | undefined;
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index] as object;
    // Those of a file that is open a thousand times are one object. (Blobs are not always stored once.)
    if (row === before && (row === repeated || hasNoBlob(row))) {
      repeated = row;
      let count = 1;
      while (rows[index + count] === row) count++;
      writer.again(rowLength, count);
      index += count - 1;
      continue;
    }
    before = row;
    writer.enter(id, index);
    codec.write(writer, row, heaps);
    if (trailingLength === 0) continue;
    const trailing = trailingBytesOf(row) ?? new Uint8Array(0);
    writer.bytes(trailing);
    writer.zeros(trailingLength - trailing.length);
  }
  return { kind, name: id, rowLength, bytes: writer.finish() };
}

/** Known records, and the rest of them. */
function completed(
  { bytes, open }: KnownRecords,
  size: number,
  id: string,
  rows: readonly object[],
  codec: RowCodec<object>,
  heaps: HeapWriter,
): Uint8Array {
  if (bytes.length !== size * rows.length) throw new Error(`${bytes.length} bytes for ${rows.length} records of ${id}`);
  const writer = new ByteWriter(size * open.length);
  for (const index of open) {
    writer.enter(id, index);
    codec.write(writer, rows[index] as object, heaps);
  }
  const written = writer.finish();
  open.forEach((index, place) => bytes.set(written.subarray(place * size, (place + 1) * size), index * size));
  return bytes;
}

const hasNoBlob = (row: object): boolean => Object.values(row).every((value) => typeof value !== "object" || value === null);

/** Unknown tables may come from a hand-edited document. */
function checkRaw(raw: RawTable, taken: Set<number>): void {
  const isRight = raw.rowLength >= 8 && raw.rowLength % 8 === 0 && raw.bytes.length % raw.rowLength === 0 && !taken.has(raw.kind);
  if (!isRight) {
    const message = `unknown table ${raw.kind} must have a kind of its own and whole records of a multiple of 8 bytes`;
    throw new CrimgError("tables.unknown", message, { path: "unknown_tables" });
  }
  taken.add(raw.kind);
}

function assemble(parts: readonly Part[]): TablesSegment {
  let end = tablesHeaderSize + parts.length * directoryEntrySize;
  const entries = parts.map(({ kind, rowLength, bytes }): DirectoryEntry => {
    const ofsRows = Math.ceil(end / 8) * 8;
    end = ofsRows + bytes.length;
    return { kind, lenRow: rowLength, numRows: BigInt(bytes.length / rowLength), ofsRows: BigInt(ofsRows) };
  });
  const writer = new ByteWriter(end);
  writeTablesHeader(writer, {
    versionMajor: tablesVersionMajor,
    versionMinor: tablesVersionMinor,
    numTables: parts.length,
    lenSegment: BigInt(end),
    sumTables: 0,
    sumRest: 0,
  });
  for (const entry of entries) writeDirectoryEntry(writer, entry);
  for (const { bytes } of parts) {
    writer.align(8);
    writer.bytes(bytes);
  }
  const places = parts.map(({ kind, name, rowLength, bytes }, index) => {
    return { kind, name, rowLength, offset: Number(entries[index]?.ofsRows ?? 0n), length: bytes.length };
  });
  return { bytes: writer.finish(), tables: places };
}
