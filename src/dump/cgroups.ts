// SPDX-License-Identifier: Apache-2.0
/**
 * Control groups are not kept: a resumed tree is in those of whoever resumes it. That is harmless where the tree was in
 * the same groups as crimg, and a loss to be named where it was not.
 */
import { QuestionList, tryReadSmall } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath } from "./procfs.js";

const questions = new QuestionList([{ file: "/proc/\u0001/task/\u0002/cgroup" }]);
/** Bytes of one such file, usually; what does not fit is read by itself. */
const roomOfGroups = 1024;

/** The lines of /proc/PID/task/TID/cgroup (cgroups(7)). */
function groupsOf(path: string): string[] {
  return (tryReadSmall(`${path}/cgroup`)?.toString("latin1") ?? "").split("\n").filter((line) => line !== "");
}

/** Refuses a process with a thread in another control group than crimg (or records the loss, with --ignore cgroup). */
export function checkControlGroups(context: DumpContext, process: DumpedProcess): void {
  const ours = new Set(groupsOf("/proc/self"));
  const { threads } = process.frozen;
  const answers = questions.ask(Int32Array.from(threads.flatMap(({ pid, tid }) => [pid, tid])), threads.length * roomOfGroups);
  let same: Buffer | undefined;
  for (const [row, { tid }] of threads.entries()) {
    const bytes = answers.bytes(row, 0);
    if (bytes !== undefined && same?.equals(bytes)) continue;
    const other = groupsOf(procPath(process.pid, tid)).find((line) => !ours.has(line));
    if (other === undefined) same = bytes;
    if (other === undefined) continue;
    context.leaveOut("cgroup", `${process.pid} (${process.name}): it is in the control group ${other.replace(/^\d+:/, "")}, crimg is not`);
    return;
  }
}
