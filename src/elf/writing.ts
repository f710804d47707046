// SPDX-License-Identifier: Apache-2.0
/** Helpers to write an ELF file: the header with its constants filled in, and a string table. */
import { ByteWriter } from "../bytes/byte-writer.js";
import { encodeText } from "../bytes/text.js";
import { type ElfHeader, emX8664, elfHeader, elfHeaderSize, programHeaderSize, sectionHeaderSize } from "../gen/elf64.js";

/** An ELF header for x86-64; program headers follow it directly if there are any. */
export function imageHeader(fields: Partial<ElfHeader>): ElfHeader {
  const hasSegments = (fields.ePhnum ?? 0) > 0;
  const hasSections = (fields.eShoff ?? 0n) !== 0n;
  return elfHeader({
    eMachine: emX8664,
    eVersion: 1,
    ePhoff: hasSegments ? BigInt(elfHeaderSize) : 0n,
    eEhsize: elfHeaderSize,
    ePhentsize: hasSegments ? programHeaderSize : 0,
    eShentsize: hasSections ? sectionHeaderSize : 0,
    ...fields,
  });
}

/** A string table (SHT_STRTAB) under construction: each string once, offset 0 is "". */
export class StringTableWriter {
  readonly #writer = new ByteWriter();
  readonly #offsets = new Map<string, number>([["", 0]]);

  constructor() {
    this.#writer.u1(0);
  }

  /** Offset of a string, which is added if it is new. */
  add(text: string): number {
    const known = this.#offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.#writer.length;
    this.#writer.bytes(encodeText(text));
    this.#writer.u1(0);
    this.#offsets.set(text, offset);
    return offset;
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}
