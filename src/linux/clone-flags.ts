// SPDX-License-Identifier: Apache-2.0
/** Flags of clone(2) and unshare(2) (include/uapi/linux/sched.h in the kernel). */
export const CLONE = {
  vm: 0x100,
  fs: 0x200,
  files: 0x400,
  sighand: 0x800,
  ptrace: 0x2000,
  parent: 0x8000,
  thread: 0x10000,
  newns: 0x20000,
  sysvsem: 0x40000,
  newtime: 0x80,
  newcgroup: 0x2000000,
  newuts: 0x4000000,
  newipc: 0x8000000,
  newnet: 0x40000000,
  newuser: 0x10000000,
  newpid: 0x20000000,
} as const;
