/** pagemap_entry.flags. */
export const pageFlag = {
  /** The pages are in the parent image. */
  parent: 1,
  /** A lazy restore may fetch them later. */
  lazy: 2,
  /** The pages are in this image. */
  present: 4,
} as const;

export const pageSize = 4096n;
