// SPDX-License-Identifier: Apache-2.0
/**
 * Reads one image file: magic numbers, then entries of a length (u32) and a protobuf message, some with raw bytes
 * behind them. Reads ahead in pieces; nothing is allocated on the word of a length that the file cannot keep.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { constants } from "node:fs";
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { commonMagic, inventoryName, magicOf } from "./image-types.js";
import { missingField } from "./required.js";
import { checkWire } from "./wire-check.js";

/** Largest message: the biggest real ones (mm of 65,530 areas) stay under 8 MiB. */
export const maxEntrySize = 32 * 1024 * 1024;
const readAhead = 64 * 1024;

export class ImageReader {
  readonly #fd: number;
  readonly #size: number;
  #buffer: Uint8Array = new Uint8Array(0);
  #bufferAt = 0;
  #at = 0;
  #entry = -1;

  /** `path` is opened without following a symbolic link; `label` names it in messages. */
  constructor(
    path: string,
    readonly label: string,
  ) {
    this.#fd = openImage(path, label);
    this.#size = fstatSync(this.#fd).size;
  }

  /** Position of the next byte. */
  get position(): number {
    return this.#at;
  }

  get size(): number {
    return this.#size;
  }

  /** Index of the entry read last. */
  get entryIndex(): number {
    return this.#entry;
  }

  /** Checks the magic numbers of an image of this type. */
  readMagic(typeId: string): void {
    const expected = magicOf(typeId);
    let found = this.#u4("magic");
    if (found === commonMagic && `${typeId}.img` !== inventoryName) found = this.#u4("magic");
    if (found !== expected) {
      throw this.error(
        "criu.magic",
        `This is not a ${typeId} image: its magic is ${hex(found)}, not ${hex(expected)}.`,
        this.#at - 4,
        "magic",
      );
    }
  }

  /** The next message, or undefined at the end of the file. */
  next<Schema extends DescMessage>(schema: Schema): MessageShape<Schema> | undefined {
    const bytes = this.nextBytes();
    return bytes && this.decode(schema, bytes, this.#at - bytes.length);
  }

  /** The next message undecoded, valid until the next read, or undefined at the end of the file. */
  nextBytes(): Uint8Array | undefined {
    if (this.#at === this.#size) return undefined;
    const start = this.#at;
    this.#entry++;
    const length = this.#u4("length");
    if (length > this.#size - this.#at) {
      throw this.error("criu.entry", `The entry claims ${length} bytes, but ${this.#size - this.#at} are left in the file.`, start);
    }
    if (length > maxEntrySize) {
      throw this.error("criu.entry", `The entry has ${length} bytes; no more than ${maxEntrySize} are accepted.`, start);
    }
    return this.#take(length);
  }

  /** Decodes a message of this file whose first byte is at `bodyAt`; see `missingField` for `isWrapper`. */
  decode<Schema extends DescMessage>(schema: Schema, bytes: Uint8Array, bodyAt: number, isWrapper = false): MessageShape<Schema> {
    const fault = checkWire(schema, bytes);
    if (fault) throw this.error("criu.entry", `The message cannot be read: ${fault.problem}.`, bodyAt + fault.offset, fault.path);
    let message: MessageShape<Schema>;
    try {
      message = fromBinary(schema, bytes);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw this.error("criu.entry", `The message cannot be read: ${why}.`, bodyAt, undefined, cause);
    }
    const missing = missingField(schema, message, isWrapper);
    if (missing !== undefined) throw this.error("criu.required", `The message lacks ${missing}, which CRIU requires.`, bodyAt, missing);
    return message;
  }

  /** Exactly one message, as in images that hold one. */
  one<Schema extends DescMessage>(schema: Schema): MessageShape<Schema> {
    const message = this.next(schema);
    if (!message) throw this.error("criu.empty", "The image has no entry.", this.#at);
    return message;
  }

  /** Raw bytes behind a message; at most `limit`. */
  payload(length: number, limit: number): Uint8Array {
    if (length > this.#size - this.#at) {
      throw this.error("criu.payload", `${length} bytes of content are announced, but ${this.#size - this.#at} are left.`, this.#at);
    }
    if (length > limit) throw this.error("criu.payload", `${length} bytes of content are more than the ${limit} accepted.`, this.#at);
    return this.#take(length);
  }

  /** Passes over raw bytes and says where they began. */
  skip(length: bigint): bigint {
    const start = BigInt(this.#at);
    if (length > BigInt(this.#size - this.#at)) {
      throw this.error("criu.payload", `${length} bytes of content are announced, but ${this.#size - this.#at} are left.`, this.#at);
    }
    this.#at += Number(length);
    return start;
  }

  /** An error located at `offset` of this file. */
  error(code: string, message: string, offset: number, path?: string, cause?: unknown): CrimgError {
    const entry = this.#entry < 0 ? undefined : `entry ${this.#entry}`;
    return new CrimgError(code, message, {
      source: this.label,
      offset: BigInt(offset),
      path: [entry, path].filter((part) => part !== undefined && part !== "").join(" ") || undefined,
      format: "criu",
      cause,
    });
  }

  close(): void {
    closeSync(this.#fd);
  }

  #u4(what: string): number {
    if (this.#size - this.#at < 4) throw this.error("criu.short", `The file ends where a ${what} of four bytes should be.`, this.#at);
    const bytes = this.#take(4);
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  }

  /** `length` bytes from here on, which the file is known to have. */
  #take(length: number): Uint8Array {
    const offset = this.#at - this.#bufferAt;
    if (offset >= 0 && offset + length <= this.#buffer.length) {
      this.#at += length;
      return this.#buffer.subarray(offset, offset + length);
    }
    const wanted = Math.max(length, Math.min(readAhead, this.#size - this.#at));
    const buffer = new Uint8Array(wanted);
    let have = 0;
    while (have < wanted) {
      const got = readSync(this.#fd, buffer, have, wanted - have, this.#at + have);
      if (got === 0) break;
      have += got;
    }
    if (have < length) throw this.error("criu.short", "The file became shorter while it was read.", this.#at + have);
    this.#buffer = buffer.subarray(0, have);
    this.#bufferAt = this.#at;
    this.#at += length;
    return this.#buffer.subarray(0, length);
  }
}

/**
 * Opens a regular file for reading. A FIFO in a hostile directory must not block; a link in it must not lead out
 * (the path that the user named may be one).
 */
export function openImage(path: string, label: string, mayBeLink = false): number {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | (mayBeLink ? 0 : constants.O_NOFOLLOW));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "error";
    throw new CrimgError("criu.open", `The image cannot be opened (${code}).`, {
      source: label,
      format: "criu",
      hint: code === "ENOENT" ? "The image set is incomplete." : undefined,
      cause,
    });
  }
  if (!fstatSync(fd).isFile()) {
    closeSync(fd);
    throw new CrimgError("criu.open", "The image is not a regular file.", { source: label, format: "criu" });
  }
  return fd;
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}
