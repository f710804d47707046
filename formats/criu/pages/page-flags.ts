// SPDX-License-Identifier: Apache-2.0
/** pagemap_entry.flags. */
export const pageFlag = {
  /** The pages are in the parent image. */
  parent: 1,
  /** A lazy restore may fetch them later. */
  lazy: 2,
  /** The pages are in this image. */
  present: 4,
  /** Their bytes begin at the next whole page of the pages file (2026). */
  aligned: 8,
} as const;

export const pageFlagsKnown = 15;

export const pageSize = 4096n;

/**
 * In which fields of a map's entries the number of pages stands. Versions before 4.2 know the narrow one only, 4.2
 * writes the wide one only and reads both; what came from elsewhere gets both, so that every version restores it.
 */
export const countForms = { both: 0, narrow: 1, wide: 2 } as const;
