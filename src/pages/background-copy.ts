// SPDX-License-Identifier: Apache-2.0
/** Copying pages on other threads: system calls in batches, read and write in turn, through one buffer a thread. */
import type { ByteRange, CopyWatch } from "../model/page-source.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { CallBatch } from "../native/batch.js";
import { sumFromFile } from "./checksum.js";

/**
 * Bytes moved at once. The page cache takes blocks as large as a write: from 1 MiB on they are huge pages, and a virtual
 * machine that reports free memory to its host has to ask for those back, which was seen to turn 0.15 s for a GiB into
 * 2 to 3 s. Less than this stays in the processor's cache between the read and the write. Pieces are not aligned in the
 * file: the page cache splits such a write into blocks of all sizes, which leftovers of memory serve, where aligned ones
 * were seen to take twice as long.
 *
 * That a frozen process writes its pages itself would spare that second copy; measured, it took 1.8 to 2.7 s a GiB
 * against 0.7 s, and put crimg's death in the middle of a write at the target's risk.
 */
export const pieceLength = 1 << 18;

/** Pieces of one batch: 256 MiB, and 48 KiB of words. */
const piecesOfBatch = 1024;
/** Time between two looks at the progress, milliseconds. */
const lookMs = 20;

/** How a source is read. */
export interface PieceReader {
  /** Whether calls read these bytes as they shall be, and nothing has to be put over them. */
  callsRead(range: ByteRange): boolean;
  /** What is read from, at the positions of the parts. */
  readonly fd: number;
  /** Copies the slow way, or says why that cannot be. */
  copyTo(target: bigint, parts: readonly ByteRange[]): void;
}

/** What goes through the buffer at once: it lies together in the file, and may come from several places. */
interface Piece {
  readonly target: bigint;
  readonly length: number;
  readonly parts: readonly ByteRange[];
}

/** Pieces hold whole chunks, so that their checksums can be made while they are in the buffer. */
function* piecesOf(ranges: readonly ByteRange[], fileOffset: bigint, chunks: StoredChunks | undefined): Generator<Piece> {
  let target = fileOffset;
  let parts: ByteRange[] = [];
  let length = 0;
  let room = roomAt(target, chunks);
  for (const range of ranges) {
    for (let done = 0n; done < range.length; ) {
      const left = range.length - done;
      const part = left < BigInt(room - length) ? left : BigInt(room - length);
      parts.push({ position: range.position + done, length: part });
      done += part;
      length += Number(part);
      if (length < room) continue;
      yield { target, length, parts };
      target += BigInt(length);
      parts = [];
      length = 0;
      room = roomAt(target, chunks);
    }
  }
  if (length > 0) yield { target, length, parts };
}

/** Bytes of the next piece: up to the end of the last chunk that fits. */
function roomAt(target: bigint, chunks: StoredChunks | undefined): number {
  const start = Number(target);
  if (chunks === undefined || chunks.firstBehind(start) === chunks.count) return pieceLength;
  const last = chunks.firstBehind(start + pieceLength);
  const end = last === chunks.count ? chunks.endOf(last - 1) : (chunks.offsets[last] ?? 0);
  return end > start ? Math.min(pieceLength, end - start) : pieceLength;
}

/** Pieces that a batch copies, and how many of its calls are made when each of them is done. */
interface Round {
  readonly batch: CallBatch;
  readonly pieces: readonly Piece[];
  readonly ends: readonly number[];
}

/** What the threads share: the pieces that none has taken, and how it goes. */
class Copy {
  isOver = false;
  #copied = 0;
  readonly #running = new Set<Round>();

  constructor(
    private readonly fd: number,
    private readonly pieces: Iterator<Piece>,
    private readonly reader: PieceReader,
    private readonly chunks: StoredChunks | undefined,
  ) {}

  /** One thread's part, until no piece is left. */
  async lane(): Promise<void> {
    const buffer = Buffer.allocUnsafeSlow(pieceLength);
    for (let pieces = this.#take(); pieces.length > 0; pieces = this.#take()) {
      for (let next = 0; next < pieces.length && !this.isOver; ) next += await this.#copy(pieces.slice(next), buffer);
    }
  }

  /** Copies pieces until one does not go well, and that one the slow way. Returns how many are done. */
  async #copy(pieces: readonly Piece[], buffer: Buffer): Promise<number> {
    const round = this.#roundOf(pieces, buffer);
    this.#running.add(round);
    try {
      await round.batch.run();
    } finally {
      this.#running.delete(round);
    }
    const whole = wholePieces(round);
    this.#copied += lengthOf(pieces.slice(0, whole));
    const failed = pieces[whole];
    if (failed === undefined || this.isOver) return whole;
    this.#copySlowly(failed);
    return whole + 1;
  }

  #roundOf(pieces: readonly Piece[], buffer: Buffer): Round {
    const chunks = this.chunks;
    const batch = new CallBatch(pieces.reduce((calls, { parts }) => calls + parts.length + 2, 0));
    const [lengths, sums] = chunks ? [batch.address(chunks.lengths), batch.address(chunks.sums)] : [0, 0];
    const address = batch.address(buffer);
    const ends = pieces.map(({ target, length, parts }) => {
      let at = address;
      for (const part of parts) {
        const partLength = Number(part.length);
        batch.add(partLength, "pread64", this.reader.fd, at, partLength, Number(part.position));
        at += partLength;
      }
      const whole = chunks && wholeChunks(chunks, Number(target), length);
      if (whole && whole.count > 0) {
        const at = 4 * whole.first;
        batch.addChecksums(address, whole.count, lengths + at, sums + at);
      }
      batch.add(length, "pwrite64", this.fd, address, length, Number(target));
      return batch.length;
    });
    return { batch, pieces, ends };
  }

  /** The next pieces for one batch. Those that calls do not read are copied at once. */
  #take(): Piece[] {
    const taken: Piece[] = [];
    while (taken.length < piecesOfBatch && !this.isOver) {
      const next = this.pieces.next();
      if (next.done) break;
      if (next.value.parts.every((part) => this.reader.callsRead(part))) taken.push(next.value);
      else this.#copySlowly(next.value);
    }
    return taken;
  }

  #copySlowly({ target, length, parts }: Piece): void {
    this.reader.copyTo(target, parts);
    if (this.chunks) sumFromFile(this.fd, this.chunks, target, BigInt(length));
    this.#copied += length;
  }

  /** Bytes copied, those of the batches that run among them. */
  get progress(): bigint {
    let bytes = this.#copied;
    for (const round of this.#running) bytes += lengthOf(round.pieces.slice(0, wholePieces(round)));
    return BigInt(bytes);
  }

  stop(): void {
    this.isOver = true;
    for (const { batch } of this.#running) batch.stop();
  }
}

/** The chunks that begin with a piece and lie wholly in it; what is cut by its end is summed when it is in the file. */
function wholeChunks(chunks: StoredChunks, start: number, length: number): { readonly first: number; readonly count: number } {
  const first = chunks.firstBehind(start);
  if (chunks.offsets[first] !== start) return { first, count: 0 };
  let behind = first;
  while (behind < chunks.count && chunks.endOf(behind) <= start + length) behind++;
  return { first, count: behind - first };
}

function wholePieces({ batch, ends }: Round): number {
  const { done } = batch;
  const next = ends.findIndex((end) => end > done);
  return next < 0 ? ends.length : next;
}

function lengthOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** Resolves when the event loop turns. */
function idle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** See PageSource.copyInBackground. */
export async function copyInBackground(
  fd: number,
  fileOffset: bigint,
  ranges: readonly ByteRange[],
  watch: CopyWatch,
  reader: PieceReader,
): Promise<void> {
  const copy = new Copy(fd, piecesOf(ranges, fileOffset, watch.chunks), reader, watch.chunks);
  const failures: unknown[] = [];
  const guard = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      failures.push(error);
      copy.stop();
    }
  };
  const stop = (): void => copy.stop();
  watch.signal?.addEventListener("abort", stop);
  if (watch.signal?.aborted) stop();
  const look = setInterval(() => guard(() => watch.onProgress?.(copy.progress)), lookMs);
  try {
    const lane = (): Promise<void> =>
      copy.lane().catch((error: unknown) =>
        guard(() => {
          throw error;
        }),
      );
    // One thread reads while another writes, since writes into one file exclude each other. The second begins when this
    // thread has nothing else to do: threads that share a processor wait for whichever was stopped while it wrote.
    await Promise.all([lane(), idle().then(lane)]);
  } finally {
    clearInterval(look);
    watch.signal?.removeEventListener("abort", stop);
  }
  guard(() => watch.onProgress?.(copy.progress));
  if (failures.length > 0) throw failures[0];
}
