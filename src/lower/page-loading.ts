// SPDX-License-Identifier: Apache-2.0
/**
 * Loading stored pages: extents that follow each other in the file go in one preadv, so that a restore is a few large
 * reads. Large runs get their memory before (the op `populate`), which costs half of what a fault for every page does.
 */
import type { ExtentRow } from "../gen/tables.js";
import { hugePageSize } from "./constants.js";
import type { Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

/** UIO_MAXIOV. */
const maxVectors = 1024;
/** Below MAX_RW_COUNT (0x7ffff000), so that every read is done in one piece. */
const maxBytes = 0x4000_0000n;

/** Bytes in memory. */
export interface Piece {
  readonly address: bigint;
  readonly length: bigint;
}

/** Ops that read the extents to where `place` says. */
export function readExtents(
  b: ProgramBuilder,
  imageFd: Slot,
  extents: readonly Pick<ExtentRow, "address" | "length" | "fileOffset">[],
  place: (address: bigint) => bigint,
  what: string,
): void {
  let pieces: Piece[] = [];
  let start = 0n;
  let total = 0n;
  const flush = (): void => {
    if (pieces.length === 0) return;
    const vectors = b.u8s(...pieces.flatMap(({ address, length }) => [address, length]));
    b.syscall("preadv", [imageFd, vectors, pieces.length, start, 0], {
      expect: total,
      message: `read ${total} bytes of ${what} from the image at offset ${start}`,
      hint: "the image is truncated, or there is not enough memory",
    });
    pieces = [];
  };
  for (const extent of extents) {
    for (let done = 0n; done < extent.length; ) {
      if (pieces.length === maxVectors || total >= maxBytes || extent.fileOffset + done !== start + total) flush();
      if (pieces.length === 0) {
        start = extent.fileOffset + done;
        total = 0n;
      }
      const room = maxBytes - total;
      const length = extent.length - done < room ? extent.length - done : room;
      pieces.push({ address: place(extent.address + done), length });
      total += length;
      done += length;
    }
  }
  flush();
}

/** Index of the first extent (ascending, disjoint) that ends behind an address. */
export function firstEndingAfter(extents: readonly Piece[], address: bigint): number {
  let [low, high] = [0, extents.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const extent = extents[middle] as Piece;
    if (extent.address + extent.length > address) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The runs of huge size that the extents cover completely, within [start, end). */
export function longRuns(extents: readonly Piece[], start: bigint, end: bigint): readonly Piece[] {
  const runs: Piece[] = [];
  if (end - start < hugePageSize) return runs;
  let from = -1n;
  let to = -1n;
  const flush = (): void => {
    const [first, last] = [max(from, start), min(to, end)];
    if (from >= 0n && last - first >= hugePageSize) runs.push({ address: first, length: last - first });
  };
  for (let index = firstEndingAfter(extents, start); index < extents.length; index++) {
    const { address, length } = extents[index] as Piece;
    if (address >= end) break;
    if (address === to) {
      to = address + length;
      continue;
    }
    flush();
    from = address;
    to = address + length;
  }
  flush();
  return runs;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
