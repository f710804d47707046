// SPDX-License-Identifier: Apache-2.0
/** What an inode has besides content, owner, mode and times: extended attributes and the flags of chattr(1). */
import { decodeText } from "../bytes/text.js";
import { cString, failed, tryCall } from "../native/index.js";

/** FS_IOC_GETFLAGS of linux/fs.h. */
const getFlags = 0x80086601;
/** Flags that can be set again: sync, immutable, append, nodump, noatime (FS_*_FL). */
const settable = 0xf8;
/** XATTR_LIST_MAX and XATTR_SIZE_MAX. */
const most = 65536;

/** Settable flags; 0 where the filesystem has none. */
export function inodeFlagsOf(fd: number): number {
  const flags = new Uint32Array(2);
  return failed(tryCall("ioctl", fd, getFlags, flags)) ? 0 : ((flags[0] ?? 0) & settable) >>> 0;
}

export interface Xattr {
  readonly name: string;
  readonly value: Uint8Array;
}

/** All that crimg may see. */
export function xattrsOf(fd: number): readonly Xattr[] {
  const names = Buffer.alloc(most);
  const length = tryCall("flistxattr", fd, names, names.length);
  if (failed(length) || length === 0) return [];
  const value = Buffer.alloc(most);
  return names
    .subarray(0, length - 1)
    .toString("latin1")
    .split("\0")
    .flatMap((text) => {
      const name = Buffer.from(text, "latin1");
      const size = tryCall("fgetxattr", fd, cString(name), value, value.length);
      return failed(size) ? [] : [{ name: decodeText(name), value: Uint8Array.from(value.subarray(0, size)) }];
    });
}
