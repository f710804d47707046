// SPDX-License-Identifier: Apache-2.0
/**
 * Zstandard streams (RFC 8878), frame by frame: fzstd decodes, and does not look at the checksum of a frame's content, so that a
 * damaged archive would be read as if whole. Here it is compared.
 */
import { Decompress } from "fzstd";
import createHashes, { type XXHash, type XXHashAPI } from "xxhash-wasm";
import { maxZstdWindow, zstdWindow } from "./zstd-window.js";

const magic = 0xfd2fb528;
const skippable = 0x184d2a50;
const dictionaryBytes = [0, 1, 2, 4];
const contentSizeBytes = [0, 2, 4, 8];

/** Takes pieces of a stream and gives pieces of its content; a piece given is valid during the call only. */
export class ZstdDecoder {
  #input = Buffer.alloc(0);
  #decoder: Decompress | undefined;
  #hash: XXHash<bigint> | undefined;
  #step: () => boolean = () => this.#header();
  #hasChecksum = false;
  /** Bytes of a skippable frame or a block still to come. */
  #left = 0;

  private constructor(
    private readonly hashes: XXHashAPI,
    private readonly take: (piece: Uint8Array) => void,
  ) {}

  /** A decoder; it loads a small WebAssembly module first. */
  static async create(take: (piece: Uint8Array) => void): Promise<ZstdDecoder> {
    return new ZstdDecoder(await createHashes(), take);
  }

  /** @throws Error for what is no zstd, asks for too large a window, or has a wrong checksum; and what `take` throws */
  push(piece: Uint8Array): void {
    this.#input = this.#input.length === 0 ? Buffer.from(piece) : Buffer.concat([this.#input, piece]);
    while (this.#step()) {
      // Each step eats what it needs, or says that it needs more.
    }
  }

  /** @throws Error if the last frame is not whole */
  end(): void {
    if (this.#input.length > 0 || this.#decoder !== undefined || this.#left > 0) throw new Error("the last frame is not whole");
  }

  #eat(length: number): Buffer {
    const piece = this.#input.subarray(0, length);
    this.#input = this.#input.subarray(length);
    return piece;
  }

  #header(): boolean {
    const input = this.#input;
    if (input.length < 8) return false;
    const found = input.readUInt32LE(0);
    if ((found & 0xfffffff0) >>> 0 === skippable) {
      this.#left = input.readUInt32LE(4);
      this.#eat(8);
      this.#step = () => this.#skip();
      return true;
    }
    if (found !== magic) throw new Error("a frame does not begin as one of zstd");
    const descriptor = input[4] ?? 0;
    const isSingleSegment = (descriptor & 0x20) !== 0;
    const sizeCode = descriptor >> 6;
    const length =
      5 +
      (isSingleSegment ? 0 : 1) +
      (dictionaryBytes[descriptor & 3] ?? 0) +
      (sizeCode === 0 && isSingleSegment ? 1 : (contentSizeBytes[sizeCode] ?? 0));
    if (input.length < length) return false;
    if (zstdWindow(input) > maxZstdWindow)
      throw new Error(`a frame asks for a window of ${zstdWindow(input)} bytes; no more than ${maxZstdWindow} are accepted`);
    this.#hasChecksum = (descriptor & 4) !== 0;
    const hash = this.#hasChecksum ? this.hashes.create64() : undefined;
    this.#hash = hash;
    this.#decoder = new Decompress((piece) => {
      if (piece.length === 0) return;
      hash?.update(piece);
      this.take(piece);
    });
    this.#decoder.push(this.#eat(length));
    this.#step = () => this.#blockHeader();
    return true;
  }

  #skip(): boolean {
    this.#left -= this.#eat(Math.min(this.#left, this.#input.length)).length;
    if (this.#left > 0) return false;
    this.#step = () => this.#header();
    return true;
  }

  #blockHeader(): boolean {
    if (this.#input.length < 3) return false;
    const word = this.#input.readUIntLE(0, 3);
    const isLast = (word & 1) !== 0;
    const kind = (word >> 1) & 3;
    if (kind === 3) throw new Error("a block is of a reserved kind");
    this.#left = 3 + (kind === 1 ? 1 : word >> 3);
    this.#step = () => this.#block(isLast);
    return true;
  }

  #block(isLast: boolean): boolean {
    // Whole blocks: what the decoder has not all of, it would keep and copy at each piece.
    if (this.#input.length < this.#left) return false;
    const block = this.#eat(this.#left);
    this.#left = 0;
    if (isLast && !this.#hasChecksum) this.#finish(block);
    else this.#decoder?.push(block);
    if (!isLast) this.#step = () => this.#blockHeader();
    else if (this.#hasChecksum) this.#step = () => this.#checksum();
    return true;
  }

  #checksum(): boolean {
    if (this.#input.length < 4) return false;
    const trailer = this.#eat(4);
    this.#finish(trailer);
    const sum = Number((this.#hash?.digest() ?? 0n) & 0xffff_ffffn);
    if (sum !== trailer.readUInt32LE(0)) throw new Error("the checksum of a frame is wrong");
    return true;
  }

  #finish(last: Uint8Array): void {
    this.#decoder?.push(last, true);
    this.#decoder = undefined;
    this.#step = () => this.#header();
  }
}
