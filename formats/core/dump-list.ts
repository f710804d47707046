// SPDX-License-Identifier: Apache-2.0
/**
 * minicoredumper keeps the segments of the kernel's core and writes few of their bytes; its list says which. A page of which
 * any byte was written counts as stored (the rest of it reads as zero: a loss), all others are absent.
 */
import type { DumpedRange } from "../../src/gen/core-notes.js";
import type { Missing } from "./absent.js";
import type { StoredRange } from "./mappings.js";

const reason = "minicoredumper left it out";
const pageMask = 4095n;

/**
 * @param promised what the segments say, ascending
 * @param dumped ascending
 * @param onMissing called for what is not there, ascending
 */
export function onlyDumped(
  promised: readonly StoredRange[],
  dumped: readonly DumpedRange[],
  onMissing: (range: Missing) => void,
): StoredRange[] {
  const kept: StoredRange[] = [];
  let next = 0;
  for (const { address, length, offset } of promised) {
    const end = address + length;
    let at = address;
    while (next < dumped.length && endOf(dumped[next]) <= address) next++;
    for (let index = next; index < dumped.length; index++) {
      const one = dumped[index] as DumpedRange;
      if (one.address >= end) break;
      const from = max(at, one.address & ~pageMask);
      const to = min(end, (endOf(one) + pageMask) & ~pageMask);
      if (to <= from) continue;
      if (from > at) onMissing({ start: at, end: from, reason });
      const last = kept.at(-1);
      if (last && last.address + last.length === from && from > address)
        kept[kept.length - 1] = { ...last, length: last.length + (to - from) };
      else kept.push({ address: from, length: to - from, offset: offset + (from - address) });
      at = to;
    }
    if (at < end) onMissing({ start: at, end, reason });
  }
  return kept;
}

function endOf(range: DumpedRange | undefined): bigint {
  return range ? range.address + range.length : 0n;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
