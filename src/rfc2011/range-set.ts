// SPDX-License-Identifier: Apache-2.0
/** Ranges that were seen, to find what of a further one is new. */

export interface Range {
  readonly start: bigint;
  readonly length: bigint;
}

/** Disjoint, sorted, joined where they touch. */
export class RangeSet {
  #ranges: { start: bigint; end: bigint }[] = [];

  /** Adds [start, start + length). @returns the parts that were not there yet, ascending */
  add(start: bigint, length: bigint): Range[] {
    const end = start + length;
    let low = 0;
    for (let high = this.#ranges.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#ranges[middle]?.end ?? 0n) < start) low = middle + 1;
      else high = middle;
    }
    const gaps: Range[] = [];
    let joined = { start, end };
    let at = start;
    let index = low;
    for (; index < this.#ranges.length; index++) {
      const range = this.#ranges[index];
      if (!range || range.start > end) break;
      if (range.start > at) gaps.push({ start: at, length: range.start - at });
      if (range.end > at) at = range.end;
      joined = { start: range.start < joined.start ? range.start : joined.start, end: range.end > joined.end ? range.end : joined.end };
    }
    if (at < end) gaps.push({ start: at, length: end - at });
    this.#ranges.splice(low, index - low, joined);
    return gaps;
  }
}
