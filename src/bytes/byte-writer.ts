// SPDX-License-Identifier: Apache-2.0
/** Writes little-endian fields into bytes that grow. Values that do not fit are CrimgErrors, never cut. */
import { CrimgError } from "../errors/crimg-error.js";
import { encodeText, hasLoneSurrogate } from "./text.js";

export class ByteWriter {
  #buffer: Uint8Array<ArrayBuffer>;
  #view: DataView<ArrayBuffer>;
  /** The buffer once more, made at its first use. */
  #bytes: Buffer | undefined;
  /** Bytes that the buffer has. */
  #room: number;
  #length = 0;
  #path = "";
  #index: number | undefined;

  /** @param capacity bytes to start with. */
  constructor(capacity = 256) {
    this.#room = capacity;
    this.#buffer = new Uint8Array(capacity);
    this.#view = new DataView(this.#buffer.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** What was written, as a view: later writes may or may not show in it. */
  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Says what is written next, for messages: `tasks`, or with an index `tasks[3]`. */
  enter(path: string, index?: number): void {
    this.#path = path;
    this.#index = index;
  }

  /** An error about a value that cannot be written. */
  error(code: string, field: string, message: string): CrimgError {
    const here = this.#index === undefined ? this.#path : `${this.#path}[${this.#index}]`;
    const path = here === "" || field === "" ? here + field : `${here}.${field}`;
    return new CrimgError(code, message, path === "" ? {} : { path });
  }

  /** An error about a value that the spec does not allow. */
  invalid(field: string, value: number | bigint, expected: string): CrimgError {
    return this.error("bytes.invalid", field, `${field} must be ${expected}, found ${value}`);
  }

  u1(value: number, field = ""): void {
    if ((value & 0xff) !== value) throw this.#range(value, "0 to 255", field);
    const at = this.#length;
    if (at + 1 > this.#room) this.#grow(at + 1);
    this.#length = at + 1;
    this.#view.setUint8(at, value);
  }

  u2(value: number, field = ""): void {
    if ((value & 0xffff) !== value) throw this.#range(value, "0 to 65535", field);
    const at = this.#length;
    if (at + 2 > this.#room) this.#grow(at + 2);
    this.#length = at + 2;
    this.#view.setUint16(at, value, true);
  }

  u4(value: number, field = ""): void {
    if (value >>> 0 !== value) throw this.#range(value, "0 to 4294967295", field);
    const at = this.#length;
    if (at + 4 > this.#room) this.#grow(at + 4);
    this.#length = at + 4;
    this.#view.setUint32(at, value, true);
  }

  u8(value: bigint, field = ""): void {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw this.#range(value, "0 to 2^64 - 1", field);
    const at = this.#length;
    if (at + 8 > this.#room) this.#grow(at + 8);
    this.#length = at + 8;
    this.#view.setBigUint64(at, value, true);
  }

  s1(value: number, field = ""): void {
    this.#check(value, -0x80, 0x7f, field);
    const at = this.#take(1);
    this.#view.setInt8(at, value);
  }

  s2(value: number, field = ""): void {
    this.#check(value, -0x8000, 0x7fff, field);
    const at = this.#take(2);
    this.#view.setInt16(at, value, true);
  }

  s4(value: number, field = ""): void {
    this.#check(value, -0x8000_0000, 0x7fff_ffff, field);
    const at = this.#take(4);
    this.#view.setInt32(at, value, true);
  }

  s8(value: bigint, field = ""): void {
    if (value < -(1n << 63n) || value >= 1n << 63n) throw this.#range(value, "-2^63 to 2^63 - 1", field);
    const at = this.#take(8);
    this.#view.setBigInt64(at, value, true);
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#take(bytes.length);
    this.#buffer.set(bytes, at);
  }

  /** Bytes of a field of exactly `length` bytes. @throws CrimgError `bytes.length` */
  fixed(bytes: Uint8Array, length: number, field: string): void {
    if (bytes.length !== length) throw this.error("bytes.length", field, `${field} must have ${length} bytes, found ${bytes.length}`);
    this.bytes(bytes);
  }

  /** Text in a field of `length` bytes, filled up with NUL. @throws CrimgError `bytes.length` if it is longer. */
  text(text: string, length: number, field: string): void {
    const bytes = encodeText(text);
    if (bytes.length > length) throw this.error("bytes.length", field, `${field} must have at most ${length} bytes, found ${bytes.length}`);
    this.bytes(bytes);
    this.zeros(length - bytes.length);
  }

  /** The last `count` bytes once more, or several times. */
  again(count: number, times = 1): void {
    const begin = this.#length - count;
    const end = this.#take(count * times) + count * times;
    // Twice as many each time.
    for (let at = begin + count; at < end; ) {
      const length = Math.min(at - begin, end - at);
      this.#buffer.copyWithin(at, begin, begin + length);
      at += length;
    }
  }

  /** Text and a NUL, in one go: there may be thousands of texts. Returns where it begins. @throws CrimgError `text.surrogate` */
  terminated(text: string): number {
    if (hasLoneSurrogate(text)) {
      const at = this.#length;
      this.bytes(encodeText(text));
      this.zeros(1);
      return at;
    }
    // UTF-8 takes at most three bytes for each unit of UTF-16.
    const at = this.#take(text.length * 3 + 1);
    this.#bytes ??= Buffer.from(this.#buffer.buffer);
    const end = at + this.#bytes.write(text, at);
    this.#buffer[end] = 0;
    this.#length = end + 1;
    return at;
  }

  /** A row reference: null is 0xffffffff. */
  row(value: number | null, field = ""): void {
    if (value === null) this.u4(0xffff_ffff, field);
    else if (value === 0xffff_ffff) throw this.#range(value, "0 to 4294967294", field);
    else this.u4(value, field);
  }

  /** Array elements that must be `count`. @throws CrimgError `bytes.length` */
  elements<Element>(values: readonly Element[], count: number, field: string): readonly Element[] {
    if (values.length !== count) throw this.error("bytes.length", field, `${field} must have ${count} elements, found ${values.length}`);
    return values;
  }

  /** The number of an enum's name. @throws CrimgError `bytes.enum` for a name that is none. */
  number(name: string, values: Readonly<Record<string, number>>, field: string): number {
    // What else objects have (`toString`) is no number.
    const value: unknown = values[name];
    if (typeof value !== "number") {
      throw this.error("bytes.enum", field, `${field} must be one of ${Object.keys(values).join(", ")}; found "${name}"`);
    }
    return value;
  }

  zeros(count: number): void {
    const from = this.#take(count);
    this.#buffer.fill(0, from, from + count);
  }

  /** Zeros up to the next multiple of `alignment`. */
  align(alignment: number): void {
    this.zeros((alignment - (this.#length % alignment)) % alignment);
  }

  #check(value: number, least: number, most: number, field: string): void {
    if (!Number.isInteger(value) || value < least || value > most) throw this.#range(value, `${least} to ${most}`, field);
  }

  #range(value: number | bigint, expected: string, field: string): CrimgError {
    return this.error("bytes.range", field, `${field === "" ? "the value" : field} must be ${expected}, found ${value}`);
  }

  /** Makes room and returns where it starts. Replaces buffer and view: call it before naming them. */
  #take(count: number): number {
    const start = this.#length;
    const end = start + count;
    if (end > this.#room) this.#grow(end);
    this.#length = end;
    return start;
  }

  /** Makes room up to `end`. Small fields look by themselves whether that is needed: of tens of thousands of rows there are many. */
  #grow(end: number): void {
    const grown = new Uint8Array(Math.max(end, this.#room * 2));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#room = grown.length;
    this.#buffer = grown;
    this.#view = new DataView(grown.buffer);
    this.#bytes = undefined;
  }
}
