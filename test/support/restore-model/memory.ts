// SPDX-License-Identifier: Apache-2.0
/** The memory that a restore program itself uses, and the mappings of a process, as a model. */
import assert from "node:assert/strict";

/** Bytes at addresses from `base` on. */
export class Block {
  readonly view: DataView;

  constructor(
    readonly base: bigint,
    readonly bytes: Uint8Array,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  has(address: bigint, length: number): boolean {
    return address >= this.base && address + BigInt(length) <= this.base + BigInt(this.bytes.length);
  }

  at(address: bigint): number {
    return Number(address - this.base);
  }

  copy(): Block {
    return new Block(this.base, this.bytes.slice());
  }
}

export interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  readonly prot: number;
  readonly isShared: boolean;
  /** Path or kind of the file that is mapped; empty for none. */
  readonly file: string;
}

/** The mappings of a process: ascending, disjoint. */
export class Mappings {
  list: Mapping[] = [];

  copy(): Mappings {
    const other = new Mappings();
    other.list = [...this.list];
    return other;
  }

  overlaps(start: bigint, end: bigint): boolean {
    return this.list.some((one) => one.start < end && one.end > start);
  }

  /** Whether every byte is mapped, with all bits of `prot`. */
  covers(start: bigint, end: bigint, prot = 0): boolean {
    let at = start;
    for (const one of this.list) {
      if (one.end <= at) continue;
      if (one.start > at || (one.prot & prot) !== prot) return false;
      at = one.end;
      if (at >= end) return true;
    }
    return at >= end;
  }

  add(mapping: Mapping): void {
    assert.ok(mapping.start % 4096n === 0n && mapping.start < mapping.end, "a mapping is a run of pages");
    this.remove(mapping.start, mapping.end);
    this.list.push({ ...mapping, end: (mapping.end + 4095n) & ~4095n });
    this.list.sort((a, b) => (a.start < b.start ? -1 : 1));
  }

  remove(start: bigint, end: bigint): void {
    this.list = this.list.flatMap((one) => {
      if (one.end <= start || one.start >= end) return [one];
      const parts: Mapping[] = [];
      if (one.start < start) parts.push({ ...one, end: start });
      if (one.end > end) parts.push({ ...one, start: end });
      return parts;
    });
  }

  protect(start: bigint, end: bigint, prot: number): void {
    const inside = this.list.filter((one) => one.start < end && one.end > start);
    for (const one of inside) {
      const [from, to] = [one.start > start ? one.start : start, one.end < end ? one.end : end];
      this.add({ ...one, start: from, end: to, prot });
    }
  }

  at(address: bigint): Mapping | undefined {
    return this.list.find((one) => one.start <= address && address < one.end);
  }
}
