// SPDX-License-Identifier: Apache-2.0
/** Another name of a file whose own name is gone: hard links are mostly in the same directory. */
import { close, failed, openFlag, tryCall, tryFstat, tryOpen, type FileStat } from "../native/index.js";
import type { MountSpace, TreeView } from "./namespaces/view.js";

/** Entries looked at; a directory of more is left alone. */
const mostEntries = 100_000;

/** The absolute path of another link to the inode in the directory of `path`, or undefined. */
export function findOtherName(path: Buffer, stat: FileStat, view: TreeView, space?: MountSpace): Buffer | undefined {
  const slash = path.lastIndexOf(0x2f);
  if (slash < 0) return undefined;
  const directory = slash === 0 ? Buffer.from("/") : path.subarray(0, slash);
  const fd = tryOpen(view.pathBytes(directory, space), openFlag.RDONLY | openFlag.DIRECTORY);
  if (failed(fd)) return undefined;
  try {
    for (const name of namesOf(fd, stat.ino)) {
      const found = Buffer.concat([path.subarray(0, slash + 1), name]);
      if (leadsTo(view.pathBytes(found, space), stat)) return found;
    }
    return undefined;
  } finally {
    close(fd);
  }
}

/** Names of entries with an inode number, as getdents64 lists them. */
function* namesOf(fd: number, ino: bigint): Iterable<Buffer> {
  const data = Buffer.alloc(1 << 16);
  for (let seen = 0; seen < mostEntries; ) {
    const got = tryCall("getdents64", fd, data, data.length);
    if (failed(got) || got === 0) return;
    for (let at = 0; at < got; seen++) {
      // struct linux_dirent64: u8 inode, s8 offset, u2 length, u1 type, name
      const length = data.readUInt16LE(at + 16);
      if (data.readBigUInt64LE(at) === ino) yield Buffer.from(data.subarray(at + 19, data.indexOf(0, at + 19)));
      at += length;
    }
  }
}

function leadsTo(path: Buffer, stat: FileStat): boolean {
  const fd = tryOpen(path, openFlag.PATH | openFlag.NOFOLLOW);
  if (failed(fd)) return false;
  const found = tryFstat(fd);
  close(fd);
  return typeof found !== "number" && found.dev === stat.dev && found.ino === stat.ino;
}
