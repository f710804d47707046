// SPDX-License-Identifier: Apache-2.0
/** Copying ranges of any length from any source to places in a file, with the progress of one piece of work. */
import { fstatSync, ftruncateSync } from "node:fs";
import type { ByteRange, CopySignal, PageSource } from "../model/page-source.js";
import { copyPages } from "./store-pages.js";

/** Bytes of a source, and where in the file they belong. */
export interface PlacedRange extends ByteRange {
  readonly source: PageSource;
  readonly target: bigint;
}

/** The copies of one piece of work, and how far it is. */
export class PageCopies {
  #done = 0n;
  #total = 0n;

  constructor(
    private readonly report: ((done: bigint, total: bigint) => void) | undefined,
    /** Ends copies early, without an error. */
    private readonly signal?: CopySignal,
  ) {}

  /** Announces bytes, before the first copy. */
  expect(bytes: bigint): void {
    this.#total += bytes;
  }

  /**
   * Copies pieces into `fd`, where nothing is yet: pages of zeros become holes. The file then reaches as far as the pieces.
   * Throws what the sources throw.
   */
  async copy(fd: number, pieces: Iterable<PlacedRange>): Promise<void> {
    const ranges = [...pieces].map((piece) => ({ ...piece, address: piece.position, keep: 0 }));
    if (ranges.length === 0 || this.signal?.aborted) return;
    const before = this.#done;
    const onProgress = (bytes: bigint): void => this.report?.(before + bytes, this.#total);
    await copyPages(fd, ranges, { onProgress, signal: this.signal });
    this.#done += lengthOf(ranges);
    const end = ranges.reduce((last, { target, length }) => (target + length > last ? target + length : last), 0n);
    if (fstatSync(fd, { bigint: true }).size < end) ftruncateSync(fd, Number(end));
  }
}

/** The bytes of ranges together. */
export function lengthOf(ranges: readonly { readonly length: bigint }[]): bigint {
  return ranges.reduce((sum, { length }) => sum + length, 0n);
}
