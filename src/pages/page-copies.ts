// SPDX-License-Identifier: Apache-2.0
/** Copying ranges of any length from any source: by other threads where the source can, else piece by piece. */
import type { ByteRange, PageSource } from "../model/page-source.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { sumFromFile } from "./checksum.js";

/** Bytes of one PageSource.copyTo, so that progress shows and the work can be interrupted. */
const pieceBytes = 64n << 20n;

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
    private readonly signal?: AbortSignal,
    /** Chunks of the file, whose checksums are made on the way. */
    private readonly chunks?: StoredChunks,
  ) {}

  /** Announces bytes, before the first copy. */
  expect(bytes: bigint): void {
    this.#total += bytes;
  }

  /**
   * Copies pieces into `fd`. Neighbours, of one source and together in the file, are copied in one go. Throws what the
   * sources throw.
   */
  async copy(fd: number, pieces: Iterable<PlacedRange>): Promise<void> {
    let run: PlacedRange[] = [];
    let end = 0n;
    for (const piece of pieces) {
      if (run[0] !== undefined && (piece.source !== run[0].source || piece.target !== end)) {
        await this.#copyRun(fd, run);
        run = [];
      }
      run.push(piece);
      end = piece.target + piece.length;
    }
    await this.#copyRun(fd, run);
  }

  async #copyRun(fd: number, run: readonly PlacedRange[]): Promise<void> {
    const [first] = run;
    if (first === undefined || this.signal?.aborted) return;
    const before = this.#done;
    const onProgress = (bytes: bigint): void => this.report?.(before + bytes, this.#total);
    const running = first.source.copyInBackground?.(fd, first.target, run, {
      onProgress,
      signal: this.signal,
      chunks: this.chunks,
    });
    if (running) await running;
    else this.#copyHere(first.source, fd, first.target, run, onProgress);
    this.#done += lengthOf(run);
  }

  #copyHere(source: PageSource, fd: number, fileOffset: bigint, ranges: readonly ByteRange[], onProgress: (bytes: bigint) => void): void {
    let done = 0n;
    for (const piece of piecesOf(ranges)) {
      source.copyTo(fd, fileOffset + done, piece);
      if (this.chunks) sumFromFile(fd, this.chunks, fileOffset + done, lengthOf(piece));
      done += lengthOf(piece);
      onProgress(done);
    }
  }
}

/** The bytes of ranges together. */
export function lengthOf(ranges: readonly { readonly length: bigint }[]): bigint {
  return ranges.reduce((sum, { length }) => sum + length, 0n);
}

function* piecesOf(ranges: readonly ByteRange[]): Generator<readonly ByteRange[]> {
  let piece: ByteRange[] = [];
  let room = pieceBytes;
  for (const { position, length } of ranges) {
    for (let done = 0n; done < length; ) {
      const part = length - done < room ? length - done : room;
      piece.push({ position: position + done, length: part });
      done += part;
      room -= part;
      if (room > 0n) continue;
      yield piece;
      piece = [];
      room = pieceBytes;
    }
  }
  if (piece.length > 0) yield piece;
}
