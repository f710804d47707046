// SPDX-License-Identifier: Apache-2.0
/**
 * Whether there is anything to keep of control groups: a tree that is in those of crimg is resumed in those of whoever
 * resumes it, and so is one with --ignore cgroup, as a loss. Others: cgroups-kept.ts.
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

/** Whether a process has a thread in another control group than crimg: with --ignore cgroup that is a loss, else to be kept. */
export function isInOtherGroups(context: DumpContext, process: DumpedProcess): boolean {
  const ours = new Set(groupsOf("/proc/self"));
  const { threads } = process.frozen;
  const answers = questions.ask(Int32Array.from(threads.flatMap(({ pid, tid }) => [pid, tid])), threads.length * roomOfGroups);
  let same: Buffer | undefined;
  for (const [row, { tid }] of threads.entries()) {
    const bytes = answers.bytes(row, 0);
    if (bytes !== undefined && same?.equals(bytes)) continue;
    const other = groupsOf(procPath(process.pid, tid)).find((line) => !ours.has(line));
    if (other === undefined) {
      same = bytes;
      continue;
    }
    if (context.ignored.classes.has("cgroup"))
      context.lose("dump.cgroup", `${process.pid} (${process.name}): the control group ${other.replace(/^\d+:/, "")}`);
    return true;
  }
  return false;
}
