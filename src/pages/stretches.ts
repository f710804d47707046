// SPDX-License-Identifier: Apache-2.0
/** Lists of runs of pages, ascending and disjoint, in page numbers. */

export interface Run {
  readonly start: number;
  /** Behind the last. */
  readonly end: number;
}

/** Pages that are in a file. */
export interface Stretch extends Run {
  /** Where the first of them is, in pages. */
  readonly offset: number;
}

/** Index of the first run that ends behind a page. */
function firstBehind(runs: readonly Run[], page: number): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((runs[middle] as Run).end > page) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What of [start, end) is in runs, and what is not, in order. */
export function divide<Kind extends Run>(
  runs: readonly Kind[],
  start: number,
  end: number,
  take: { in?(from: number, to: number, run: Kind): void; out?(from: number, to: number): void },
): void {
  let at = start;
  for (let index = firstBehind(runs, start); at < end; index++) {
    const run = runs[index];
    const from = run === undefined ? end : Math.min(Math.max(run.start, at), end);
    if (from > at) take.out?.(at, from);
    if (run === undefined || from === end) return;
    const to = Math.min(run.end, end);
    take.in?.(from, to, run);
    at = to;
  }
}

/** Pages that are in both. */
export function inBoth(some: readonly Run[], others: readonly Run[]): Run[] {
  const both: Run[] = [];
  for (const { start, end } of some) divide(others, start, end, { in: (from, to) => both.push({ start: from, end: to }) });
  return both;
}

/** Runs without the pages of others. `part`: a part of a run. */
export function without<Kind extends Run>(
  runs: readonly Kind[],
  others: readonly Run[],
  part: (run: Kind, from: number, to: number) => Kind,
): Kind[] {
  const left: Kind[] = [];
  for (const run of runs) divide(others, run.start, run.end, { out: (from, to) => left.push(part(run, from, to)) });
  return left;
}

export const partOfRun = (_: Run, start: number, end: number): Run => ({ start, end });
export const partOfStretch = (run: Stretch, start: number, end: number): Stretch => ({
  start,
  end,
  offset: run.offset + start - run.start,
});

export const byStart = (a: Run, b: Run): number => a.start - b.start;
