// SPDX-License-Identifier: Apache-2.0
/** Numbers of linux/io_uring.h, and the layout of a ring's memory (rings_size in io_uring/io_uring.c of the kernel). */

/** IORING_SETUP_*. */
export const setUp = {
  iopoll: 1 << 0,
  sqpoll: 1 << 1,
  cqsize: 1 << 3,
  disabled: 1 << 6,
  taskrunFlag: 1 << 9,
  sqe128: 1 << 10,
  cqe32: 1 << 11,
  singleIssuer: 1 << 12,
  deferTaskrun: 1 << 13,
  noSqArray: 1 << 16,
} as const;

/** IORING_REGISTER_*. */
export const register = { buffers: 0, eventfd: 4, probe: 8, enableRings: 12, napi: 27 } as const;

/** Where a mapping of a ring begins in its file. */
export const ringOffset = { rings: 0n, cqRing: 0x800_0000n, sqes: 0x1000_0000n } as const;

/** What io_uring memory is called in /proc/PID/maps, and the path of its object. */
export const ringName = "anon_inode:[io_uring]";

export interface RingSizes {
  readonly sqEntries: number;
  readonly cqEntries: number;
  readonly flags: number;
}

/** Bytes of both queues, without rounding, and where the array of the submission queue begins. */
export function ringLayout({ sqEntries, cqEntries, flags }: RingSizes): { readonly length: number; readonly array: number } {
  const cqe = (flags & setUp.cqe32) === 0 ? 16 : 32;
  const array = (64 + cqEntries * cqe + 63) & ~63;
  return { array, length: (flags & setUp.noSqArray) === 0 ? array + 4 * sqEntries : array };
}

/** Bytes of the requests. */
export const sqesLength = ({ sqEntries, flags }: RingSizes): number => sqEntries * ((flags & setUp.sqe128) === 0 ? 64 : 128);
