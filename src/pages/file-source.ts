// SPDX-License-Identifier: Apache-2.0
/** Pages in a file. Copies share blocks where the filesystem can (copy_file_range), else go through one buffer. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";
import type { ByteRange, DirectReading, PageSource } from "../model/page-source.js";
import { canShareBlocks, copyRangeInKernel, dataRanges } from "./kernel-copy.js";

/** Bytes moved at once where no other thread does: what stays in the processor's cache between the read and the write. */
const pieceLength = 1 << 18;
let sharedBuffer: Uint8Array | undefined;

export class FilePageSource implements PageSource {
  #isOpen = true;
  #sharesBlocks?: boolean;

  constructor(
    readonly name: string,
    /** Closed with the source. */
    private readonly fd: number,
  ) {}

  /** Opens a file for its pages. Throws what open(2) says as a CrimgError `pages.open`. */
  static open(path: string): FilePageSource {
    try {
      return new FilePageSource(path, openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new CrimgError("pages.open", `cannot open the file with the pages: ${reason}`, { source: path, cause });
    }
  }

  /** Bytes in the file now. */
  get size(): bigint {
    return fstatSync(this.fd, { bigint: true }).size;
  }

  read(position: bigint, into: Uint8Array): void {
    let done = 0;
    while (done < into.length) {
      const got = readSync(this.fd, into, done, into.length - done, position + BigInt(done));
      if (got === 0) throw this.#short(position + BigInt(done), into.length - done);
      done += got;
    }
  }

  /** The parts of a range that are not holes, ascending; the whole range where holes cannot be asked for. */
  dataRanges(position: bigint, length: bigint): readonly ByteRange[] {
    // Behind the end there is neither data nor a hole: whoever reads the range is told.
    return position + length > this.size ? [{ position, length }] : dataRanges(this.fd, position, length);
  }

  direct(): DirectReading {
    this.#sharesBlocks ??= canShareBlocks(this.fd);
    return { fd: this.fd, sharesBlocks: this.#sharesBlocks };
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    let target = fileOffset;
    const size = this.size;
    for (const range of ranges) {
      const end = range.position + range.length;
      // Behind the end there is neither data nor a hole: without this check the pages would silently be zero.
      if (end > size) throw this.#short(size, Number(end - size));
      for (const data of this.dataRanges(range.position, range.length)) {
        this.#copy(fd, target + (data.position - range.position), data);
      }
      target += range.length;
    }
    // A hole at the end leaves the output short: it must reach as far as its ranges.
    if (fstatSync(fd, { bigint: true }).size < target) ftruncateSync(fd, Number(target));
  }

  #copy(fd: number, target: bigint, range: ByteRange): void {
    this.#sharesBlocks ??= canShareBlocks(this.fd);
    let done = this.#sharesBlocks ? copyRangeInKernel(this.fd, range.position, fd, target, range.length) : 0n;
    const buffer = done < range.length ? (sharedBuffer ??= new Uint8Array(pieceLength)) : undefined;
    while (buffer && done < range.length) {
      const left = range.length - done;
      const piece = buffer.subarray(0, left < BigInt(buffer.length) ? Number(left) : buffer.length);
      this.read(range.position + done, piece);
      writeFully(fd, piece, target + done);
      done += BigInt(piece.length);
    }
  }

  close(): void {
    if (this.#isOpen) closeSync(this.fd);
    this.#isOpen = false;
  }

  #short(position: bigint, missing: number): CrimgError {
    return new CrimgError("pages.short", `${missing} bytes of pages are missing: the file ends at ${this.size}`, {
      source: this.name,
      offset: position,
      hint: "the file was cut off; was the disk full?",
    });
  }
}

/** Writes all bytes at a position. */
export function writeFully(fd: number, bytes: Uint8Array, position: bigint): void {
  let done = 0;
  // Positions of files are below 2^53: the largest file of any Linux filesystem in use is 2^53 or less here.
  while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, Number(position) + done);
}
