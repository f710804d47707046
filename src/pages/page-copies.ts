/** Copying ranges of any length from any source: by other threads where the source can, else piece by piece. */
import type { ByteRange, PageSource } from "../model/page-source.js";

/** Bytes of one PageSource.copyTo, so that progress shows and the work can be interrupted. */
const pieceBytes = 64n << 20n;

/** The copies of one piece of work, and how far it is. */
export class PageCopies {
  #done = 0n;
  #total = 0n;

  constructor(
    private readonly report: ((done: bigint, total: bigint) => void) | undefined,
    /** Ends copies early, without an error. */
    private readonly signal?: AbortSignal,
  ) {}

  /** Announces bytes, before the first copy. */
  expect(bytes: bigint): void {
    this.#total += bytes;
  }

  /** Copies the ranges, one after the other, to `fd` at `fileOffset`. Throws what the source throws. */
  async copy(source: PageSource, fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): Promise<void> {
    const before = this.#done;
    const onProgress = (bytes: bigint): void => this.report?.(before + bytes, this.#total);
    if (!this.signal?.aborted) {
      const running = source.copyInBackground?.(fd, fileOffset, ranges, { onProgress, signal: this.signal });
      if (running) await running;
      else this.#copyHere(source, fd, fileOffset, ranges, onProgress);
    }
    this.#done += lengthOf(ranges);
  }

  #copyHere(source: PageSource, fd: number, fileOffset: bigint, ranges: readonly ByteRange[], onProgress: (bytes: bigint) => void): void {
    let done = 0n;
    for (const piece of piecesOf(ranges)) {
      source.copyTo(fd, fileOffset + done, piece);
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
