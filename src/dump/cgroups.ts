// SPDX-License-Identifier: Apache-2.0
/**
 * Whether there is anything to keep of control groups: a tree that is in those of crimg is resumed in those of whoever
 * resumes it, and so is one with --ignore cgroup, as a loss. Others: cgroups-kept.ts.
 */
import { tryReadSmall } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath } from "./procfs.js";

/** /proc/PID/task/TID/cgroup (cgroups(7)) of a thread. */
export function groupsTold({ pid, facts }: DumpedProcess, tid: number): Buffer | undefined {
  return facts?.of({ tid })?.file("cgroup") ?? tryReadSmall(`${procPath(pid, tid)}/cgroup`);
}

function linesOf(bytes: Buffer | undefined): string[] {
  return (bytes?.toString("latin1") ?? "").split("\n").filter((line) => line !== "");
}

/** The control groups of crimg, and what threads in the same ones told. */
export class OwnGroups {
  readonly #lines = new Set(linesOf(tryReadSmall("/proc/self/cgroup")));
  #same: Buffer | undefined;

  /** A group that crimg is not in. */
  other(bytes: Buffer | undefined): string | undefined {
    if (bytes !== undefined && this.#same?.equals(bytes)) return undefined;
    const other = linesOf(bytes).find((line) => !this.#lines.has(line));
    if (other === undefined) this.#same = bytes;
    return other;
  }
}

/** Whether a process has a thread in another control group than crimg: with --ignore cgroup that is a loss, else to be kept. */
export function isInOtherGroups(context: DumpContext, process: DumpedProcess, ours: OwnGroups): boolean {
  for (const { tid } of process.frozen.threads) {
    const other = ours.other(groupsTold(process, tid));
    if (other === undefined) continue;
    if (context.ignored.classes.has("cgroup"))
      context.lose("dump.cgroup", `${process.pid} (${process.name}): the control group ${other.replace(/^\d+:/, "")}`);
    return true;
  }
  return false;
}
