// SPDX-License-Identifier: Apache-2.0
/** Checksums of stored bytes in a linked program: known only when the pages have been copied. */
import { pieceSize } from "../gen/restore-program.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { putChecksum } from "./checksum.js";
import type { LinkedProgram } from "./link-program.js";

/** piece.sum. */
const sumOffset = 12;

/** Puts them in, and the right checksum of the program itself; `codeChecksum` is that of the interpreter. */
export function putProgramSums({ bytes, sums }: LinkedProgram, chunks: StoredChunks, codeChecksum: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { offset, fileOffset, count } of sums) {
    let at = Number(fileOffset);
    for (let piece = 0, index = chunks.firstBehind(at); piece < count; piece++, index++) {
      // What is not cut as chunks are has no checksum of its own.
      const isChunk = chunks.offsets[index] === at && chunks.lengths[index] === view.getUint32(offset + piece * pieceSize + 8, true);
      if (!isChunk) break;
      view.setUint32(offset + piece * pieceSize + sumOffset, chunks.sums[index] ?? 0, true);
      at = chunks.endOf(index);
    }
  }
  putChecksum(bytes, codeChecksum);
}
