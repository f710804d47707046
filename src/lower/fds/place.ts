// SPDX-License-Identifier: Apache-2.0
/** A task's table of descriptors: which number gets which file, and what is closed around them. Pure. */

/** A number of the final table. */
export interface Placement {
  readonly fd: number;
  readonly file: number;
  readonly isCloexec: boolean;
}

/** An inclusive range of numbers to close. */
export interface CloseRange {
  readonly first: number;
  readonly last: number;
}

/**
 * The ranges below `limit` that hold no number of the final table. Sources of dup3 lie at or above `limit`, so that no
 * placement can clobber a source of another, whatever the order. (Numbers beyond the sources are nobody else's.)
 */
export function rangesToClose(numbers: readonly number[], limit: number): CloseRange[] {
  const ranges: CloseRange[] = [];
  const ascending = isAscending(numbers) ? numbers : [...numbers].sort((a, b) => a - b);
  let next = 0;
  for (let index = 0; index < ascending.length; index++) {
    const number = ascending[index] as number;
    if (number >= limit) break;
    if (number > next) ranges.push({ first: next, last: number - 1 });
    next = Math.max(next, number + 1);
  }
  if (next < limit) ranges.push({ first: next, last: limit - 1 });
  return ranges;
}

function isAscending(numbers: readonly number[]): boolean {
  for (let index = 1; index < numbers.length; index++) if ((numbers[index] as number) < (numbers[index - 1] as number)) return false;
  return true;
}
