// SPDX-License-Identifier: Apache-2.0
/**
 * Mappings that lie side by side and differ in little but their protection, of which a program may have tens of thousands
 * (guard pages, arenas, heaps of collectors): one mmap makes them all, and what is protected otherwise is cut out of it. The
 * kernel would have made one mapping of them before they were protected anyway.
 */
import type { DataRef } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";
import { MAP } from "./constants.js";
import type { VmaPlan } from "./vma-plan.js";

/** Mappings that one mmap makes, ascending; a single one where it has no like beside it. */
export interface MappingRun {
  /** Its first mapping, by index in the address space, and how many there are. */
  readonly from: number;
  count: number;
  /** The plan of the first. */
  readonly first: VmaPlan;
  /** Where the last ends. */
  end: number;
  /** The protection of the last while pages are loaded. */
  lastProt: number;
  /**
   * The protection that it is made with. Writable memory is accounted from then on, whatever becomes of it: where some of it is
   * not, that which is becomes writable later.
   */
  birth: number;
}

export function canShareCall({ vma, source, mapFlags, isSeparate }: VmaPlan): boolean {
  return source === "mmap" && vma.kind === "anon_private" && vma.hugeShift === 0 && !isSeparate && (mapFlags & MAP.growsdown) === 0;
}

/** Whether mappings that touch differ in their protection only. */
export function isMadeAlike(a: VmaPlan, b: VmaPlan): boolean {
  if (a.mapFlags !== b.mapFlags || a.vma.name !== b.vma.name) return false;
  if (a.advice === b.advice) return true;
  return a.advice.length === b.advice.length && a.advice.every((advice, index) => advice === b.advice[index]);
}

/** Ranges that are to be protected, by protection; what touches is protected in one go. Addresses. */
export class RangesToProtect {
  readonly #byProt = new Map<number, number[]>();

  /** Starts and ends of those with a protection, one after the other: to be added to, ascending. */
  of(prot: number): number[] {
    let words = this.#byProt.get(prot);
    if (words === undefined) this.#byProt.set(prot, (words = []));
    return words;
  }

  /** Adds ranges that are not there, ascending, all of them behind most that are. */
  add(prot: number, added: readonly number[]): void {
    const words = this.of(prot);
    let behind = words.length;
    while (behind > 0 && (words[behind - 2] as number) > (added[0] as number)) behind -= 2;
    const rest = words.splice(behind);
    for (let one = 0, other = 0; one < rest.length || other < added.length; ) {
      const isNext = other >= added.length || (one < rest.length && (rest[one] as number) < (added[other] as number));
      if (isNext) addRange(words, rest[one++] as number, rest[one++] as number);
      else addRange(words, added[other++] as number, added[other++] as number);
    }
  }

  /** Ops that protect them, one for each protection, in the order in which these were met. */
  protect(b: ProgramBuilder): void {
    for (const [prot, words] of this.#byProt) {
      if (words.length > 0) protectRanges(b, words, prot);
    }
  }
}

/** The op that protects ranges, at least one. */
export function protectRanges(b: ProgramBuilder, words: readonly number[], prot: number): void {
  const count = words.length / 2;
  const where = `${(words[0] ?? 0).toString(16)}-${(words.at(-1) ?? 0).toString(16)}`;
  b.op("protect", [ranges(b, words), count, prot], {
    expect: 0,
    message: count === 1 ? `protect ${where}` : `protect ${count} parts of ${where}`,
    hint: "there is not enough memory, or a limit (vm.max_map_count) is lower than at the dump",
  });
}

/** Adds a range behind those that are there. */
export function addRange(words: number[], start: number, end: number): void {
  const last = words.length - 1;
  if (words[last] === start) words[last] = end;
  else words.push(start, end);
}

const twoTo32 = 2 ** 32;

/** Records `range`. */
function ranges(b: ProgramBuilder, words: readonly number[]): DataRef {
  const halves = new Uint32Array(words.length * 2);
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as number;
    halves[2 * index] = word;
    halves[2 * index + 1] = word / twoTo32;
  }
  return b.bytes(new Uint8Array(halves.buffer));
}
