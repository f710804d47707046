// SPDX-License-Identifier: Apache-2.0
/** linkat(2) of an open, nameless file: Node's own link() cannot do it. */
import { readlinkSync } from "node:fs";
import { AT_FDCWD } from "../native/files.js";
import { errno } from "../linux/errno.js";
import { cString, check, tryCall } from "../native/sys.js";
import { addon } from "../native/addon.js";

const followSymlink = 0x400; // AT_SYMLINK_FOLLOW

let isLoaded: boolean | undefined;

export const linkDescriptor = {
  /** Whether the native part that makes the call is built, and /proc is there to name the descriptor. */
  isAvailable(): boolean {
    if (isLoaded === undefined) {
      try {
        addon();
        readlinkSync("/proc/self/fd/0");
        isLoaded = true;
      } catch {
        isLoaded = false;
      }
    }
    return isLoaded;
  },
  /** Names an O_TMPFILE descriptor. Returns false if the name exists; other failures throw. */
  link(fd: number, path: string): boolean {
    // open(2): /proc/self/fd needs no privilege, AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH.
    const result = tryCall("linkat", AT_FDCWD, cString(`/proc/self/fd/${fd}`), AT_FDCWD, cString(path), followSymlink);
    if (result === -errno.EEXIST) return false;
    check(result, "linkat", path);
    return true;
  },
};
