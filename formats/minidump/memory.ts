// SPDX-License-Identifier: Apache-2.0
/**
 * Memory of a minidump. Its ranges need not begin or end at pages (stacks begin at the stack pointer); the model knows whole
 * pages, so what is missing of a page reads as zero. Positions of this source are addresses.
 */
import { copyByReading } from "../../src/pages/copy-by-reading.js";
import { assertRange, type RandomBytes } from "../../src/bytes/random-bytes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  memory64DescriptorSize,
  memoryDescriptorSize,
  readMemory64Descriptor,
  readMemory64ListHeader,
  readMemoryDescriptor,
  streamMemory64List,
  streamMemoryList,
} from "../../src/gen/minidump.js";
import type { ByteRange, PageSource } from "../../src/model/page-source.js";
import type { Streams } from "./streams.js";

const pageMask = 4095n;

/** Bytes in the file. */
export interface MemoryRange {
  readonly start: bigint;
  readonly length: bigint;
  readonly offset: bigint;
}

/** All ranges that the file holds, ascending and disjoint: of what stands twice the first counts. */
export function memoryRanges(streams: Streams, file: RandomBytes): MemoryRange[] {
  const found: MemoryRange[] = [];
  for (const reader of streams.all(streamMemoryList, "memory_list")) {
    const count = reader.count(reader.u4(), memoryDescriptorSize, "num_ranges");
    for (let index = 0; index < count; index++) {
      reader.enter("memory_list", index);
      const { start, lenData, ofsData } = readMemoryDescriptor(reader);
      found.push({ start, length: BigInt(lenData), offset: BigInt(ofsData) });
    }
  }
  for (const reader of streams.all(streamMemory64List, "memory64_list")) {
    const { numRanges, ofsData } = readMemory64ListHeader(reader);
    const count = reader.count(numRanges, memory64DescriptorSize, "num_ranges");
    let offset = ofsData;
    for (let index = 0; index < count; index++) {
      reader.enter("memory64_list", index);
      const { start, lenData } = readMemory64Descriptor(reader);
      found.push({ start, length: lenData, offset });
      offset += lenData;
    }
  }
  for (const [index, { start, length, offset }] of found.entries()) {
    assertRange(file.name, file.size, offset, length, `memory[${index}]`);
    if (start + length > 1n << 64n) {
      throw new CrimgError("minidump.memory", `memory[${index}] ends above 2^64`, { source: file.name, format: "minidump" });
    }
  }
  return disjoint(found.filter(({ length }) => length > 0n));
}

function disjoint(ranges: readonly MemoryRange[]): MemoryRange[] {
  const sorted = [...ranges].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const kept: MemoryRange[] = [];
  for (const range of sorted) {
    const last = kept.at(-1);
    const end = last ? last.start + last.length : 0n;
    const skip = range.start < end ? end - range.start : 0n;
    if (skip < range.length) kept.push({ start: range.start + skip, length: range.length - skip, offset: range.offset + skip });
  }
  return kept;
}

/** Pages of which any byte is there, as ranges that ascend. */
export function wholePages(
  ranges: readonly MemoryRange[],
): { readonly address: bigint; readonly length: bigint; readonly offset: bigint }[] {
  const pages: { address: bigint; length: bigint; offset: bigint }[] = [];
  for (const { start, length } of ranges) {
    const from = start & ~pageMask;
    const to = (start + length + pageMask) & ~pageMask;
    const last = pages.at(-1);
    if (last && from <= last.address + last.length) last.length = to - last.address > last.length ? to - last.address : last.length;
    else pages.push({ address: from, length: to - from, offset: from });
  }
  return pages;
}

export class MinidumpPages implements PageSource {
  constructor(
    private readonly file: RandomBytes & { close(): void },
    private readonly ranges: readonly MemoryRange[],
  ) {}

  get name(): string {
    return this.file.name;
  }

  read(position: bigint, into: Uint8Array): void {
    into.fill(0);
    const end = position + BigInt(into.length);
    for (let index = this.#firstAfter(position); index < this.ranges.length; index++) {
      const range = this.ranges[index] as MemoryRange;
      if (range.start >= end) return;
      const from = range.start > position ? range.start : position;
      const to = range.start + range.length < end ? range.start + range.length : end;
      into.set(this.file.read(range.offset + (from - range.start), Number(to - from)), Number(from - position));
    }
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    copyByReading(this, fd, fileOffset, ranges);
  }

  close(): void {
    this.file.close();
  }

  #firstAfter(position: bigint): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const range = this.ranges[middle] as MemoryRange;
      if (range.start + range.length > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
