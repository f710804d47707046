// SPDX-License-Identifier: Apache-2.0
/** Jobs of storing pages, which any number of threads work on (native/addon/store.h). */
import { addon } from "./addon.js";
import { addressOf } from "./sys.js";

/** Most bytes of a piece: the buffer of a thread. */
export const storeBufferLength = 1 << 18;
const pageLength = 4096;
/** Bytes of struct store_part. */
const partLength = 48;

/** Words of a job. */
const word = {
  parts: 0,
  pieces: 1,
  count: 2,
  kinds: 3,
  sums: 4,
  sourceFd: 5,
  sourcePid: 6,
  targetFd: 7,
  position: 8,
  next: 9,
  ticket: 10,
  failed: 11,
  error: 12,
  stop: 13,
  done: 14,
  faultPiece: 15,
  waiting: 16,
  frames: 17,
  frameNext: 18,
  inPlace: 19,
  length: 20,
} as const;

/** What became of a page. */
export const pageKind = { zero: 0, kept: 1, inBase: 2 } as const;

/** Bytes that are read together, within one chunk (SPEC 7.1). */
export interface StorePart {
  /** Where they are in the source. */
  readonly position: number;
  /** Bytes; filled up with zeros to whole pages. */
  readonly length: number;
  /** Pages from the first on that are stored even if they are zero. */
  readonly keep: number;
  /** Checksum that the bytes must have; 0: not known. */
  readonly expected: number;
  /** Another file that may have the same bytes. */
  readonly base?: { readonly fd: number; readonly offset: number } | undefined;
  /** Where it goes, in a job that moves nothing together. */
  readonly target?: number | undefined;
}

export const pagesOf = (length: number): number => Math.ceil(length / pageLength);

export interface StoreJobOptions {
  readonly sourceFd: number;
  /** Tried first (process_vm_readv). */
  readonly sourcePid: number;
  /** -1: nothing is written; -2: neither, but summed. */
  readonly targetFd: number;
  /** Where the first page goes; undefined: parts go to their targets, and pages of zeros become holes. */
  readonly position: number | undefined;
  /** Pieces are compressed, each by itself, and go to the file from here on, each to a page; `position` counts what they hold. */
  readonly frameNext?: number | undefined;
}

/** One job. Pieces are parts that fit into the buffer of a thread together, each in whole pages. */
export class StoreJob {
  readonly #words = new BigInt64Array(word.length);
  /** What the words point to. */
  readonly #parts: Uint8Array;
  readonly #pieces: Uint32Array;
  /** By page of all parts: `pageKind`. */
  readonly kinds: Uint8Array;
  /** By page: the checksum of the run of pages of one kind, not zero, that begins there. */
  readonly sums: Uint32Array;
  /** By piece, where jobs compress: where its frame is in the file, and its bytes. */
  readonly frames: BigInt64Array | undefined;

  /** @param pieces the first part of each piece, and the number of parts */
  constructor(parts: readonly StorePart[], pieces: readonly number[], options: StoreJobOptions) {
    const pages = parts.reduce((sum, { length }) => sum + pagesOf(length), 0);
    this.kinds = new Uint8Array(pages);
    this.sums = new Uint32Array(pages);
    this.#pieces = Uint32Array.from(pieces);
    this.#parts = new Uint8Array(parts.length * partLength);
    const view = new DataView(this.#parts.buffer);
    let page = 0;
    parts.forEach(({ position, length, keep, expected, base, target }, index) => {
      const at = index * partLength;
      const put = (offset: number, value: number): void => {
        view.setUint32(at + offset, value % 2 ** 32, true);
        view.setUint32(at + offset + 4, Math.floor(value / 2 ** 32), true);
      };
      put(0, position);
      put(8, base?.offset ?? 0);
      view.setInt32(at + 16, base?.fd ?? -1, true);
      view.setUint32(at + 20, length, true);
      view.setUint32(at + 24, Math.min(keep, 0xffff_ffff), true);
      view.setUint32(at + 28, expected, true);
      view.setUint32(at + 32, page, true);
      put(40, target ?? 0);
      page += pagesOf(length);
    });
    const set = (index: number, value: number | bigint): void => {
      this.#words[index] = BigInt(value);
    };
    set(word.parts, addressOf(this.#parts));
    set(word.pieces, addressOf(this.#pieces));
    set(word.count, this.count);
    if (pages > 0) set(word.kinds, addressOf(this.kinds));
    if (pages > 0) set(word.sums, addressOf(this.sums));
    set(word.sourceFd, options.sourceFd);
    set(word.sourcePid, options.sourcePid);
    set(word.targetFd, options.targetFd);
    set(word.position, options.position ?? 0);
    set(word.inPlace, options.position === undefined ? 1 : 0);
    set(word.failed, this.count);
    if (options.frameNext !== undefined && this.count > 0) {
      this.frames = new BigInt64Array(2 * this.count);
      set(word.frames, addressOf(this.frames));
      set(word.frameNext, options.frameNext);
    }
    // Which one fails for a test is decided when the first thread is asked for.
    set(word.faultPiece, -2);
  }

  /** Pieces. */
  get count(): number {
    return this.#pieces.length - 1;
  }

  /** One more thread works on it. Resolves when it has nothing more to do. */
  run(): Promise<void> {
    return addon().storePages(this.#words);
  }

  /** Asks the threads to end. */
  stop(): void {
    Atomics.store(this.#words, word.stop, 1n);
  }

  /** Bytes read so far. */
  get done(): number {
    return Number(Atomics.load(this.#words, word.done));
  }

  /** After the end: pieces that went well, from the first on. `count` unless one failed. */
  get whole(): number {
    const [failed, ticket] = [Number(this.#words[word.failed]), Number(this.#words[word.ticket])];
    return Math.min(failed, ticket);
  }
}
