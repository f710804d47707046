// SPDX-License-Identifier: Apache-2.0
/** Pages that are bytes in memory: small things such as a synthesised page, inline JSON, tests. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import { writeFully } from "./file-source.js";

export class BufferPageSource implements PageSource {
  constructor(
    readonly name: string,
    private readonly bytes: Uint8Array,
  ) {}

  read(position: bigint, into: Uint8Array): void {
    into.set(this.#slice(position, BigInt(into.length)));
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    let target = fileOffset;
    for (const range of ranges) {
      writeFully(fd, this.#slice(range.position, range.length), target);
      target += range.length;
    }
  }

  close(): void {
    // Memory needs no closing.
  }

  #slice(position: bigint, length: bigint): Uint8Array {
    if (position < 0n || position + length > BigInt(this.bytes.length)) {
      throw new CrimgError("pages.short", `expected ${length} bytes of pages, found ${this.bytes.length} bytes in all`, {
        source: this.name,
        offset: position,
      });
    }
    return this.bytes.subarray(Number(position), Number(position + length));
  }
}
