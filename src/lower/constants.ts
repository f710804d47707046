// SPDX-License-Identifier: Apache-2.0
/** Kernel constants that restore programs use (include/uapi of Linux, x86-64). */
import { AT_FDCWD, openFlags } from "../linux/open-flags.js";

export const PROT = { read: 1, write: 2, exec: 4 } as const;
export const MAP = {
  shared: 0x01,
  private: 0x02,
  droppable: 0x08,
  fixed: 0x10,
  anonymous: 0x20,
  growsdown: 0x100,
  locked: 0x2000,
  noreserve: 0x4000,
  populate: 0x8000,
  stack: 0x20000,
  hugetlb: 0x40000,
  fixedNoreplace: 0x100000,
} as const;
export const MREMAP = { maymove: 1, fixed: 2 } as const;
export const MADV = {
  normal: 0,
  random: 1,
  sequential: 2,
  dontneed: 4,
  remove: 9,
  dontfork: 10,
  mergeable: 12,
  unmergeable: 13,
  hugepage: 14,
  nohugepage: 15,
  dontdump: 16,
  wipeonfork: 18,
  populateWrite: 23,
  guardInstall: 102,
} as const;
export const MLOCK_ONFAULT = 1;
/** userfaultfd(2) and its ioctls (linux/userfaultfd.h). */
export const UFFD_USER_MODE_ONLY = 1;
export const UFFD_API = 0xaan;
export const UFFDIO_API = 0xc018aa3f;
export const UFFDIO_REGISTER = 0xc020aa00;
export const UFFDIO_REGISTER_MODE_MISSING = 1n;
export const O = {
  rdonly: openFlags.RDONLY,
  wronly: openFlags.WRONLY,
  rdwr: openFlags.RDWR,
  accmode: openFlags.ACCMODE,
  creat: openFlags.CREAT,
  excl: openFlags.EXCL,
  nofollow: openFlags.NOFOLLOW,
  directory: openFlags.DIRECTORY,
  path: openFlags.PATH,
  noctty: openFlags.NOCTTY,
  nonblock: openFlags.NONBLOCK,
  cloexec: openFlags.CLOEXEC,
  tmpfile: openFlags.TMPFILE,
} as const;
/** _IOR('f', 1, long) and _IOW('f', 2, long); they take an int. */
export const FS_IOC = { getFlags: 0x80086601, setFlags: 0x40086602 } as const;
export const AT = { fdcwd: AT_FDCWD, emptyPath: 0x1000 } as const;
export const F = { setfl: 4, dupfdCloexec: 1030, addSeals: 1033 } as const;
export const F_SEAL_FUTURE_WRITE = 0x10;
export const MFD = { allowSealing: 2, exec: 0x10 } as const;
export { CLONE } from "../linux/clone-flags.js";
export const SIG = {
  hup: 1,
  io: 29,
  int: 2,
  quit: 3,
  kill: 9,
  term: 15,
  chld: 17,
  cont: 18,
  stop: 19,
  tstp: 20,
  ttin: 21,
  ttou: 22,
} as const;
export const SIG_SETMASK = 2;
/** Size of the kernel's sigset_t. */
export const sigsetSize = 8;
export const PTRACE = {
  cont: 7,
  detach: 17,
  syscall: 24,
  setregs: 13,
  setregset: 0x4205,
  seize: 0x4206,
  interrupt: 0x4207,
  setsigmask: 0x420b,
} as const;
export const NT_X86_XSTATE = 0x202;
export const WAIT = { nohang: 1, untraced: 2, exited: 4, continued: 8, nowait: 0x1000000, wall: 0x40000000 } as const;
export const P_PID = 1;
export { ARCH, PR } from "../linux/prctl.js";
export const PR_SET_MM_MAP = 14;
export const PR_SET_VMA_ANON_NAME = 0;
export const PR_CAP_AMBIENT = { raise: 2, clearAll: 4 } as const;
export const AUXV = { sysinfoEhdr: 33 } as const;
export const RLIMIT_NOFILE = 7;
export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;
export const TIMER_ABSTIME = 1;
export const ERRNO = {
  perm: 1,
  noent: 2,
  srch: 3,
  intr: 4,
  nxio: 6,
  child: 10,
  again: 11,
  acces: 13,
  busy: 16,
  exist: 17,
  inval: 22,
  range: 34,
  nosys: 38,
} as const;
/** First address above user space with four-level page tables. */
export const taskSize = 0x7fff_ffff_f000n;
export const pageSize = 4096n;
export const hugePageSize = 2n << 20n;
