// SPDX-License-Identifier: Apache-2.0
import type { ByteRange, PageSource } from "../model/page-source.js";
import { writeFully } from "./file-source.js";

const pieceBytes = 1 << 20;

/** What `copyTo` does for a source whose bytes have to be made: reads and writes, a mebibyte at a time. */
export function copyByReading(source: Pick<PageSource, "read">, fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
  const buffer = new Uint8Array(pieceBytes);
  let target = fileOffset;
  for (const range of ranges) {
    for (let done = 0n; done < range.length; ) {
      const left = range.length - done;
      const piece = buffer.subarray(0, left < BigInt(pieceBytes) ? Number(left) : pieceBytes);
      source.read(range.position + done, piece);
      writeFully(fd, piece, target + done);
      done += BigInt(piece.length);
    }
    target += range.length;
  }
}
