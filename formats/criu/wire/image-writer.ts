// SPDX-License-Identifier: Apache-2.0
/** Writes one image file: magic numbers, then entries and raw bytes, through one buffer. */
import { writeSync } from "node:fs";
import { create, type DescMessage, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Output } from "../../../src/adapter/output.js";
import { commonMagic, inventoryName, magicOf } from "./image-types.js";

const bufferSize = 64 * 1024;

export class ImageWriter {
  readonly fd: number;
  #pieces: Uint8Array[] = [];
  #pending = 0;
  #at = 0;

  /** Creates `name` in the output; an image of a type begins with its magic numbers, raw files (null) do not. */
  constructor(output: Output, name: string, typeId: string | null) {
    this.fd = output.create(name).fd;
    if (typeId === null) return;
    if (name !== inventoryName) this.#u4(commonMagic);
    this.#u4(magicOf(typeId));
  }

  entry<Schema extends DescMessage>(schema: Schema, message: MessageShape<Schema>): void {
    const bytes = toBinary(schema, message);
    this.#u4(bytes.length);
    this.raw(bytes);
  }

  /** An entry from its fields. */
  add<Schema extends DescMessage>(schema: Schema, fields: MessageInitShape<Schema>): void {
    this.entry(schema, create(schema, fields));
  }

  raw(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
    this.#pending += bytes.length;
    if (this.#pending >= bufferSize) this.flush();
  }

  #u4(value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.raw(bytes);
  }

  /** Writes what is pending; returns the position after it. */
  flush(): number {
    const bytes = Buffer.concat(this.#pieces);
    let done = 0;
    while (done < bytes.length) done += writeSync(this.fd, bytes, done, bytes.length - done, this.#at + done);
    this.#at += bytes.length;
    this.#pieces = [];
    this.#pending = 0;
    return this.#at;
  }

  /** Bytes that others wrote at the end (copies made by the kernel). */
  advance(length: number): void {
    this.#at += length;
  }
}
