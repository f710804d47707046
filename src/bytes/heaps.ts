/** The two heaps of a tables segment: NUL-terminated strings and byte runs that records refer to (SPEC 5). */
import type { CrimgError } from "../errors/crimg-error.js";
import type { ByteReader } from "./byte-reader.js";
import { ByteWriter } from "./byte-writer.js";
import { decodeText, encodeText } from "./text.js";

/** Longest string, bytes without the NUL. */
export const maxTextBytes = 0xffff;

/**
 * Resolves references. Two rules keep hostile input from growing when it is read: a reference names the *start* of a
 * string (so strings never overlap), and no byte of the blob heap belongs to two references.
 */
export class HeapReader {
  readonly #strings: Uint8Array;
  readonly #blobs: Uint8Array;
  readonly #texts = new Map<number, string>();
  #blobBytesLeft: number;

  constructor(strings: Uint8Array, blobs: Uint8Array) {
    this.#strings = strings;
    this.#blobs = blobs;
    this.#blobBytesLeft = blobs.length;
  }

  /** Reads a str_ref. @throws CrimgError `tables.string` */
  text(reader: ByteReader, field: string): string {
    const ofs = reader.u4();
    if (ofs === 0) return "";
    let text = this.#texts.get(ofs);
    if (text === undefined) {
      text = decodeText(this.#stringAt(reader, ofs, field));
      this.#texts.set(ofs, text);
    }
    return text;
  }

  #stringAt(reader: ByteReader, ofs: number, field: string): Uint8Array {
    const fail = (why: string): CrimgError =>
      reader.error("tables.string", `${field} refers to string ${ofs}, ${why}`, reader.pos - 4, field);
    const heap = this.#strings;
    if (ofs >= heap.length) throw fail(`but the string heap has ${heap.length} bytes`);
    if (heap[ofs - 1] !== 0) throw fail("which is inside another string");
    const end = heap.indexOf(0, ofs);
    if (end < 0) throw fail("which does not end");
    if (end - ofs > maxTextBytes) throw fail(`which is longer than ${maxTextBytes} bytes`);
    return heap.subarray(ofs, end);
  }

  /** Reads a blob_ref; the result is a view of the segment. @throws CrimgError `tables.blob` */
  blob(reader: ByteReader, field: string): Uint8Array {
    const ofs = reader.u8();
    const len = reader.u8();
    const heap = this.#blobs;
    if (ofs + len > BigInt(heap.length)) {
      const message = `${field} refers to bytes ${ofs} to ${ofs + len}, but the blob heap has ${heap.length}`;
      throw reader.error("tables.blob", message, reader.pos - 16, field);
    }
    this.#blobBytesLeft -= Number(len);
    if (this.#blobBytesLeft < 0) {
      throw reader.error("tables.blob", `${field} refers to bytes that another reference has`, reader.pos - 16, field);
    }
    return heap.subarray(Number(ofs), Number(ofs + len));
  }
}

/** Collects strings (each once) and blobs (8-aligned). */
export class HeapWriter {
  readonly strings = new ByteWriter();
  readonly blobs = new ByteWriter();
  readonly #offsets = new Map<string, number>([["", 0]]);

  constructor() {
    // Offset 0 is the empty string.
    this.strings.u1(0);
  }

  /** Writes a str_ref. @throws CrimgError `tables.string` */
  text(writer: ByteWriter, text: string, field: string): void {
    let ofs = this.#offsets.get(text);
    if (ofs === undefined) {
      const bytes = encodeText(text);
      if (bytes.includes(0)) throw writer.error("tables.string", field, `${field} must not contain NUL`);
      if (bytes.length > maxTextBytes) {
        throw writer.error("tables.string", field, `${field} must have at most ${maxTextBytes} bytes, found ${bytes.length}`);
      }
      ofs = this.strings.length;
      this.strings.bytes(bytes);
      this.strings.u1(0);
      this.#offsets.set(text, ofs);
    }
    writer.u4(ofs, field);
  }

  /** Writes a blob_ref. */
  blob(writer: ByteWriter, bytes: Uint8Array, field: string): void {
    if (bytes.length === 0) {
      writer.zeros(16);
      return;
    }
    this.blobs.align(8);
    writer.u8(BigInt(this.blobs.length), field);
    writer.u8(BigInt(bytes.length), field);
    this.blobs.bytes(bytes);
  }
}

