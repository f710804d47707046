// SPDX-License-Identifier: Apache-2.0
/** Numbers of filesystems (linux/magic.h), as statfs f_type gives them. */

/** Views of the kernel's own state, whose sizes and times mean nothing: proc, sysfs, devpts, cgroup, debugfs, tracefs, bpf, securityfs. */
export const viewFileSystems: ReadonlySet<bigint> = new Set([
  0x9fa0n,
  0x62656572n,
  0x1cd1n,
  0x27e0ebn,
  0x63677270n,
  0x64626720n,
  0x74726163n,
  0xcafe4a11n,
  0x73636673n,
]);

/** FUSE_SUPER_MAGIC: reading is a question to a program, which may be one that stands still. */
export const fuseFileSystem = 0x65735546n;

/** OVERLAYFS_SUPER_MAGIC. */
export const overlayFileSystem = 0x794c7630n;
