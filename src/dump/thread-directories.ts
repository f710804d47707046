// SPDX-License-Identifier: Apache-2.0
/** Threads with a current directory, a root and a umask of their own (unshare(CLONE_FS)), as file servers have them. */
import { threadDirectoryRow } from "../gen/tables.js";
import { kcmpType } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath, readStatus } from "./procfs.js";
import { refusal } from "./refusal.js";
import { pairSharing, threadsApart } from "./sharing.js";
import { rootOf } from "./tasks.js";

/** Rows of the threads that do not share these with the first one. `rows`: those of the threads, in their order. */
export function collectThreadDirectories(context: DumpContext, process: DumpedProcess, rows: readonly number[]): void {
  const { pid, name, frozen } = process;
  const apart = threadsApart(process, "FS").map((at) => ({ tid: frozen.threads[at]?.tid ?? 0, thread: rows[at] ?? 0 }));
  const tids = apart.map(({ tid }) => tid);
  // A resume gives each thread its own.
  const pair = pairSharing(tids, kcmpType.FS, "threads");
  if (pair !== undefined) {
    throw refusal(
      "unshared",
      `process ${pid} (${name}): threads ${pair[0]} and ${pair[1]} share a current directory (CLONE_FS) that is not that of their process`,
    );
  }
  for (const { tid, thread } of apart) {
    const path = procPath(pid, tid);
    const who = `thread ${tid} of ${pid} (${name})`;
    context.tables.threadDirectories.push(
      threadDirectoryRow({
        thread,
        umask: Number.parseInt(readStatus(path)?.get("Umask") ?? "0", 8),
        cwd: context.objects.addLink(`${path}/cwd`, `current directory of ${who}`),
        root: rootOf(context, path, who),
      }),
    );
  }
}
