// SPDX-License-Identifier: Apache-2.0
/** Whose a namespace is (ioctl_nsfs(2)). */
import { close, failed, openFlag, tryCall, tryFstat, tryOpen } from "../../native/index.js";

const NS_GET_USERNS = 0xb701;
const NS_GET_PARENT = 0xb702;
const NS_GET_OWNER_UID = 0xb704;

function withNamespace<Result>(path: string, build: (fd: number) => Result | undefined): Result | undefined {
  const fd = tryOpen(path, openFlag.RDONLY);
  if (failed(fd)) return undefined;
  try {
    return build(fd);
  } finally {
    close(fd);
  }
}

function related(path: string, request: number): bigint | undefined {
  return withNamespace(path, (fd) => {
    const other = tryCall("ioctl", fd, request, 0);
    if (failed(other)) return undefined;
    const stat = tryFstat(other);
    close(other);
    return typeof stat === "number" ? undefined : stat.ino;
  });
}

/** Number of a namespace behind a link of /proc/PID/ns. */
export function inodeOf(path: string): bigint | undefined {
  return withNamespace(path, (fd) => {
    const stat = tryFstat(fd);
    return typeof stat === "number" ? undefined : stat.ino;
  });
}

/** Number of the user namespace whose capabilities hold in a namespace; undefined where it is above crimg's own. */
export function ownerOf(path: string): bigint | undefined {
  return related(path, NS_GET_USERNS);
}

/** Number of the namespace above a user or pid namespace; undefined where it is above crimg's own. */
export function parentOf(path: string): bigint | undefined {
  return related(path, NS_GET_PARENT);
}

/** The user who made a user namespace. */
export function ownerUid(path: string): number | undefined {
  return withNamespace(path, (fd) => {
    const uid = new Uint32Array(2);
    return failed(tryCall("ioctl", fd, NS_GET_OWNER_UID, uid)) ? undefined : uid[0];
  });
}
