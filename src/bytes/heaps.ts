// SPDX-License-Identifier: Apache-2.0
/** The two heaps of a tables segment: NUL-terminated strings and byte runs that records refer to (SPEC 4). */
import type { CrimgError } from "../errors/crimg-error.js";
import type { ByteReader } from "./byte-reader.js";
import { ByteWriter } from "./byte-writer.js";
import { BytesMap } from "./interned.js";
import { decodeText, encodeText } from "./text.js";

/** Longest string, bytes without the NUL. */
export const maxTextBytes = 0xffff;
/** Longest blob that several references may name: extended registers, which are the same in many threads. */
export const maxSharedBlobBytes = 16384;
/** Shorter ones are never shared: they are not worth looking for. */
const minSharedBlobBytes = 512;

/**
 * Resolves references. Two rules keep hostile input from growing when it is read: a reference names the *start* of a
 * string (so strings never overlap), and no byte of the blob heap belongs to two different references; those that are the
 * same, of 512 to 16,384 bytes, give the same view.
 */
export class HeapReader {
  readonly #strings: Uint8Array;
  readonly #blobs: Uint8Array;
  readonly #texts = new Map<number, string>();
  /** Blobs that others may name again, by offset. */
  readonly #shareable = new Map<number, Uint8Array>();
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
    const [start, length] = [Number(ofs), Number(len)];
    const known = this.#shareable.get(start);
    if (known !== undefined && known.length === length) return known;
    this.#blobBytesLeft -= length;
    if (this.#blobBytesLeft < 0) {
      throw reader.error("tables.blob", `${field} refers to bytes that another reference has`, reader.pos - 16, field);
    }
    const blob = heap.subarray(start, start + length);
    if (known === undefined && mayBeShared(blob)) this.#shareable.set(start, blob);
    return blob;
  }
}

/**
 * Collects strings (each once) and blobs (8-aligned; those of a size that may be shared once).
 *
 * Records that this version does not know may refer to the heaps they were read with. To keep them, the heaps are
 * seeded with those bytes: what was there stays at its offset, and blobs that are views of the seed are found in it.
 */
export class HeapWriter {
  readonly strings: ByteWriter;
  readonly blobs: ByteWriter;
  readonly #offsets = new Map<string, number>([["", 0]]);
  /** Where blobs are that may be shared. */
  readonly #shareable = new BytesMap<number>();
  readonly #seedBlobs: Uint8Array;
  /** Bytes of the seed that a reference has already: not 0. */
  readonly #taken: Uint8Array;

  /**
   * @param blobRoom bytes of blobs that are to come, as far as they are known: room for them is made at once
   * @throws CrimgError `tables.string` if the seed is no string heap.
   */
  constructor(seedStrings: Uint8Array = Uint8Array.of(0), seedBlobs: Uint8Array = new Uint8Array(0), blobRoom = 256) {
    this.strings = new ByteWriter(seedStrings.length + 256);
    this.strings.bytes(seedStrings);
    this.blobs = new ByteWriter(seedBlobs.length + blobRoom);
    this.blobs.bytes(seedBlobs);
    this.#seedBlobs = seedBlobs;
    this.#taken = new Uint8Array(seedBlobs.length);
    if (seedStrings[0] !== 0 || seedStrings.at(-1) !== 0) {
      throw this.strings.error("tables.string", "", "a string heap must begin and end with NUL");
    }
    for (let start = 1; start < seedStrings.length; ) {
      const end = seedStrings.indexOf(0, start);
      this.#offsets.set(decodeText(seedStrings.subarray(start, end)), start);
      start = end + 1;
    }
  }

  /** Writes a str_ref. @throws CrimgError `tables.string` */
  text(writer: ByteWriter, text: string, field: string): void {
    let ofs = text === "" ? 0 : this.#offsets.get(text);
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
    const ofs = this.#offsetInSeed(bytes) ?? this.#offsetOf(bytes);
    writer.u8(BigInt(ofs), field);
    writer.u8(BigInt(bytes.length), field);
  }

  /** Where a blob is that may be shared with an equal one, or else is put now. */
  #offsetOf(bytes: Uint8Array): number {
    if (!mayBeShared(bytes)) return this.#append(bytes);
    return this.#shareable.getOrMake(bytes, () => ({ bytes, value: this.#append(bytes) }));
  }

  #append(bytes: Uint8Array): number {
    this.blobs.align(8);
    const ofs = this.blobs.length;
    this.blobs.bytes(bytes);
    return ofs;
  }

  /** Where a blob already is, if it is a view of the seed that no other reference has. */
  #offsetInSeed(bytes: Uint8Array): number | undefined {
    const seed = this.#seedBlobs;
    const ofs = bytes.byteOffset - seed.byteOffset;
    if (bytes.buffer !== seed.buffer || ofs < 0 || ofs + bytes.length > seed.length) return undefined;
    const taken = this.#taken.subarray(ofs, ofs + bytes.length);
    if (taken.includes(1)) return undefined;
    taken.fill(1);
    if (mayBeShared(bytes)) this.#shareable.getOrMake(bytes, () => ({ bytes, value: ofs }));
    return ofs;
  }
}

function mayBeShared({ length }: Uint8Array): boolean {
  return length >= minSharedBlobBytes && length <= maxSharedBlobBytes;
}
