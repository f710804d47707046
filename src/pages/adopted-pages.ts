// SPDX-License-Identifier: Apache-2.0
/** Pages that are in the file that is being written already, where its stored pages begin, without a gap. */
import { readSync } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import type { StoredChunks } from "../model/stored-chunks.js";
import { checksumOf } from "./checksum.js";
import { writeFully } from "./file-source.js";

/** A checksum of bytes at a place of the file. */
export interface KnownSum {
  readonly length: number;
  readonly sum: number;
}

/** Positions are offsets in the file. */
export class AdoptedPages implements PageSource {
  readonly name = "pages in the image";

  constructor(
    /** The file; it stays its owner's. */
    private readonly fd: number,
    /** Where its stored pages begin, and where those of this source end. */
    readonly begin: number,
    readonly end: number,
    /** By offset: checksums of bytes that have not changed since. */
    private readonly sums: ReadonlyMap<number, KnownSum>,
  ) {}

  read(position: bigint, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const got = readSync(this.fd, into, done, into.length - done, Number(position) + done);
      if (got === 0)
        throw new CrimgError("pages.short", `${this.name}: the file ends at ${Number(position) + done}`, { source: this.name });
      done += got;
    }
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    let target = fileOffset;
    for (const { position, length } of ranges) {
      const bytes = new Uint8Array(Number(length));
      this.read(position, bytes);
      writeFully(fd, bytes, target);
      target += length;
    }
  }

  /** The checksums of the chunks that are in this source: the first ones of the file. What is not known is computed. */
  sumsOf({ offsets, lengths, count }: StoredChunks): number[] {
    const found: number[] = [];
    for (let index = 0; index < count && (offsets[index] ?? 0) < this.end; index++) {
      const [offset, length] = [offsets[index] ?? 0, lengths[index] ?? 0];
      const known = this.sums.get(offset);
      if (known?.length === length) found.push(known.sum);
      else {
        const bytes = new Uint8Array(length);
        this.read(BigInt(offset), bytes);
        found.push(checksumOf(bytes));
      }
    }
    return found;
  }

  close(): void {
    // The file is its owner's.
  }
}
