// SPDX-License-Identifier: Apache-2.0
/** Which descriptors are one open file description. */

/** kcmp(KCMP_FILE)'s answer: 0 the same, 1 the first is less, 2 it is greater; anything else: cannot tell. */
export type Compare<Member> = (left: Member, right: Member) => number;

/**
 * Finds equals by an order that only a comparison gives, among members that share a key. The key keeps the number of
 * comparisons (system calls) low: descriptions with different inodes, positions or flags cannot be the same.
 */
export class DescriptionIndex<Member> {
  readonly #buckets = new Map<string, Member[]>();

  constructor(private readonly compare: Compare<Member>) {}

  /** The member that is the same as `candidate`; else remembers the candidate and returns undefined. */
  findOrAdd(key: string, candidate: Member): Member | undefined {
    const bucket = this.#buckets.get(key);
    if (!bucket) {
      this.#buckets.set(key, [candidate]);
      return undefined;
    }
    let low = 0;
    let high = bucket.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const member = bucket[middle] as Member;
      const order = this.compare(candidate, member);
      if (order === 0) return member;
      if (order === 1) high = middle;
      else if (order === 2) low = middle + 1;
      else throw new RangeError(`descriptors cannot be compared: ${order}`);
    }
    bucket.splice(low, 0, candidate);
    return undefined;
  }
}
