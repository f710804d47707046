// SPDX-License-Identifier: Apache-2.0
/** Finding room: the hole for the interpreter and the staging area for shared memory, where no task maps anything. */
import { CrimgError } from "../errors/crimg-error.js";
import type { VmaRow } from "../gen/tables.js";
import { columnsOfAll } from "../model/space-columns.js";
import { pageSize, taskSize } from "./constants.js";

export interface AddressRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** vm.mmap_min_addr is at most this in practice; execve refuses segments below it. */
const lowestAddress = 0x10000n;

/** The union of the mappings of all address spaces, ascending, disjoint, user space only. */
export function usedRanges(vmas: readonly Pick<VmaRow, "start" | "end">[]): readonly AddressRange[] {
  // What touches is joined first: then tens of thousands are few.
  const joined = joinAscending(vmas);
  // Those of one address space ascend.
  const ascend = joined.every((range, index) => index === 0 || (joined[index - 1]?.start ?? 0n) <= range.start);
  if (ascend) return joined;
  return joinAscending(joined.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0)));
}

/** The same of a whole table. */
export function usedByAll(vmas: readonly VmaRow[]): readonly AddressRange[] {
  const columns = columnsOfAll(vmas);
  if (columns === undefined) return usedRanges(vmas);
  const { starts, ends, count } = columns;
  const joined: AddressRange[] = [];
  const limit = Number(taskSize);
  let [from, to] = [-1, -1];
  const flush = (): void => {
    if (to > from) joined.push({ start: BigInt(from), end: BigInt(to) });
  };
  for (let index = 0; index < count; index++) {
    const start = starts[index] as number;
    if (start >= limit) continue;
    if (start < from) return usedRanges(vmas);
    const end = ends[index] as number;
    if (start > to) {
      flush();
      from = start;
      to = end;
    } else if (end > to) to = end;
  }
  flush();
  return joined;
}

/** Joins each range of user space with the one before where they touch, or overlap and ascend. */
function joinAscending(ranges: readonly AddressRange[]): AddressRange[] {
  const joined: { start: bigint; end: bigint }[] = [];
  let last: { start: bigint; end: bigint } | undefined;
  for (const { start, end } of ranges) {
    if (start >= taskSize) continue;
    if (last !== undefined && (start === last.end || (start >= last.start && start < last.end))) {
      if (end > last.end) last.end = end;
    } else {
      last = { start, end };
      joined.push(last);
    }
  }
  return joined;
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
