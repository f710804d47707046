// SPDX-License-Identifier: Apache-2.0
/**
 * The chunks of an image's stored bytes, each with a checksum (SPEC 7.1). An extent is cut where its addresses are multiples
 * of 256 KiB, so that a chunk lies together in the file and in memory, two halves of an address space never share one, and
 * whoever needs a single page reads and checks no more than that.
 */
import type { ExtentRow } from "../gen/tables.js";
import type { ExtentColumns } from "./extent-columns.js";

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
  const whole = wholePages(length);
  let part = bytesOfChunk - offsetInChunk(address);
  for (let done = 0; done < whole; done += part, part = bytesOfChunk) {
    if (part > whole - done) part = whole - done;
    take(done, part);
  }
}

const bytesOfPage = Number(pageSize);
const bytesOfChunk = Number(chunkSize);

/** Bytes of the pages that bytes take. Of small extents there are thousands, and plain numbers are faster. */
function wholePages(length: bigint): number {
  const bytes = Number(length);
  return Number.isSafeInteger(bytes) ? Math.ceil(bytes / bytesOfPage) * bytesOfPage : Number((length + pageSize - 1n) & ~(pageSize - 1n));
}

/** Bytes from where a chunk begins to an address. */
export function offsetInChunk(address: bigint): number {
  const at = Number(address);
  return Number.isSafeInteger(at) ? at % bytesOfChunk : Number(address & (chunkSize - 1n));
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

  /** Those of extents that ascend in the file. What is between two of them is a chunk of zeros. */
  static of(extents: readonly ExtentRow[]): StoredChunks {
    let count = 0;
    let last = 0;
    for (const extent of extents) {
      const start = Number(extent.fileOffset);
      if (last !== 0 && start > last) count++;
      count += countOf(extent);
      last = start + wholePages(extent.length);
    }
    const chunks = new StoredChunks(new Float64Array(count), new Uint32Array(count), new Uint32Array(count));
    let index = 0;
    const { offsets, lengths } = chunks;
    let start = 0;
    const take = (done: number, length: number): void => {
      offsets[index] = start + done;
      lengths[index++] = length;
    };
    let end = 0;
    for (const extent of extents) {
      start = Number(extent.fileOffset);
      if (end !== 0 && start > end) {
        offsets[index] = end;
        lengths[index++] = start - end;
      }
      cutExtent(extent, take);
      end = start + wholePages(extent.length);
    }
    return chunks;
  }

  /** The same of columns. */
  static ofColumns({ starts, lengths: bytes, offsets: places }: ExtentColumns): StoredChunks {
    let count = 0;
    let end = 0;
    for (let index = 0; index < starts.length; index++) {
      const place = places[index] as number;
      if (end !== 0 && place > end) count++;
      count += Math.ceil((((starts[index] as number) % bytesOfChunk) + (bytes[index] as number)) / bytesOfChunk);
      end = place + (bytes[index] as number);
    }
    const chunks = new StoredChunks(new Float64Array(count), new Uint32Array(count), new Uint32Array(count));
    const { offsets, lengths } = chunks;
    let next = 0;
    end = 0;
    for (let index = 0; index < starts.length; index++) {
      const whole = bytes[index] as number;
      const place = places[index] as number;
      if (end !== 0 && place > end) {
        offsets[next] = end;
        lengths[next++] = place - end;
      }
      end = place + whole;
      let part = bytesOfChunk - ((starts[index] as number) % bytesOfChunk);
      for (let done = 0; done < whole; done += part, part = bytesOfChunk) {
        if (part > whole - done) part = whole - done;
        offsets[next] = place + done;
        lengths[next++] = part;
      }
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
  return length === 0n ? 0 : Math.ceil((offsetInChunk(address) + wholePages(length)) / bytesOfChunk);
}
