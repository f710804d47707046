// SPDX-License-Identifier: Apache-2.0
/** Ranges of addresses. */

export interface Span {
  readonly start: bigint;
  readonly end: bigint;
}

/** Ascending, disjoint, neighbours joined; empty and inverted ranges left out. */
export function normalised(spans: readonly Span[]): Span[] {
  const sorted = spans.filter(({ start, end }) => start < end).sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const result: Span[] = [];
  for (const { start, end } of sorted) {
    const last = result[result.length - 1];
    if (last === undefined || start > last.end) result.push({ start, end });
    else if (end > last.end) result[result.length - 1] = { start: last.start, end };
  }
  return result;
}

/** First part of `wanted` that `cover` does not have, or undefined. Both normalised. */
export function uncovered(wanted: readonly Span[], cover: readonly Span[]): Span | undefined {
  let place = 0;
  for (const { start, end } of wanted) {
    while ((cover[place]?.end ?? end) <= start) place += 1;
    const over = cover[place];
    if (over === undefined || over.start > start) return { start, end: over === undefined || over.start > end ? end : over.start };
    if (over.end < end) return { start: over.end, end };
  }
  return undefined;
}
