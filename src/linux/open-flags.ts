// SPDX-License-Identifier: Apache-2.0
/** Flags of open(2) as x86-64 has them (include/uapi/asm-generic/fcntl.h in the kernel), and where paths begin. */
export const openFlags = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  ACCMODE: 3,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  ASYNC: 0o20000,
  DIRECT: 0o40000,
  LARGEFILE: 0o100000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  NOATIME: 0o1000000,
  CLOEXEC: 0o2000000,
  /** __O_SYNC and O_DSYNC. */
  SYNC: 0o4010000,
  PATH: 0o10000000,
  /** __O_TMPFILE and O_DIRECTORY. */
  TMPFILE: 0o20200000,
} as const;

/** The current directory as the first argument of openat(2) and its kin. */
export const AT_FDCWD = -100;
