// SPDX-License-Identifier: Apache-2.0
/**
 * LZ4 frames (lz4_Frame_format.md 1.6.4; lz4_Block_format.md). No library on npm reads them as a stream and comes with types.
 * Checksums are not looked at: what is in a core is checked where it is used.
 */
import { decodeLz4Block } from "../../bytes/lz4-block.js";

const magic = 0x184d2204;
const skippable = 0x184d2a50;
/** A match reaches back at most this far. */
const window = 1 << 16;
const maxBlock = 4 << 20;

/** Takes pieces of frames and gives pieces of their content. Memory: two blocks and the window. */
export class Lz4Decoder {
  #input = Buffer.alloc(0);
  /** The last bytes of the content, where matches of the next block may point, and then room for that block. */
  readonly #output = Buffer.alloc(window + maxBlock);
  #history = 0;
  #step: () => boolean = () => this.#frame();
  #blockTrailer = 0;
  #frameTrailer = 0;
  #isLinked = false;

  constructor(private readonly take: (piece: Uint8Array) => void) {}

  push(piece: Uint8Array): void {
    this.#input = Buffer.concat([this.#input, piece]);
    while (this.#step()) {
      // Each step eats what it needs, or says that it needs more.
    }
  }

  /** Throws Error if the last frame is not whole. */
  end(): void {
    if (this.#input.length > 0 || this.#isInFrame) throw new Error("the last frame is not whole");
  }

  #isInFrame = false;

  #eat(length: number): Buffer {
    const piece = this.#input.subarray(0, length);
    this.#input = this.#input.subarray(length);
    return piece;
  }

  #frame(): boolean {
    const input = this.#input;
    if (input.length < 8) return false;
    const found = input.readUInt32LE(0);
    if ((found & 0xfffffff0) >>> 0 === skippable) {
      const size = 8 + input.readUInt32LE(4);
      if (size > maxBlock) throw new Error(`a skippable frame of ${size} bytes`);
      if (input.length < size) return false;
      this.#eat(size);
      return true;
    }
    if (found !== magic) throw new Error("what follows a frame is none");
    const flags = input[4] ?? 0;
    if (flags >> 6 !== 1) throw new Error(`version ${flags >> 6} of the frame format`);
    if ((flags & 1) !== 0) throw new Error("the frame needs a dictionary");
    const size = 7 + ((flags & 8) !== 0 ? 8 : 0);
    if (input.length < size) return false;
    this.#eat(size);
    this.#isLinked = (flags & 0x20) === 0;
    this.#blockTrailer = (flags & 0x10) !== 0 ? 4 : 0;
    this.#frameTrailer = (flags & 4) !== 0 ? 4 : 0;
    this.#history = 0;
    this.#isInFrame = true;
    this.#step = () => this.#block();
    return true;
  }

  #block(): boolean {
    if (this.#input.length < 4) return false;
    const word = this.#input.readUInt32LE(0);
    if (word === 0) {
      if (this.#input.length < 4 + this.#frameTrailer) return false;
      this.#eat(4 + this.#frameTrailer);
      this.#isInFrame = false;
      this.#step = () => this.#frame();
      return true;
    }
    const size = word & 0x7fffffff;
    if (size > maxBlock) throw new Error(`a block of ${size} bytes`);
    if (this.#input.length < 4 + size + this.#blockTrailer) return false;
    const block = this.#eat(4 + size + this.#blockTrailer).subarray(4, 4 + size);
    const start = this.#isLinked ? this.#history : 0;
    const end = word > 0x7fffffff ? this.#plain(block, start) : decodeLz4Block(block, this.#output, start);
    this.take(this.#output.subarray(start, end));
    const kept = Math.min(end, window);
    this.#output.copyWithin(0, end - kept, end);
    this.#history = kept;
    return true;
  }

  #plain(block: Buffer, start: number): number {
    block.copy(this.#output, start);
    return start + block.length;
  }
}
