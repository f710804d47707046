// SPDX-License-Identifier: Apache-2.0
/** Namespaces that a thread entered alone (setns or unshare in one thread): its process's are all that an image keeps. */
import { tryReadlink } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath } from "./procfs.js";

/** Kinds that threads of one process need not share. */
const kinds = ["net", "ipc", "uts", "cgroup", "mnt", "pid_for_children", "time_for_children"] as const;

/** Blocks the dump where a thread is not in its process's namespaces, or made a pid namespace for children to come. */
export function checkThreadNamespaces(context: DumpContext, { pid, name, frozen }: DumpedProcess): void {
  const link = (path: string, kind: string): string | undefined => tryReadlink(`${path}/ns/${kind}`)?.toString("latin1");
  const own = new Map(kinds.map((kind) => [kind, link(procPath(pid), kind)]));
  const [own_pid, children] = [link(procPath(pid), "pid"), own.get("pid_for_children")];
  // A namespace that has had no process yet has no name to read.
  if (own_pid !== undefined && children !== own_pid) {
    context.leaveOut("thread-namespace", `process ${pid} (${name}): its next child starts a pid namespace (unshare of CLONE_NEWPID)`);
  }
  for (const { tid } of frozen.threads.slice(1)) {
    const other = kinds.find((kind) => link(procPath(pid, tid), kind) !== own.get(kind));
    if (other === undefined) continue;
    context.leaveOut(
      "thread-namespace",
      `thread ${tid} of ${pid} (${name}): it has its own ${other.replace("_for_", " namespace for ")}${other.includes("_for_") ? "" : " namespace"}`,
    );
  }
}
