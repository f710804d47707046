// SPDX-License-Identifier: Apache-2.0
/** Random access to bytes that are too many to hold. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";

export interface RandomBytes {
  /** For messages: a file name. */
  readonly name: string;
  /** Bytes. */
  readonly size: bigint;
  /** Exactly `length` bytes from `offset`. @throws CrimgError `bytes.short` if fewer are there. */
  read(offset: bigint, length: number): Uint8Array;
}

/** Most bytes that one `read` gives: metadata is smaller, and page payload is copied, not read. */
export const maxReadBytes = 1 << 30;

/** Fails unless [offset, offset + length) lies in [0, size). @throws CrimgError `bytes.short` */
export function assertRange(name: string, size: bigint, offset: bigint, length: bigint, path?: string): void {
  if (offset >= 0n && length >= 0n && offset + length <= size) return;
  const left = offset < 0n || offset > size ? 0n : size - offset;
  throw new CrimgError("bytes.short", `expected ${length} bytes at offset ${offset}, found ${left}`, {
    source: name,
    offset,
    path,
    expected: String(length),
    actual: String(left),
  });
}

/** What a system error says, without its name and the call: "no such file or directory". */
function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message.replace(/^[A-Z]+: |, (open|read|fstat)\b.*$/g, "") : String(cause);
}

/** A file, by descriptor. */
export class FileBytes implements RandomBytes {
  readonly name: string;
  readonly fd: number;
  readonly size: bigint;
  readonly #isOwner: boolean;

  /** @param isOwner whether `close` closes `fd`. */
  constructor(name: string, fd: number, isOwner: boolean) {
    this.name = name;
    this.fd = fd;
    this.size = fstatSync(fd, { bigint: true }).size;
    this.#isOwner = isOwner;
  }

  /** Opens a file for reading. @throws CrimgError `file.open` */
  static open(path: string): FileBytes {
    let fd: number;
    try {
      fd = openSync(path, "r");
    } catch (cause) {
      throw new CrimgError("file.open", `cannot open ${path}: ${reasonOf(cause)}`, { source: path, cause });
    }
    try {
      return new FileBytes(path, fd, true);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  read(offset: bigint, length: number): Uint8Array {
    assertRange(this.name, this.size, offset, BigInt(length));
    if (length > maxReadBytes) {
      throw new CrimgError("bytes.large", `expected at most ${maxReadBytes} bytes, found ${length}`, { source: this.name, offset });
    }
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const count = this.#readAt(bytes, done, offset);
      // The file shrank after its size was taken.
      if (count === 0) assertRange(this.name, offset + BigInt(done), offset, BigInt(length));
      done += count;
    }
    return bytes;
  }

  /** Reads some of what is missing of `bytes`, which begin at `offset`. @throws CrimgError `file.read` */
  #readAt(bytes: Uint8Array, done: number, offset: bigint): number {
    try {
      return readSync(this.fd, bytes, done, bytes.length - done, offset + BigInt(done));
    } catch (cause) {
      throw new CrimgError("file.read", `cannot read ${this.name}: ${reasonOf(cause)}`, { source: this.name, offset, cause });
    }
  }

  close(): void {
    if (this.#isOwner) closeSync(this.fd);
  }
}

/** Bytes in memory. */
export class MemoryBytes implements RandomBytes {
  readonly name: string;
  readonly size: bigint;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, name: string) {
    this.#bytes = bytes;
    this.name = name;
    this.size = BigInt(bytes.length);
  }

  read(offset: bigint, length: number): Uint8Array {
    assertRange(this.name, this.size, offset, BigInt(length));
    return this.#bytes.subarray(Number(offset), Number(offset) + length);
  }
}
