// SPDX-License-Identifier: Apache-2.0
/** Copies of mounts of other mount namespaces (native/addon/mount-copy.h). */
import { addon } from "./addon.js";
import { close, openFlag, tryOpen } from "./files.js";
import { failed } from "./sys.js";
import { isLogged, logCall } from "../errors/log.js";

const EPERM = 1;

/**
 * A copy of the mount at a path of the mount namespace that a process lives in, without what is mounted on it: what lies under
 * that can be looked into. It goes with the descriptor that is returned, which has O_PATH and is the caller's; −errno.
 * Needs CAP_SYS_ADMIN there: of root, or of the owner of the user namespace.
 */
export function tryCopyMount(pid: number, path: string): number {
  const into = tryOpen("/", openFlag.PATH);
  if (failed(into)) return into;
  const there = `/proc/${pid}/ns`;
  let result = addon().copyMount(`${there}/mnt`, "", path, into);
  if (result === -EPERM) result = addon().copyMount(`${there}/mnt`, `${there}/user`, path, into);
  if (isLogged()) logCall("crimg", "setns, open_tree", result);
  if (!failed(result)) return into;
  close(into);
  return result;
}
