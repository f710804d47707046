// SPDX-License-Identifier: Apache-2.0
/** A file with compressed stored bytes, read as if nothing were compressed (SPEC 7.2). */
import { inflateLz4 } from "../bytes/lz4-block.js";
import type { RandomBytes } from "../bytes/random-bytes.js";
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import { endOfFrames, frameBehind, type StoredFrame } from "../model/stored-frames.js";
import { writeFully } from "./file-source.js";

/** Bytes moved at once. */
const pieceLength = 1 << 18;

export class FramedBytes implements RandomBytes {
  readonly name: string;
  readonly size: bigint;
  /** The frame inflated last. */
  #last: { readonly frame: StoredFrame; readonly bytes: Uint8Array } | undefined;

  /** @param file read where frames are, and for what lies before the first one */
  constructor(
    private readonly file: RandomBytes,
    private readonly frames: readonly StoredFrame[],
  ) {
    this.name = file.name;
    this.size = BigInt(endOfFrames(frames));
  }

  /** @throws CrimgError `pages.frame` for a damaged frame, `pages.short` behind the last */
  read(offset: bigint, length: number): Uint8Array {
    const into = new Uint8Array(length);
    this.readInto(Number(offset), into);
    return into;
  }

  readInto(offset: number, into: Uint8Array): void {
    const first = this.frames[0]?.offset ?? Number.MAX_SAFE_INTEGER;
    for (let done = 0; done < into.length; ) {
      const at = offset + done;
      const left = into.length - done;
      if (at < first) {
        const count = Math.min(left, first - at);
        into.set(this.file.read(BigInt(at), count), done);
        done += count;
        continue;
      }
      const frame = this.frames[frameBehind(this.frames, at)];
      if (frame === undefined || frame.offset > at) {
        throw new CrimgError("pages.short", `${left} bytes of pages are missing: no frame has them`, {
          source: this.name,
          offset: BigInt(at),
        });
      }
      const skip = at - frame.offset;
      const count = Math.min(left, frame.length - skip);
      into.set(this.#inflated(frame).subarray(skip, skip + count), done);
      done += count;
    }
  }

  #inflated(frame: StoredFrame): Uint8Array {
    if (this.#last?.frame === frame) return this.#last.bytes;
    const stored = this.file.read(BigInt(frame.fileOffset), frame.stored);
    const bytes = frame.stored === frame.length ? stored : new Uint8Array(frame.length);
    if (bytes !== stored && !inflateLz4(stored, bytes)) {
      throw new CrimgError("pages.frame", `the ${frame.stored} compressed bytes at ${frame.fileOffset} are damaged`, {
        source: this.name,
        offset: BigInt(frame.fileOffset),
        hint: "copy the image again from where it is whole",
      });
    }
    this.#last = { frame, bytes };
    return bytes;
  }
}

/** Pages of such a file. */
export class FramedPageSource implements PageSource {
  readonly name: string;
  readonly #bytes: FramedBytes;

  /** @param file closed with the source */
  constructor(
    private readonly file: RandomBytes & { close(): void },
    frames: readonly StoredFrame[],
  ) {
    this.name = file.name;
    this.#bytes = new FramedBytes(file, frames);
  }

  read(position: bigint, into: Uint8Array): void {
    this.#bytes.readInto(Number(position), into);
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    let target = fileOffset;
    for (const { position, length } of ranges) {
      for (let done = 0n; done < length; ) {
        const count = length - done < BigInt(pieceLength) ? Number(length - done) : pieceLength;
        writeFully(fd, this.#bytes.read(position + done, count), target + done);
        done += BigInt(count);
      }
      target += length;
    }
  }

  close(): void {
    this.file.close();
  }
}
