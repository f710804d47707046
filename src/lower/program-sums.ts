// SPDX-License-Identifier: Apache-2.0
/** Checksums of stored bytes in a linked program: known only when the pages have been copied. */
import { pieceSize } from "../gen/restore-program.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { putChecksum } from "./checksum.js";
import type { LinkedProgram } from "./link-program.js";

/** piece.sum. */
const sumOffset = 12;

/** Checksums of chunks of other files: by what extents name the file by, by file offset. */
export type ForeignSums = ReadonlyMap<number, ReadonlyMap<number, number>>;

/** Puts those of other files' chunks in from a program of the same checkpoint: nothing else knows them. */
export function takeForeignSums({ data, length, sums }: LinkedProgram, from: Uint8Array): void {
  const start = length - data.length;
  for (const { offset, count, source } of sums) {
    if (source === 0) continue;
    for (let at = offset + sumOffset; at < offset + count * pieceSize; at += pieceSize)
      data.set(from.subarray(start + at, start + at + 4), at);
  }
}

/** Puts them in, and the right checksum of the program itself; `codeChecksum` is that of the interpreter. */
export function putProgramSums(
  { parts, data, sums }: LinkedProgram,
  chunks: StoredChunks,
  codeChecksum: number,
  foreign?: ForeignSums,
): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (const { offset, fileOffset, count, source } of sums) {
    let at = Number(fileOffset);
    if (source !== 0) {
      if (foreign === undefined) continue;
      for (let piece = 0; piece < count; piece++) {
        const place = offset + piece * pieceSize;
        view.setUint32(place + sumOffset, foreign.get(source)?.get(at) ?? 0, true);
        at += view.getUint32(place + 8, true);
      }
      continue;
    }
    for (let piece = 0, index = chunks.firstBehind(at); piece < count; piece++, index++) {
      // What is not cut as chunks are has no checksum of its own.
      const isChunk = chunks.offsets[index] === at && chunks.lengths[index] === view.getUint32(offset + piece * pieceSize + 8, true);
      if (!isChunk) break;
      view.setUint32(offset + piece * pieceSize + sumOffset, chunks.sums[index] ?? 0, true);
      at = chunks.endOf(index);
    }
  }
  const [head, ...rest] = parts;
  putChecksum(head, codeChecksum, rest);
}
