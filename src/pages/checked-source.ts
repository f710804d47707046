// SPDX-License-Identifier: Apache-2.0
/** Pages of an image whose checksums are looked at before they are used, each chunk once. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, DirectReading, PageSource } from "../model/page-source.js";
import type { StoredChunks } from "../model/stored-chunks.js";

export class CheckedPageSource implements PageSource {
  readonly name: string;
  /** By chunk: not 0 if its bytes are right. */
  readonly #isGood: Uint8Array;

  constructor(
    private readonly source: PageSource,
    /** What the checksum of a chunk is, by index. */
    private readonly sumOf: (index: number) => number,
    private readonly chunks: StoredChunks,
  ) {
    this.name = source.name;
    this.#isGood = new Uint8Array(chunks.count);
  }

  read(position: bigint, into: Uint8Array): void {
    this.#check({ position, length: BigInt(into.length) });
    this.source.read(position, into);
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    for (const range of ranges) this.#check(range);
    this.source.copyTo(fd, fileOffset, ranges);
  }

  direct(): DirectReading | undefined {
    const direct = this.source.direct?.();
    if (direct === undefined) return undefined;
    return {
      ...direct,
      // Whole chunks are checked on the way; bytes of which another cut has been summed here.
      expects: (position, length) => {
        const index = this.chunks.firstBehind(position);
        if (this.chunks.offsets[index] === position && this.chunks.lengths[index] === Math.ceil(length / 4096) * 4096)
          return this.chunks.sums[index] ?? 0;
        return -1;
      },
      endOfChunk: (position) => {
        const index = this.chunks.firstBehind(position);
        return index < this.chunks.count ? this.chunks.endOf(index) : Number.MAX_SAFE_INTEGER;
      },
    };
  }

  dataRanges(position: bigint, length: bigint): readonly ByteRange[] {
    // A hole could be what is left of bytes.
    return [{ position, length }];
  }

  *#chunksIn({ position, length }: ByteRange): Generator<number> {
    const end = Number(position + length);
    for (let index = this.chunks.firstBehind(Number(position)); index < this.chunks.count; index++) {
      if ((this.chunks.offsets[index] ?? 0) >= end) return;
      yield index;
    }
  }

  #check(range: ByteRange): void {
    for (const index of this.#chunksIn(range)) this.#checkChunk(index);
  }

  #checkChunk(index: number): void {
    if (this.#isGood[index]) return;
    const expected = this.chunks.sums[index] ?? 0;
    const actual = this.sumOf(index);
    if (expected !== 0 && actual !== expected) throw wrongChunk(this.name, this.chunks, index, actual);
    this.#isGood[index] = 1;
  }

  close(): void {
    this.source.close();
  }
}

function wrongChunk(source: string, chunks: StoredChunks, index: number, actual: number): CrimgError {
  const hexOf = (sum: number): string => `0x${sum.toString(16).padStart(8, "0")}`;
  return new CrimgError("pages.checksum", `the ${chunks.lengths[index]} stored bytes at ${chunks.offsets[index]} are damaged`, {
    source,
    offset: BigInt(chunks.offsets[index] ?? 0),
    expected: `checksum ${hexOf(chunks.sums[index] ?? 0)}`,
    actual: hexOf(actual),
    hint: "crimg validate lists all that is damaged; --no-verify takes the bytes as they are",
  });
}
