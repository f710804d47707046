// SPDX-License-Identifier: Apache-2.0
/**
 * Reads little-endian fields from bytes in memory. Every failure is a CrimgError with source, absolute offset and
 * path. The stream is Kaitai's; its 64-bit reads go through doubles and lose bits, so they are replaced here.
 */
import kaitai from "kaitai-struct";
import { CrimgError, type CrimgErrorFields } from "../errors/crimg-error.js";
import { decodeText } from "./text.js";

// The package exports the class itself, its typings a module with the class as default.
const KaitaiStream = kaitai.KaitaiStream as unknown as typeof kaitai.KaitaiStream.default;

/** Where the bytes of a reader come from. */
export interface BytesPlace {
  /** File name, or "process 4711". */
  readonly source?: string;
  /** Absolute offset of the first byte in the source. */
  readonly base?: bigint;
  /** Path in structure, such as `program_headers[3]`. */
  readonly path?: string;
  /** Format id. */
  readonly format?: string;
}

export class ByteReader extends KaitaiStream {
  readonly place: BytesPlace;
  #path: string;
  #index: number | undefined;

  constructor(bytes: Uint8Array, place: BytesPlace = {}) {
    super(viewOf(bytes));
    this.place = place;
    this.#path = place.path ?? "";
  }

  /** Bytes not yet read. */
  get remaining(): number {
    return this.size - this.pos;
  }

  /** Says what is read next, for messages: `tasks`, or with an index `tasks[3]`. */
  enter(path: string, index?: number): void {
    this.#path = path;
    this.#index = index;
  }

  /** Path in structure of a field of what is being read. */
  pathOf(field = ""): string | undefined {
    const here = this.#index === undefined ? this.#path : `${this.#path}[${this.#index}]`;
    const path = here === "" || field === "" ? here + field : `${here}.${field}`;
    return path === "" ? undefined : path;
  }

  /** Absolute offset of a position. */
  offsetOf(pos: number): bigint {
    return (this.place.base ?? 0n) + BigInt(pos);
  }

  /** An error about the bytes at `pos`. */
  error(code: string, message: string, pos: number, field = "", more: CrimgErrorFields = {}): CrimgError {
    const { source, format } = this.place;
    return new CrimgError(code, message, { source, format, offset: this.offsetOf(pos), path: this.pathOf(field), ...more });
  }

  /** An error about a value of `width` bytes that was just read. */
  invalid(field: string, width: number, value: number | bigint, expected: string): CrimgError {
    const message = `${field} must be ${expected}, found ${value}`;
    return this.error("bytes.invalid", message, this.pos - width, field, { expected, actual: String(value) });
  }

  /** Fails unless `length` bytes are left. @throws CrimgError `bytes.short` */
  need(length: number, what = ""): void {
    if (!(length <= this.remaining) || length < 0) {
      const message = `expected ${length} bytes${what === "" ? "" : ` of ${what}`}, found ${this.remaining}`;
      throw this.error("bytes.short", message, this.pos, "", { expected: String(length), actual: String(this.remaining) });
    }
  }

  /** Kaitai's own reads come here too, so that they fail with a place. */
  override ensureBytesLeft(length: number): void {
    this.need(length);
  }

  u1(): number {
    return this.readU1();
  }

  u2(): number {
    return this.readU2le();
  }

  u4(): number {
    return this.readU4le();
  }

  u8(): bigint {
    this.need(8);
    const value = this.dataView.getBigUint64(this.pos, true);
    this.pos += 8;
    return value;
  }

  s1(): number {
    return this.readS1();
  }

  s2(): number {
    return this.readS2le();
  }

  s4(): number {
    return this.readS4le();
  }

  s8(): bigint {
    this.need(8);
    const value = this.dataView.getBigInt64(this.pos, true);
    this.pos += 8;
    return value;
  }

  /** The next bytes, as a view (not a copy) of the input. */
  bytes(length: number): Uint8Array {
    this.need(length);
    const { buffer, byteOffset } = this.dataView;
    const bytes = new Uint8Array(buffer, byteOffset + this.pos, length);
    this.pos += length;
    return bytes;
  }

  skip(length: number): void {
    this.need(length);
    this.pos += length;
  }

  /** Text in a field of `length` bytes; with `isTerminated` it ends at the first NUL, if there is one. */
  text(length: number, isTerminated: boolean): string {
    const bytes = this.bytes(length);
    const end = isTerminated ? bytes.indexOf(0) : -1;
    return decodeText(end < 0 ? bytes : bytes.subarray(0, end));
  }

  /** A row reference: 0xffffffff is null. */
  row(): number | null {
    const value = this.u4();
    return value === 0xffff_ffff ? null : value;
  }

  /** A number as the name that an enum gives it. @throws CrimgError `bytes.enum` */
  name<Name extends string>(value: number, width: number, names: ReadonlyMap<number, Name>, field: string): Name {
    const name = names.get(value);
    if (name !== undefined) return name;
    const expected = `one of ${[...names.keys()].join(", ")}`;
    const message = `${field} must be ${expected}, found ${value}`;
    throw this.error("bytes.enum", message, this.pos - width, field, { expected, actual: String(value) });
  }

  /** A count of things of at least `least` bytes that follow; fails before anything is allocated. @throws CrimgError `bytes.count` */
  count(value: number | bigint, least: number, field: string): number {
    if (value < 0 || BigInt(value) * BigInt(least) > BigInt(this.remaining)) {
      const message = `${field} is ${value}, but only ${this.remaining} bytes follow`;
      throw this.error("bytes.count", message, this.pos, field, { actual: String(value) });
    }
    return Number(value);
  }

  /** Elements up to the end of the bytes. */
  all<Element>(read: () => Element): Element[] {
    const elements: Element[] = [];
    while (this.remaining > 0) elements.push(read());
    return elements;
  }

  /** Bytes that must be these. @throws CrimgError `bytes.contents` */
  contents(expected: readonly number[], field: string): void {
    const pos = this.pos;
    const found = this.bytes(expected.length);
    if (expected.every((byte, index) => found[index] === byte)) return;
    const [want, have] = [hexOf(expected), hexOf(found)];
    throw this.error("bytes.contents", `${field} must be ${want}, found ${have}`, pos, field, { expected: want, actual: have });
  }
}

function hexOf(bytes: Iterable<number>): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** A view of the bytes; bytes in shared memory are copied, since they could change between check and use. */
function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer) return new DataView(buffer, bytes.byteOffset, bytes.byteLength);
  const copy = new Uint8Array(bytes);
  return new DataView(copy.buffer);
}
