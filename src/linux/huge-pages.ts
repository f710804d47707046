// SPDX-License-Identifier: Apache-2.0
/** Flags of hugetlb memory (asm-generic/hugetlb_encode.h): mmap, memfd_create and shmget have the size in the same place. */

export const MFD_HUGETLB = 4;
/** Logarithm of the page size, from this bit on. */
export const MFD_HUGE_SHIFT = 26;

/** Logarithm of the page size that flags of memfd_create ask for; 0 for ordinary memory. The default size is 2 MiB. */
export function hugeShiftIn(memfdFlags: number): number {
  return (memfdFlags & MFD_HUGETLB) === 0 ? 0 : memfdFlags >>> MFD_HUGE_SHIFT || 21;
}
