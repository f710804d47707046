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

  /** The row of the first mapping that ends behind an address: programs have tens of thousands. */
  #firstBehind(address: bigint): number {
    let [low, high] = [0, this.list.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.list[middle] as Mapping).end > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** The mappings that have a byte between two addresses, and the row of the first of them. */
  #within(start: bigint, end: bigint): { readonly from: number; readonly found: readonly Mapping[] } {
    const from = this.#firstBehind(start);
    let to = from;
    while (to < this.list.length && (this.list[to] as Mapping).start < end) to++;
    return { from, found: this.list.slice(from, to) };
  }

  overlaps(start: bigint, end: bigint): boolean {
    return this.#within(start, end).found.length > 0;
  }

  /** Whether every byte is mapped, with all bits of `prot`. */
  covers(start: bigint, end: bigint, prot = 0): boolean {
    let at = start;
    for (const one of this.#within(start, end).found) {
      if (one.start > at || (one.prot & prot) !== prot) return false;
      at = one.end;
    }
    return at >= end;
  }

  add(mapping: Mapping): void {
    assert.ok(mapping.start % 4096n === 0n && mapping.start < mapping.end, "a mapping is a run of pages");
    this.remove(mapping.start, mapping.end);
    this.list.splice(this.#firstBehind(mapping.start), 0, { ...mapping, end: (mapping.end + 4095n) & ~4095n });
  }

  remove(start: bigint, end: bigint): void {
    const { from, found } = this.#within(start, end);
    const parts = found.flatMap((one) => [
      ...(one.start < start ? [{ ...one, end: start }] : []),
      ...(one.end > end ? [{ ...one, start: end }] : []),
    ]);
    this.list.splice(from, found.length, ...parts);
  }

  protect(start: bigint, end: bigint, prot: number): void {
    for (const one of this.#within(start, end).found) {
      const [from, to] = [one.start > start ? one.start : start, one.end < end ? one.end : end];
      this.add({ ...one, start: from, end: to, prot });
    }
  }

  at(address: bigint): Mapping | undefined {
    return this.#within(address, address + 1n).found[0];
  }
}
