// SPDX-License-Identifier: Apache-2.0
/** Records of a table that whoever made its rows can give as bytes: of tens of thousands each field takes its time. */

export interface KnownRecords {
  /** Records of all rows, one behind the other. */
  readonly bytes: Uint8Array;
  /** Rows (ascending) whose records are still to be written. */
  readonly open: Int32Array;
}

const known = new WeakMap<readonly object[], { readonly count: number; readonly encode: () => KnownRecords }>();

/**
 * Says that the rows that a table has now can be had as records.
 * @param encode called for each writing, whose bytes it gives away
 */
export function noteRecords(rows: readonly object[], encode: () => KnownRecords): void {
  known.set(rows, { count: rows.length, encode });
}

/** The records of a table; undefined if nobody has any, or if there are other rows by now. */
export function knownRecords(rows: readonly object[]): KnownRecords | undefined {
  const noted = known.get(rows);
  return noted?.count === rows.length ? noted.encode() : undefined;
}
