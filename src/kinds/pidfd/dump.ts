// SPDX-License-Identifier: Apache-2.0
/** Pidfds: whose they are is in fdinfo. */
import { type Collecting, type Description, nameOf, pidAsSeen, refuseDescription } from "../../dump/fds/context.js";
import { anonymousName, inodeType } from "../../dump/fds/facts.js";
import type { FileDump, FileFields } from "../../dump/fds/kind.js";
import { outsidePidfdRow } from "../../gen/tables.js";
import { tryReadSmall } from "../../native/index.js";

/** PID_FS_MAGIC */
const pidfs = 0x50494446n;

export const dump: FileDump = {
  // Before Linux 6.9 they were anonymous inodes.
  recognises: (facts) => inodeType(facts) === "pidfd" || anonymousName(facts) === "[pidfd]",
  collector: (collecting) => {
    const outside: { readonly description: Description; readonly pid: number }[] = [];
    return {
      collect: (description) => collectPidfd(collecting, description, (pid) => outside.push({ description, pid })),
      finish: () => {
        const bootId = tryReadSmall("/proc/sys/kernel/random/boot_id")?.toString("latin1").trim() ?? "";
        for (const { description, pid } of outside) {
          const row = outsidePidfdRow({ file: description.row ?? 0, pid, ino: BigInt(description.stat.ino), bootId });
          collecting.context.tables.outsidePidfds.push(row);
        }
      },
    };
  },
};

/**
 * `Pid` is -1 when the process is gone and reaped; then `object` says which pidfds are of the same process (the inode of
 * pidfs). So it is of a process outside the tree, which may be there at the resume: `noteOutside` gets its id. Else `detail` is
 * the pid as the tasks see it.
 */
function collectPidfd({ context }: Collecting, description: Description, noteOutside: (pid: number) => void): FileFields {
  const { stat, link, fsMagic, holders } = description;
  const pid = Number(description.info.fields.get("Pid") ?? "-1");
  const isInside = context.processes.some((process) => process.pid === pid);
  if (pid > 0 && !isInside) {
    // Before Linux 6.9 nothing but the id tells a process, and that is another's soon.
    if (fsMagic !== pidfs) refuseDescription(description, "outside_pidfd", `a pidfd of process ${pid}, which is outside the tree`);
    noteOutside(pid);
  }
  if (!isInside) {
    return { kind: "pidfd", object: context.objects.add({ stat, link, fsMagic, fields: { kind: "other" }, holder: nameOf(description) }) };
  }
  if (holders.length === 0) refuseDescription(description, "scm_pidfd", "a pidfd");
  const seen = pidAsSeen(pid);
  if (seen === undefined) refuseDescription(description, "gone_pidfd", `a pidfd of process ${pid}, which has just gone`, "Dump again.");
  return { kind: "pidfd", detail: seen };
}
