// SPDX-License-Identifier: Apache-2.0
/**
 * Pages that a process still shares with its parent by copy-on-write: extents of both name the same bytes of the same
 * source at the same address. They are stored once, and shared again after a resume (lower/inheritance.ts).
 */
import type { ExtentRow, Tables } from "../gen/tables.js";
import { firstEndingAfter } from "./ascending.js";
import { ByteHolders } from "./byte-holders.js";

/** A range of addresses. */
export interface SharedRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** Where two lists of extents (ascending, disjoint) overlap, piece by piece. */
export function* overlapsOf(
  left: readonly ExtentRow[],
  right: readonly ExtentRow[],
): Generator<{ readonly start: bigint; readonly end: bigint; readonly left: ExtentRow; readonly right: ExtentRow }> {
  for (let [a, b] = [0, 0]; a < left.length && b < right.length; ) {
    const [l, r] = [left[a] as ExtentRow, right[b] as ExtentRow];
    const [leftEnd, rightEnd] = [l.address + l.length, r.address + r.length];
    const start = l.address > r.address ? l.address : r.address;
    const end = leftEnd < rightEnd ? leftEnd : rightEnd;
    if (start < end) yield { start, end, left: l, right: r };
    if (leftEnd <= rightEnd) a++;
    if (rightEnd <= leftEnd) b++;
  }
}

/** The ranges whose bytes are the same ones, ascending; neighbours are joined. */
export function sharedRanges(child: readonly ExtentRow[], parent: readonly ExtentRow[]): readonly SharedRange[] {
  const ranges: { start: bigint; end: bigint }[] = [];
  for (const { start, end, left, right } of overlapsOf(child, parent)) {
    if (left.source !== right.source || left.fileOffset - left.address !== right.fileOffset - right.address) continue;
    const last = ranges.at(-1);
    if (last !== undefined && last.end === start) last.end = end;
    else ranges.push({ start, end });
  }
  return ranges;
}

/** What of the extents lies outside the ranges. */
export function withoutRanges(extents: readonly ExtentRow[], ranges: readonly SharedRange[]): ExtentRow[] {
  if (ranges.length === 0) return extents.filter(({ length }) => length > 0n);
  const rest: ExtentRow[] = [];
  let index = 0;
  for (const extent of extents) {
    const extentEnd = extent.address + extent.length;
    let at = extent.address;
    while (index < ranges.length && (ranges[index] as SharedRange).end <= at) index++;
    for (let next = index; at < extentEnd; next++) {
      const range = ranges[next];
      const end = range === undefined || range.start > extentEnd ? extentEnd : range.start;
      if (end > at) rest.push({ ...extent, address: at, length: end - at, fileOffset: extent.fileOffset + (at - extent.address) });
      if (range === undefined) break;
      at = range.end > at ? range.end : at;
    }
  }
  return rest;
}

/**
 * Bytes of one extent that names what an earlier one has, at most (--dedup). So that an image does not describe more than some
 * thousand times its own size, as with the usual methods of compression.
 */
export const mostEqual = 1n << 16n;

/**
 * Rows of the extents that have bytes of their own: all but those whose bytes are, at the same addresses, extents of the
 * parent's address space too, and those that name a part of an earlier one's. No byte of an image belongs to two of them (SPEC 7).
 */
export function rowsWithOwnBytes(tables: Pick<Tables, "tasks" | "extents">): readonly number[] {
  return withoutEqual(tables, rowsWithoutParents(tables));
}

/** Rows, but for those of address spaces that lie within an earlier one. */
function withoutEqual({ extents }: Pick<Tables, "extents">, rows: readonly number[]): number[] {
  const holders = new ByteHolders(extents);
  return rows.filter((row) => {
    if (holders.note(row)) return true;
    const extent = extents[row] as ExtentRow;
    return extent.ownerKind !== "mm" || extent.length > mostEqual || holders.find(extent) === undefined;
  });
}

/** Rows, but for those whose bytes are, at the same addresses, the parent's. */
function rowsWithoutParents({ tasks, extents }: Pick<Tables, "tasks" | "extents">): readonly number[] {
  const byMm = new Map<number, ExtentRow[]>();
  for (const row of extents) {
    if (row.ownerKind !== "mm") continue;
    const known = byMm.get(row.owner);
    if (known) known.push(row);
    else byMm.set(row.owner, [row]);
  }
  const shared = new Map<number, readonly SharedRange[]>();
  for (const [task, { mm, parent }] of tasks.entries()) {
    // Parents come first; in a circle nobody would have bytes of its own.
    const above = parent === null || parent >= task ? undefined : tasks[parent]?.mm;
    if (mm === null || above === null || above === undefined || above === mm) continue;
    shared.set(mm, sharedRanges(byMm.get(mm) ?? [], byMm.get(above) ?? []));
  }
  return [...extents.keys()].filter((index) => {
    const row = extents[index] as ExtentRow;
    const ranges = row.ownerKind === "mm" ? shared.get(row.owner) : undefined;
    return ranges === undefined || !isWithin(ranges, row.address, row.address + row.length);
  });
}

function isWithin(ranges: readonly SharedRange[], start: bigint, end: bigint): boolean {
  const range = ranges[firstEndingAfter(ranges, start)];
  return range !== undefined && range.start <= start && end <= range.end;
}
