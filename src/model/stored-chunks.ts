// SPDX-License-Identifier: Apache-2.0
/**
 * The chunks of an image's stored bytes, each with a checksum (SPEC 7.1). An extent is cut where its addresses are multiples
 * of 256 KiB, so that a chunk lies together in the file and in memory, two halves of an address space never share one, and
 * whoever needs a single page reads and checks no more than that.
 */
import type { ExtentRow } from "../gen/tables.js";

/** Bytes of a chunk that is not cut short by its extent. */
export const chunkSize = 0x40000n;
const pageSize = 4096n;

/** Part of an extent. */
export interface Chunk {
  /** As the extent's. */
  readonly address: bigint;
  readonly fileOffset: bigint;
  /** Bytes in the file, whole pages: what fills up the last page of an object is part of it. */
  readonly length: number;
}

/**
 * Cuts an extent. Calls `take` with the offset of each chunk in the extent and its length, ascending; plain numbers, since
 * there are thousands of them in a GiB.
 */
export function cutExtent({ address, length }: Pick<ExtentRow, "address" | "length">, take: (done: number, length: number) => void): void {
  const size = Number(chunkSize);
  const whole = Number((length + pageSize - 1n) & ~(pageSize - 1n));
  let part = size - Number(address & (chunkSize - 1n));
  for (let done = 0; done < whole; done += part, part = size) {
    if (part > whole - done) part = whole - done;
    take(done, part);
  }
}

/** The chunks of an extent, ascending. */
export function chunksOf(extent: Pick<ExtentRow, "address" | "length" | "fileOffset">): Chunk[] {
  const chunks: Chunk[] = [];
  cutExtent(extent, (done, length) =>
    chunks.push({ address: extent.address + BigInt(done), fileOffset: extent.fileOffset + BigInt(done), length }),
  );
  return chunks;
}

/** Chunks in the order of the file, with their checksums as far as they are known (0: not yet). */
export class StoredChunks {
  /** File offsets; exact, since files are shorter than 2^53. */
  readonly offsets: Float64Array;
  /** Bytes of each chunk. */
  readonly lengths: Uint32Array;
  /** CRC-32C of each chunk. */
  readonly sums: Uint32Array;

  constructor(offsets: Float64Array, lengths: Uint32Array, sums: Uint32Array) {
    this.offsets = offsets;
    this.lengths = lengths;
    this.sums = sums;
  }

  /** Those of extents that ascend in the file. */
  static of(extents: readonly ExtentRow[]): StoredChunks {
    let count = 0;
    for (const extent of extents) count += countOf(extent);
    const chunks = new StoredChunks(new Float64Array(count), new Uint32Array(count), new Uint32Array(count));
    let index = 0;
    for (const extent of extents) {
      const start = Number(extent.fileOffset);
      cutExtent(extent, (done, length) => {
        chunks.offsets[index] = start + done;
        chunks.lengths[index++] = length;
      });
    }
    return chunks;
  }

  /** Number of chunks. */
  get count(): number {
    return this.sums.length;
  }

  /** Where chunk `index` ends in the file. */
  endOf(index: number): number {
    return (this.offsets[index] ?? 0) + (this.lengths[index] ?? 0);
  }

  /** The first chunk that ends behind an offset of the file; `count` if there is none. */
  firstBehind(offset: number): number {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.endOf(middle) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The checksum of the chunk that begins at an offset of the file; 0 if it is not known. */
  sumAt(offset: bigint): number {
    const at = Number(offset);
    const index = this.firstBehind(at);
    return this.offsets[index] === at ? (this.sums[index] ?? 0) : 0;
  }
}

function countOf({ address, length }: ExtentRow): number {
  if (length === 0n) return 0;
  return Number((address + length - 1n) / chunkSize - address / chunkSize) + 1;
}
