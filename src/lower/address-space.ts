// SPDX-License-Identifier: Apache-2.0
/** Finding room: the hole for the interpreter and the staging area for shared memory, where no task maps anything. */
import { CrimgError } from "../errors/crimg-error.js";
import type { VmaRow } from "../gen/tables.js";
import { pageSize, taskSize } from "./constants.js";

export interface AddressRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** vm.mmap_min_addr is at most this in practice; execve refuses segments below it. */
const lowestAddress = 0x10000n;

/** The union of the mappings of all address spaces, ascending, disjoint, user space only. */
export function usedRanges(vmas: readonly Pick<VmaRow, "start" | "end">[]): readonly AddressRange[] {
  const sorted = vmas.filter((vma) => vma.start < taskSize);
  // Those of one address space ascend.
  const ascend = sorted.every((vma, index) => index === 0 || (sorted[index - 1]?.start ?? 0n) <= vma.start);
  if (!ascend) sorted.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const ranges: { start: bigint; end: bigint }[] = [];
  for (const { start, end } of sorted) {
    const last = ranges.at(-1);
    if (last !== undefined && start <= last.end) {
      if (end > last.end) last.end = end;
    } else {
      ranges.push({ start, end });
    }
  }
  return ranges;
}

/**
 * The lowest free range of `size` bytes, a page away from every mapping (so that nothing merges or grows into it).
 * @throws CrimgError `lower.no-room`
 */
export function findRoom(used: readonly AddressRange[], size: bigint, from: bigint = lowestAddress): bigint {
  let start = from;
  for (const range of used) {
    if (range.end + pageSize <= start) continue;
    if (start + size + pageSize <= range.start) return start;
    start = range.end + pageSize;
  }
  if (start + size <= taskSize) return start;
  throw new CrimgError("lower.no-room", `no address range of ${size} bytes is free in all tasks of the tree`, {
    hint: "dump the processes separately",
  });
}
