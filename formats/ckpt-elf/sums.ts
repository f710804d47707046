// SPDX-License-Identifier: Apache-2.0
/** The checksums of an image: of its tables, of the rest of the file, and of the chunks of its stored bytes (SPEC 7.1). */
import { type BytesPlace, ByteReader } from "../../src/bytes/byte-reader.js";
import { checksumEntrySize, readChecksumEntry } from "../../src/gen/ckpt-elf-v2.js";
import { kindChecksums } from "../../src/gen/tables.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { formatId, type ImageSegments } from "./image-header.js";
import type { RandomBytes } from "../../src/bytes/random-bytes.js";
import { storedSum } from "../../src/bytes/crc32c.js";
import { crcOf } from "../../src/pages/checksum.js";
import { StoredChunks } from "../../src/model/stored-chunks.js";
import { readTableDirectory } from "../../src/elf/table-directory.js";
import type { TablesSegment } from "../../src/elf/write-tables.js";

/** tables_header.sum_tables and sum_rest. */
const sumsOffset = 24;
const sumsLength = 8;

/** Most bytes that are summed at once. */
const pieceBytes = 1n << 20n;

/** Bytes of a file. */
export interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/** What an image says of itself. */
export interface ImageSums {
  /** 0: none. */
  readonly tables: number;
  readonly rest: number;
  /** undefined: the image has no checksums of stored bytes. */
  readonly chunks: StoredChunks | undefined;
}

/** @throws CrimgError `bytes.*`, `tables.*` */
export function readSums(segment: Uint8Array, place: BytesPlace): ImageSums {
  const { sumTables, sumRest, tables } = readTableDirectory(segment, place);
  const location = tables.find(({ kind }) => kind === kindChecksums);
  if (location === undefined) return { tables: sumTables, rest: sumRest, chunks: undefined };
  const count = location.rowCount;
  const chunks = new StoredChunks(new Float64Array(count), new Uint32Array(count), new Uint32Array(count));
  const reader = new ByteReader(segment, place);
  for (let index = 0; index < count; index++) {
    reader.pos = location.offset + index * location.rowLength;
    reader.enter("checksums", index);
    if (location.rowLength < checksumEntrySize)
      throw reader.error("tables.directory", "records of checksums have 16 bytes at least", reader.pos);
    const { fileOffset, length, sum } = readChecksumEntry(reader);
    chunks.offsets[index] = Number(fileOffset);
    chunks.lengths[index] = length;
    chunks.sums[index] = sum;
  }
  return { tables: sumTables, rest: sumRest, chunks };
}

/** Puts the checksums of chunks into a segment that has room for them. */
export function putChunkSums({ bytes, tables }: TablesSegment, chunks: StoredChunks): void {
  const table = tables.find(({ kind }) => kind === kindChecksums);
  if (table === undefined) return;
  // By hand: there are thousands in a GiB, and nothing can be out of range.
  const view = new DataView(bytes.buffer, bytes.byteOffset + table.offset, table.length);
  for (let index = 0; index < chunks.count; index++) {
    const at = index * checksumEntrySize;
    const offset = chunks.offsets[index] ?? 0;
    view.setUint32(at, offset % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(offset / 2 ** 32), true);
    view.setUint32(at + 8, chunks.lengths[index] ?? 0, true);
    view.setUint32(at + 12, chunks.sums[index] ?? 0, true);
  }
}

/** The checksum of a tables segment. */
export function sumOfTables(segment: Uint8Array): number {
  const head = segment.slice(0, sumsOffset + sumsLength).fill(0, sumsOffset);
  return storedSum(crcOf(segment.subarray(head.length), crcOf(head)));
}

/**
 * The checksum of a file but for its tables segment and its stored bytes. `inner` are those two, ascending and apart.
 * @throws CrimgError `bytes.*`
 */
export function sumOfRest(file: RandomBytes, inner: readonly Range[]): number {
  let crc = 0;
  let at = 0n;
  for (const { start, end } of [...inner, { start: file.size, end: file.size }]) {
    while (at < start) {
      const length = start - at < pieceBytes ? start - at : pieceBytes;
      crc = crcOf(file.read(at, Number(length)), crc);
      at += length;
    }
    at = end;
  }
  return storedSum(crc);
}

/** Puts both checksums into a segment that is otherwise complete. */
export function putSums(segment: Uint8Array, rest: number): void {
  const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
  view.setUint32(sumsOffset, sumOfTables(segment), true);
  view.setUint32(sumsOffset + 4, rest, true);
}

/** The tables segment and the stored bytes in the file, ascending. Their checksums are not part of `sum_rest`. */
export function innerRanges({ tables, extents }: ImageSegments): Range[] {
  return [tables, extents]
    .flatMap((one) => (one === undefined || one.pFilesz === 0n ? [] : [{ start: one.pOffset, end: one.pOffset + one.pFilesz }]))
    .sort((a, b) => (a.start < b.start ? -1 : 1));
}

/** Fails unless an image, but for its stored bytes, is as it was written. @throws CrimgError `tables.checksum`, `ckpt-elf.checksum` */
export function assertSums(file: RandomBytes, segment: Uint8Array, segments: ImageSegments, sums: ImageSums): void {
  const place = { source: file.name, format: formatId, hint: "copy the image again; --no-verify takes it as it is" };
  if (sums.tables !== 0 && sumOfTables(segment) !== sums.tables)
    throw new CrimgError("tables.checksum", "the tables of the image are damaged: their checksum is wrong", {
      ...place,
      offset: segments.tables?.pOffset,
      path: "tables_header.sum_tables",
    });
  if (sums.rest !== 0 && sumOfRest(file, innerRanges(segments)) !== sums.rest)
    throw new CrimgError("ckpt-elf.checksum", "the image is damaged: the checksum of its headers and its restore program is wrong", {
      ...place,
      path: "tables_header.sum_rest",
    });
}
