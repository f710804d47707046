// SPDX-License-Identifier: Apache-2.0
/**
 * Settings below /proc/sys that belong to a namespace. The kernel shows those of the namespaces of whoever looks, so the thread
 * of crimg goes there; and into a new one, to see what need not be kept.
 */
import { type MutableTables, sysctlRow } from "../../gen/tables.js";
import { failed, tryCall, tryListDirectory, tryReadSmall, tryStat } from "../../native/index.js";
import { namespaceFlag, tryInNamespace } from "./view.js";

const kinds = {
  net: ["net"],
  ipc: [
    "msgmax",
    "msgmnb",
    "msgmni",
    "auto_msgmni",
    "sem",
    "shmall",
    "shmmax",
    "shmmni",
    "shm_rmid_forced",
    "msg_next_id",
    "sem_next_id",
    "shm_next_id",
  ]
    .map((name) => `kernel/${name}`)
    .concat("fs/mqueue"),
} as const;

const forwarding = /^net\/ipv[46]\/(?:ip_forward|conf\/[^/]+\/(?:mc_)?forwarding)$/;

/** Longest value that is looked at, bytes. */
const longest = 4096;
const [S_IFMT, S_IFDIR, ownersRead, ownersWrite] = [0o170000, 0o040000, 0o400, 0o200];

/** Adds what is set in the namespace of a process; nothing where crimg may not go there (it takes CAP_SYS_ADMIN). */
export function collectSysctls(tables: MutableTables, pid: number, kind: keyof typeof kinds, namespace: number): void {
  const seen = tryInNamespace(pid, kind, () => ({
    here: readAll(kinds[kind]),
    usual: failed(tryCall("unshare", namespaceFlag[kind])) ? undefined : readAll(kinds[kind]),
  }));
  if (typeof seen === "number" || seen.result.usual === undefined) return;
  const { here, usual } = seen.result;
  const changed = (path: string): boolean => here.get(path) !== usual.get(path);
  // To set forwarding sets others too, so it comes first, and the others whatever they are.
  const forwards = [...here.keys()].filter((path) => forwarding.test(path));
  const besides = forwards.some(changed) ? /^net\/ipv[46]\/conf\// : undefined;
  const inOrder = [...forwards, ...[...here.keys()].filter((path) => !forwarding.test(path))];
  for (const path of inOrder) {
    const value = here.get(path) ?? "";
    // A device has at first what is set for all that come.
    const before = usual.get(path) ?? usual.get(path.replace(/^(net\/ipv[46]\/(?:conf|neigh)\/)[^/]+/, "$1default"));
    if (value !== before || besides?.test(path) === true) tables.sysctls.push(sysctlRow({ namespace, path, value }));
  }
}

/** By path from /proc/sys, all that can be read and written. */
function readAll(roots: readonly string[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  const look = (path: string): void => {
    const full = `/proc/sys/${path}`;
    const stat = tryStat(full);
    if (typeof stat === "number") return;
    if ((stat.mode & S_IFMT) === S_IFDIR) {
      const names = tryListDirectory(full);
      if (typeof names !== "number") for (const name of names.sort()) look(`${path}/${name}`);
      return;
    }
    const isWritable = (stat.mode & ownersWrite) !== 0 || path.endsWith("_next_id");
    if ((stat.mode & ownersRead) === 0 || !isWritable) return;
    const bytes = tryReadSmall(full);
    if (bytes !== undefined && bytes.length <= longest) values.set(path, bytes.toString("latin1").trimEnd());
  };
  for (const root of roots) look(root);
  return values;
}
