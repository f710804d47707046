// SPDX-License-Identifier: Apache-2.0
/** Jobs of storing pages, which any number of threads work on (native/addon/store.h). */
import { addon } from "./addon.js";
import { addressOf } from "./sys.js";

/** Most bytes of a piece: the buffer of a thread. */
export const storeBufferLength = 1 << 18;
/** Bytes from where a piece was moved to a multiple of its length to the next that is (STORE_MOVE). */
export const storeMoveLength = 8 << 20;
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
  lengths: 20,
  places: 21,
  lock: 22,
  writer: 23,
  aligned: 24,
  length: 25,
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

/** Words of struct store_part, 32 bits each. */
const partWord = { baseOffset: 2, baseFd: 4, length: 5, keep: 6, expected: 7, firstPage: 8, uniform: 9, target: 10 } as const;
const wordsOfPart = partLength / 4;

const low = (value: number): number => value >>> 0;
const high = (value: number): number => Math.floor(value / 2 ** 32);

/**
 * Parts as the threads see them, and what became of their pages. Numbers in arrays, not an object a part: there are thousands
 * in a GiB, and the threads need the processor.
 */
export class PartList {
  #words = new Uint32Array(256 * wordsOfPart);
  #kinds: Uint8Array | undefined;
  #sums: Uint32Array | undefined;
  count = 0;
  pages = 0;

  add({ position, length, keep, expected, base, target = 0 }: StorePart): void {
    const at = this.count++ * wordsOfPart;
    if (at === this.#words.length) this.#grow();
    const words = this.#words;
    words[at] = low(position);
    words[at + 1] = high(position);
    if (base !== undefined) {
      words[at + partWord.baseOffset] = low(base.offset);
      words[at + partWord.baseOffset + 1] = high(base.offset);
    }
    words[at + partWord.baseFd] = base?.fd ?? -1;
    words[at + partWord.length] = length;
    words[at + partWord.keep] = Math.min(keep, 0xffff_ffff);
    words[at + partWord.expected] = expected;
    words[at + partWord.firstPage] = this.pages;
    words[at + partWord.target] = low(target);
    words[at + partWord.target + 1] = high(target);
    this.pages += pagesOf(length);
  }

  /** Adds whole pages that no other file may have and that are put one behind the other. */
  addPlain(position: number, length: number, keep: number, expected: number): void {
    const at = this.count++ * wordsOfPart;
    if (at === this.#words.length) this.#grow();
    const words = this.#words;
    words[at] = position;
    words[at + 1] = position / 2 ** 32;
    words[at + partWord.baseFd] = -1;
    words[at + partWord.length] = length;
    words[at + partWord.keep] = keep;
    words[at + partWord.expected] = expected;
    words[at + partWord.firstPage] = this.pages;
    this.pages += length / pageLength;
  }

  /** The last part is the first of a piece, whose place in the file is to be this modulo the length of a piece. */
  startInStep(phase: number): void {
    this.#words[(this.count - 1) * wordsOfPart + partWord.target] = 1 + phase;
  }

  /** Undefined: its place may be any. */
  phase(part: number): number | undefined {
    const said = this.#word(part, partWord.target);
    return said === 0 ? undefined : said - 1;
  }

  #grow(): void {
    const larger = new Uint32Array(4 * this.#words.length);
    larger.set(this.#words);
    this.#words = larger;
  }

  #word(part: number, index: number): number {
    return this.#words[part * wordsOfPart + index] ?? 0;
  }

  position(part: number): number {
    return this.#word(part, 0) + this.#word(part, 1) * 2 ** 32;
  }

  length(part: number): number {
    return this.#word(part, partWord.length);
  }

  target(part: number): number {
    return this.#word(part, partWord.target) + this.#word(part, partWord.target + 1) * 2 ** 32;
  }

  firstPage(part: number): number {
    return part < this.count ? this.#word(part, partWord.firstPage) : this.pages;
  }

  /** The kind that all pages of a part are of; undefined: of several. */
  kindOf(part: number): number | undefined {
    const kind = this.#word(part, partWord.uniform);
    return kind === 0 ? undefined : kind - 1;
  }

  /** All of a part, for whoever stores it without a job. */
  part(part: number): StorePart {
    const fd = this.#word(part, partWord.baseFd) | 0;
    const offset = this.#word(part, partWord.baseOffset) + this.#word(part, partWord.baseOffset + 1) * 2 ** 32;
    return {
      position: this.position(part),
      length: this.length(part),
      keep: this.#word(part, partWord.keep),
      expected: this.#word(part, partWord.expected),
      base: fd < 0 ? undefined : { fd, offset },
      target: this.target(part),
    };
  }

  /** By page of all parts: `pageKind`. From here on nothing is added. */
  get kinds(): Uint8Array {
    return (this.#kinds ??= new Uint8Array(this.pages));
  }

  /** By page: the checksum of the run of pages of one kind, not zero, that begins there. */
  get sums(): Uint32Array {
    return (this.#sums ??= new Uint32Array(this.pages));
  }

  addressOf(part: number): bigint {
    return addressOf(this.#words) + BigInt(part * partLength);
  }
}

export interface StoreJobOptions {
  readonly sourceFd: number;
  /** Tried first (process_vm_readv). */
  readonly sourcePid: number;
  /** -1: nothing is written; -2: neither, but summed. */
  readonly targetFd: number;
  /** Where the first page goes; undefined: parts go to their targets, and pages of zeros become holes. */
  readonly position: number | undefined;
  /** Where a piece was last moved to a multiple of its length; undefined: none is. */
  readonly aligned?: number | undefined;
  /** Pieces are compressed, each by itself, and go to the file from here on, each to a page; `position` counts what they hold. */
  readonly frameNext?: number | undefined;
}

/** One job. Pieces are parts that fit into the buffer of a thread together, each in whole pages. */
export class StoreJob {
  readonly #words = new BigInt64Array(word.length);
  readonly #pieces: Uint32Array;
  readonly #lengths: BigInt64Array;
  readonly #places: BigInt64Array;
  /** By piece, where jobs compress: where its frame is in the file, and its bytes. */
  readonly frames: BigInt64Array | undefined;

  /**
   * @param parts stay as they are until the job is over
   * @param pieces the first part of each piece, and behind the last part
   */
  constructor(parts: PartList, pieces: readonly number[], options: StoreJobOptions) {
    this.#pieces = Uint32Array.from(pieces);
    this.#lengths = new BigInt64Array(2 * pieces.length);
    this.#places = new BigInt64Array(pieces.length);
    const set = (index: number, value: number | bigint): void => {
      this.#words[index] = BigInt(value);
    };
    set(word.parts, parts.addressOf(0));
    set(word.pieces, addressOf(this.#pieces));
    set(word.count, this.count);
    if (parts.pages > 0) set(word.kinds, addressOf(parts.kinds));
    if (parts.pages > 0) set(word.sums, addressOf(parts.sums));
    set(word.sourceFd, options.sourceFd);
    set(word.sourcePid, options.sourcePid);
    set(word.targetFd, options.targetFd);
    set(word.position, options.position ?? 0);
    set(word.inPlace, options.position === undefined ? 1 : 0);
    set(word.failed, this.count);
    set(word.aligned, options.aligned ?? -1);
    set(word.lengths, addressOf(this.#lengths));
    set(word.places, addressOf(this.#places));
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

  /** One more thread works on it. Resolves when it has nothing more to do; whoever waits keeps the parts. */
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
