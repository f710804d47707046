// SPDX-License-Identifier: Apache-2.0
/** Which pages a process's files of 2011 hold, and in what order. */
import type { Checkpoint } from "../model/checkpoint.js";
import type { VmaRow } from "../gen/tables.js";
import { type ForeignIndex, type foreignKeys, decodeRanges } from "./foreign.js";
import { type StoredRun, countPages } from "./page-list.js";

const pageSize = 4096n;

/** Areas of a task, in order. */
export function areasOf(checkpoint: Checkpoint, task: number): { readonly index: number; readonly row: VmaRow }[] {
  const mm = checkpoint.tables.tasks[task]?.mm ?? null;
  return mm === null
    ? []
    : checkpoint.vmasOf(mm).flatMap((index) => {
        const row = checkpoint.tables.vmas[index];
        return row ? [{ index, row }] : [];
      });
}

/** Pages of private areas, ascending. */
export function privateRuns(checkpoint: Checkpoint, task: number): StoredRun[] {
  const mm = checkpoint.tables.tasks[task]?.mm ?? null;
  if (mm === null) return [];
  return checkpoint.extentsOf({ mm }).flatMap((extent) => {
    const source = checkpoint.sources[extent.source];
    return source ? [{ va: extent.address, length: extent.length, source, position: extent.fileOffset }] : [];
  });
}

/** Pages of shared anonymous memory as this task maps them, ascending. */
export function sharedRuns(checkpoint: Checkpoint, task: number): StoredRun[] {
  const runs: StoredRun[] = [];
  for (const { row } of areasOf(checkpoint, task)) {
    if (row.kind !== "anon_shared" || row.object === null) continue;
    const windowEnd = row.offset + (row.end - row.start);
    for (const extent of checkpoint.extentsOf({ object: row.object })) {
      const from = extent.address > row.offset ? extent.address : row.offset;
      const end = extent.address + extent.length;
      const to = end < windowEnd ? end : windowEnd;
      const source = checkpoint.sources[extent.source];
      if (from >= to || !source) continue;
      runs.push({ va: row.start + (from - row.offset), length: to - from, source, position: extent.fileOffset + (from - extent.address) });
    }
  }
  return runs;
}

/** Two ascending lists as one. */
export function mergeRuns(a: readonly StoredRun[], b: readonly StoredRun[]): StoredRun[] {
  return [...a, ...b].sort((x, y) => (x.va < y.va ? -1 : x.va > y.va ? 1 : 0));
}

/** Address ranges of runs, those joined that touch: two lists say the same if these are the same. */
export function rangesOf(runs: Iterable<{ readonly va: bigint; readonly length: bigint }>): { va: bigint; length: bigint }[] {
  const ranges: { va: bigint; length: bigint }[] = [];
  for (const run of runs) {
    const last = ranges[ranges.length - 1];
    if (last && last.va + last.length === run.va) last.length += run.length;
    else ranges.push({ va: run.va, length: run.length });
  }
  return ranges;
}

/** Whether two lists hold the same pages in the same order. */
export function sameRanges(
  a: Iterable<{ readonly va: bigint; readonly length: bigint }>,
  b: Iterable<{ readonly va: bigint; readonly length: bigint }>,
): boolean {
  const [x, y] = [rangesOf(a), rangesOf(b)];
  return x.length === y.length && x.every((range, index) => range.va === y[index]?.va && range.length === y[index]?.length);
}

/** The pages of `available` (ascending) that `ranges` names, in that order; undefined if one is not there. */
export function selectRuns(
  available: readonly StoredRun[],
  ranges: readonly { readonly va: bigint; readonly length: bigint }[],
): StoredRun[] | undefined {
  const selected: StoredRun[] = [];
  for (const range of ranges) {
    if (range.length <= 0n || range.length % pageSize !== 0n) return undefined;
    const end = range.va + range.length;
    for (let at = range.va; at < end; ) {
      const run = available[lastStartingAt(available, at)];
      if (!run || run.va > at || run.va + run.length <= at) return undefined;
      const to = run.va + run.length < end ? run.va + run.length : end;
      selected.push({ va: at, length: to - at, source: run.source, position: run.position + (at - run.va) });
      at = to;
    }
  }
  return selected;
}

/** Index of the last run that starts at or below an address; -1 for none. */
function lastStartingAt(runs: readonly StoredRun[], address: bigint): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((runs[middle]?.va ?? 0n) <= address) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The order that the image had, where it was not the usual one and the pages are still those; else `usual`. */
export function inKeptOrder(
  foreign: ForeignIndex,
  task: number,
  key: (typeof foreignKeys)["corePages" | "shmemPages" | "workingPages"],
  usual: readonly StoredRun[],
  available: readonly StoredRun[],
): readonly StoredRun[] {
  const kept = foreign.get("tasks", task, key);
  return (kept && selectRuns(available, decodeRanges(kept))) ?? usual;
}

/** Page bytes of runs. */
export function bytesOf(runs: readonly StoredRun[]): bigint {
  return BigInt(countPages(runs)) * pageSize;
}
