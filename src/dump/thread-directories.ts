// SPDX-License-Identifier: Apache-2.0
/** Threads with a current directory, a root and a umask of their own (unshare(CLONE_FS)), as file servers have them. */
import { threadDirectoryRow } from "../gen/tables.js";
import { failed, kcmpType, type Question, QuestionList, SysError, tryKcmp } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath, readStatus } from "./procfs.js";
import { refusal } from "./refusal.js";
import { rootOf } from "./tasks.js";

/** The first thread of a process beside another. */
const comparison: Question = { call: "kcmp", args: [{ id: 0 }, { id: 1 }, kcmpType.FS, 0, 0] };
const comparisons = new QuestionList([comparison]);

/** Rows of the threads that do not share these with the first one. `rows`: those of the threads, in their order. */
export function collectThreadDirectories(context: DumpContext, process: DumpedProcess, rows: readonly number[]): void {
  const { pid, name, frozen } = process;
  const others = frozen.threads.slice(1);
  if (others.length === 0) return;
  const answers = comparisons.ask(Int32Array.from(others.flatMap(({ tid }) => [pid, tid])));
  const apart = others.flatMap(({ tid }, index) => {
    const order = answers.result(index, 0);
    if (failed(order)) throw new SysError("kcmp", -order, `threads ${pid} and ${tid}`);
    return order === 0 ? [] : [{ tid, thread: rows[index + 1] ?? 0 }];
  });
  assertNotShared(
    process,
    apart.map(({ tid }) => tid),
  );
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

/** A resume gives each thread its own; kcmp gives an order, in which equal ones meet. */
function assertNotShared({ pid, name }: DumpedProcess, tids: readonly number[]): void {
  const compare = (a: number, b: number): number => {
    const order = tryKcmp(a, b, kcmpType.FS);
    if (failed(order)) throw new SysError("kcmp", -order, `threads ${a} and ${b}`);
    return [0, -1, 1][order] ?? 0;
  };
  const sorted = [...tids].sort(compare);
  sorted.forEach((tid, index) => {
    const before = sorted[index - 1];
    if (before !== undefined && compare(before, tid) === 0) {
      throw refusal(
        "unshared",
        `process ${pid} (${name}): threads ${before} and ${tid} share a current directory (CLONE_FS) that is not that of their process`,
      );
    }
  });
}
