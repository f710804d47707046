// SPDX-License-Identifier: Apache-2.0
/** How arguments of system calls are shown, as strace does: names of flags, numbers, addresses. */

import { AT_FDCWD, openFlags } from "../../linux/open-flags.js";

/** What an argument is. */
export type ArgKind = "dec" | "hex" | "oct" | "fd" | "path" | "text" | "signal" | "size" | FlagKind;
export type FlagKind = keyof typeof flagSets;

/** Flags of open(2), one bit each. */
function namedOpenFlags(): Record<string, number> {
  const { RDONLY: _r, ACCMODE: _a, SYNC: _s, TMPFILE: _t, ...bits } = openFlags;
  return Object.fromEntries(Object.entries(bits).map(([name, bit]) => [`O_${name}`, bit]));
}

const flagSets = {
  prot: { PROT_READ: 1, PROT_WRITE: 2, PROT_EXEC: 4 },
  mmap: {
    MAP_SHARED: 1,
    MAP_PRIVATE: 2,
    MAP_DROPPABLE: 8,
    MAP_FIXED: 0x10,
    MAP_ANONYMOUS: 0x20,
    MAP_GROWSDOWN: 0x100,
    MAP_LOCKED: 0x2000,
    MAP_NORESERVE: 0x4000,
    MAP_STACK: 0x20000,
    MAP_HUGETLB: 0x40000,
    MAP_FIXED_NOREPLACE: 0x100000,
  },
  open: namedOpenFlags(),
  mremap: { MREMAP_MAYMOVE: 1, MREMAP_FIXED: 2 },
  wait: { WNOHANG: 1, WUNTRACED: 2, WEXITED: 4, WCONTINUED: 8, WNOWAIT: 0x1000000, __WALL: 0x40000000 },
} as const;

const enums = {
  advice: {
    0: "MADV_NORMAL",
    1: "MADV_RANDOM",
    2: "MADV_SEQUENTIAL",
    10: "MADV_DONTFORK",
    12: "MADV_MERGEABLE",
    14: "MADV_HUGEPAGE",
    15: "MADV_NOHUGEPAGE",
    16: "MADV_DONTDUMP",
    18: "MADV_WIPEONFORK",
    23: "MADV_POPULATE_WRITE",
    25: "MADV_COLLAPSE",
  },
  prctl: {
    1: "PR_SET_PDEATHSIG",
    4: "PR_SET_DUMPABLE",
    15: "PR_SET_NAME",
    24: "PR_CAPBSET_DROP",
    28: "PR_SET_SECUREBITS",
    29: "PR_SET_TIMERSLACK",
    35: "PR_SET_MM",
    36: "PR_SET_CHILD_SUBREAPER",
    38: "PR_SET_NO_NEW_PRIVS",
    41: "PR_SET_THP_DISABLE",
    47: "PR_CAP_AMBIENT",
    77: "PR_TIMER_CREATE_RESTORE_IDS",
    0x53564d41: "PR_SET_VMA",
  },
  arch: { 0x1001: "ARCH_SET_GS", 0x1002: "ARCH_SET_FS", 0x1023: "ARCH_REQ_XCOMP_PERM", 0x2003: "ARCH_MAP_VDSO_64" },
  ptrace: {
    7: "PTRACE_CONT",
    13: "PTRACE_SETREGS",
    17: "PTRACE_DETACH",
    24: "PTRACE_SYSCALL",
    0x4205: "PTRACE_SETREGSET",
    0x4206: "PTRACE_SEIZE",
    0x4207: "PTRACE_INTERRUPT",
    0x420b: "PTRACE_SETSIGMASK",
  },
  fcntl: {
    0: "F_DUPFD",
    2: "F_SETFD",
    4: "F_SETFL",
    10: "F_SETSIG",
    15: "F_SETOWN_EX",
    1030: "F_DUPFD_CLOEXEC",
    1031: "F_SETPIPE_SZ",
    1033: "F_ADD_SEALS",
  },
  rlimit: {
    0: "RLIMIT_CPU",
    1: "RLIMIT_FSIZE",
    2: "RLIMIT_DATA",
    3: "RLIMIT_STACK",
    4: "RLIMIT_CORE",
    5: "RLIMIT_RSS",
    6: "RLIMIT_NPROC",
    7: "RLIMIT_NOFILE",
    8: "RLIMIT_MEMLOCK",
    9: "RLIMIT_AS",
    10: "RLIMIT_LOCKS",
    11: "RLIMIT_SIGPENDING",
    12: "RLIMIT_MSGQUEUE",
    13: "RLIMIT_NICE",
    14: "RLIMIT_RTPRIO",
    15: "RLIMIT_RTTIME",
  },
  how: { 0: "SIG_BLOCK", 1: "SIG_UNBLOCK", 2: "SIG_SETMASK" },
  epoll: { 1: "EPOLL_CTL_ADD", 2: "EPOLL_CTL_DEL", 3: "EPOLL_CTL_MOD" },
  family: { 1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET" },
} as const;
export type EnumKind = keyof typeof enums;

const signalNames =
  "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM " +
  "PROF WINCH IO PWR SYS".split(" ");

/** An immediate, as its kind is written. */
export function showValue(value: bigint, kind: ArgKind | EnumKind): string {
  const signed = BigInt.asIntN(64, value);
  if (kind in enums) {
    const name = (enums[kind as EnumKind] as Readonly<Record<number, string>>)[Number(signed)];
    return name ?? signed.toString();
  }
  if (kind in flagSets)
    return showFlags(value, flagSets[kind as FlagKind], kind === "open" ? "O_RDONLY" : kind === "prot" ? "PROT_NONE" : "0");
  switch (kind) {
    case "fd":
      return signed === BigInt(AT_FDCWD) ? "AT_FDCWD" : signed.toString();
    case "oct":
      return value === 0n ? "0" : `0${value.toString(8)}`;
    case "hex":
    case "path":
    case "text":
      return value === 0n ? "NULL" : `0x${value.toString(16)}`;
    case "signal":
      return value >= 1n && value <= 31n ? `SIG${signalNames[Number(value) - 1]}` : signed.toString();
    default:
      return signed > 0xffff_ffffn || signed < -4096n ? `0x${value.toString(16)}` : signed.toString();
  }
}

function showFlags(value: bigint, names: Readonly<Record<string, number>>, none: string): string {
  const found: string[] = [];
  let rest = value;
  for (const [name, bit] of Object.entries(names)) {
    if ((rest & BigInt(bit)) !== BigInt(bit)) continue;
    found.push(name);
    rest &= ~BigInt(bit);
  }
  if (none === "O_RDONLY" && (value & 3n) === 0n) found.unshift(none);
  if (rest !== 0n) found.push(`0x${rest.toString(16)}`);
  return found.length === 0 ? none : found.join("|");
}
