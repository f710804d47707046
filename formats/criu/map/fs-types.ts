// SPDX-License-Identifier: Apache-2.0
/** Numbers of mnt_entry.fstype. */

export const fsTypes: ReadonlyMap<number, string> = new Map([
  [1, "proc"],
  [2, "sysfs"],
  [3, "devtmpfs"],
  [4, "binfmt_misc"],
  [5, "tmpfs"],
  [6, "devpts"],
  [8, "pstore"],
  [9, "securityfs"],
  [10, "fusectl"],
  [11, "debugfs"],
  [12, "cgroup"],
  [13, "aufs"],
  [14, "mqueue"],
  [15, "fuse"],
  [17, "overlay"],
  [18, "autofs"],
  [19, "tracefs"],
  [23, "cgroup2"],
]);
const numbers = new Map([...fsTypes].map(([number, name]) => [name, number]));

/** Of no kind that CRIU could mount. */
const unsupported = 0;
/** Of the kind that is beside it. */
const named = 16;

/** @param isExternal it is the root, or external: then the kind does not matter */
export function fsTypeNumber(fsType: string, isExternal: boolean): { readonly fstype: number; readonly fsname?: string } {
  const number = numbers.get(fsType);
  if (number !== undefined) return { fstype: number };
  return isExternal || fsType === "" ? { fstype: unsupported } : { fstype: named, fsname: fsType };
}
