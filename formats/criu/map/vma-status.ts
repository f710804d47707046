// SPDX-License-Identifier: Apache-2.0
/**
 * The bits of a VMA entry: its status, its MAP_* flags and its madvise bits, and what they are in the model.
 */
import { vmaVmFlagsBits } from "../../../src/gen/tables.js";

/** vma_entry.status. */
export const areaStatus = {
  regular: 1 << 0,
  stack: 1 << 1,
  vsyscall: 1 << 2,
  vdso: 1 << 3,
  heap: 1 << 5,
  filePrivate: 1 << 6,
  fileShared: 1 << 7,
  anonShared: 1 << 8,
  anonPrivate: 1 << 9,
  sysvIpc: 1 << 10,
  socket: 1 << 11,
  vvar: 1 << 12,
  aioRing: 1 << 13,
  memfd: 1 << 14,
  shadowStack: 1 << 15,
  /** Not an area: a range of guard pages within areas, at the end of the list. */
  guard: 1 << 16,
  uprobes: 1 << 17,
} as const;

/** MAP_* of mmap(2). */
export const mapFlag = {
  shared: 1,
  private: 2,
  droppable: 8,
  anonymous: 0x20,
  growsDown: 0x100,
  locked: 0x2000,
  noReserve: 0x4000,
  hugeTlb: 0x40000,
} as const;

type VmFlag = keyof typeof vmaVmFlagsBits;

const mapFlags: readonly (readonly [VmFlag, number])[] = [
  ["gd", mapFlag.growsDown],
  ["lo", mapFlag.locked],
  ["nr", mapFlag.noReserve],
  ["ht", mapFlag.hugeTlb],
  ["dp", mapFlag.droppable],
];

/** VmFlags and the MADV_* numbers that set them. */
const advice: readonly (readonly [VmFlag, bigint])[] = [
  ["rr", 1n],
  ["sr", 2n],
  ["dc", 10n],
  ["mg", 12n],
  ["hg", 14n],
  ["nh", 15n],
  ["dd", 16n],
  ["wf", 18n],
];

/** VmFlags that an entry tells of. `mayWrite`: the mapped file was open for writing, or there is none. */
export function vmFlagsFromWire(prot: number, flags: number, madv: bigint, mayWrite: boolean): bigint {
  const bits = vmaVmFlagsBits;
  let result = bits.mr | bits.me;
  if (mayWrite) result |= bits.mw;
  if ((prot & 1) !== 0) result |= bits.rd;
  if ((prot & 2) !== 0) result |= bits.wr;
  if ((prot & 4) !== 0) result |= bits.ex;
  if ((flags & mapFlag.shared) !== 0) result |= bits.sh | bits.ms;
  for (const [name, bit] of mapFlags) if ((flags & bit) !== 0) result |= bits[name];
  for (const [name, number] of advice) if (((madv >> number) & 1n) !== 0n) result |= bits[name];
  return result;
}

/** MAP_* bits beyond shared, private and anonymous. */
export function mapFlagsToWire(vmFlags: bigint): number {
  let flags = 0;
  for (const [name, bit] of mapFlags) if ((vmFlags & vmaVmFlagsBits[name]) !== 0n) flags |= bit;
  return flags;
}

/** One bit for each MADV_* number. */
export function madviceToWire(vmFlags: bigint): bigint {
  let madv = 0n;
  for (const [name, number] of advice) if ((vmFlags & vmaVmFlagsBits[name]) !== 0n) madv |= 1n << number;
  return madv;
}
