// SPDX-License-Identifier: Apache-2.0
/** Pages of an image whose checksums are looked at before they are used, each chunk once. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, CopyWatch, PageSource } from "../model/page-source.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { sumInFile } from "./checksum.js";

/** Chunks looked at between two turns of the event loop: 16 MiB. */
const chunksOfTurn = 64;

export class CheckedPageSource implements PageSource {
  readonly name: string;
  /** By chunk: not 0 if its bytes are right. */
  readonly #isGood: Uint8Array;

  constructor(
    private readonly source: PageSource,
    private readonly fd: number,
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

  copyInBackground(fd: number, fileOffset: bigint, ranges: readonly ByteRange[], watch: CopyWatch): Promise<void> | undefined {
    const copy = this.source.copyInBackground?.bind(this.source);
    if (copy === undefined) return undefined;
    return this.#checkInTurns(ranges, watch).then(async () => {
      if (watch.signal?.aborted) return;
      const running = copy(fd, fileOffset, ranges, watch);
      if (running) await running;
      else this.source.copyTo(fd, fileOffset, ranges);
    });
  }

  async #checkInTurns(ranges: readonly ByteRange[], watch: CopyWatch): Promise<void> {
    let left = chunksOfTurn;
    for (const range of ranges) {
      for (const index of this.#chunksIn(range)) {
        if (watch.signal?.aborted) return;
        this.#checkChunk(index);
        if (--left > 0) continue;
        left = chunksOfTurn;
        await new Promise((resolve) => setImmediate(resolve));
        watch.onProgress?.(0n);
      }
    }
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
    const actual = sumInFile(this.fd, this.chunks, index);
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
