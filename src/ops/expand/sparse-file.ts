// SPDX-License-Identifier: Apache-2.0
/** A nameless file that is written from its start; pages of zeros become holes, so that it takes no more space than its data. */
import { randomBytes } from "node:crypto";
import { closeSync, ftruncateSync, openSync, statfsSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CrimgError } from "../../errors/crimg-error.js";
import { writeFully } from "../../pages/file-source.js";

const page = 4096;
const zeros = Buffer.alloc(page);
/** Bytes that must stay free in the folder, and after how many bytes this is checked. */
const reserve = 128n << 20n;
const lookEvery = 32 << 20;

export class SparseFile {
  readonly fd: number;
  #position = 0n;
  #unlooked = lookEvery;
  readonly #folder = tmpdir();
  #isOpen = true;

  /** @param name of what it is made from, for messages */
  constructor(private readonly name: string) {
    const path = join(this.#folder, `.crimg-${process.pid}-${randomBytes(8).toString("hex")}.tmp`);
    this.fd = openSync(path, "wx+", 0o600);
    unlinkSync(path);
  }

  get size(): bigint {
    return this.#position;
  }

  /** Throws CrimgError `expand.room`. */
  append(bytes: Uint8Array): void {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; at < buffer.length; ) {
      // Up to the next page border of the file, then page by page; data pages that follow each other go in one write.
      let end = at;
      const isData = (from: number, to: number) => !buffer.subarray(from, to).equals(zeros.subarray(0, to - from));
      const next = (from: number) => Math.min(buffer.length, from + page - Number((this.#position + BigInt(from - at)) % BigInt(page)));
      const first = next(at);
      const holds = isData(at, first);
      for (end = first; end < buffer.length; ) {
        const to = next(end);
        if (isData(end, to) !== holds) break;
        end = to;
      }
      if (holds) this.#write(buffer.subarray(at, end));
      this.#position += BigInt(end - at);
      at = end;
    }
  }

  #write(bytes: Uint8Array): void {
    this.#unlooked += bytes.length;
    if (this.#unlooked >= lookEvery) {
      const { bavail, bsize } = statfsSync(this.#folder, { bigint: true });
      if (bavail * bsize < reserve + BigInt(bytes.length)) {
        throw new CrimgError("expand.room", `${this.#folder} has not enough free space for the expanded file`, {
          source: this.name,
          hint: "set TMPDIR to a folder of a larger filesystem",
        });
      }
      this.#unlooked = 0;
    }
    writeFully(this.fd, bytes, this.#position);
  }

  /** Leaves a hole of some length. */
  skip(length: bigint): void {
    this.#position += length;
  }

  /** Gives the file its length. */
  finish(): void {
    ftruncateSync(this.fd, Number(this.#position));
  }

  close(): void {
    if (this.#isOpen) closeSync(this.fd);
    this.#isOpen = false;
  }
}
