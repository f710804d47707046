/** A file whose content is not trusted: every read is checked against its size, and says where it stood. */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";

export class InputFile {
  #isOpen = true;

  private constructor(
    /** For messages. */
    readonly path: string,
    readonly format: string,
    readonly fd: number,
    /** Bytes when it was opened. */
    readonly size: bigint,
  ) {}

  /** Opens a regular file. Throws CrimgError `input.open`, `input.kind`. */
  static open(path: string, format: string): InputFile {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    } catch (cause) {
      throw new CrimgError("input.open", `cannot open ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { source: path, cause });
    }
    const stat = fstatSync(fd, { bigint: true });
    if (stat.isFile()) return new InputFile(path, format, fd, stat.size);
    closeSync(fd);
    throw new CrimgError("input.kind", `${path} is not a regular file`, { source: path });
  }

  /** Whether [offset, offset + length) lies in the file. */
  has(offset: bigint, length: bigint): boolean {
    return offset >= 0n && length >= 0n && offset + length <= this.size;
  }

  /**
   * Bytes at an offset; the length is checked against the file before memory is taken.
   * @param what named in the message, such as "program headers"
   * @throws CrimgError `input.short`
   */
  bytes(offset: bigint, length: number, what: string, path?: string): Uint8Array {
    if (!this.has(offset, BigInt(length))) throw this.#short(offset, length, what, path);
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const got = readSync(this.fd, bytes, done, length - done, offset + BigInt(done));
      if (got === 0) throw this.#short(offset, length, what, path);
      done += got;
    }
    return bytes;
  }

  close(): void {
    if (this.#isOpen) closeSync(this.fd);
    this.#isOpen = false;
  }

  #short(offset: bigint, length: number, what: string, path?: string): CrimgError {
    return new CrimgError("input.short", `the file ends in the middle of its ${what}: expected ${length} bytes, the file has ${this.size}`, {
      source: this.path,
      format: this.format,
      offset,
      path,
      hint: "the file was cut off; was it copied completely?",
    });
  }
}
