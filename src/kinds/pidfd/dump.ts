// SPDX-License-Identifier: Apache-2.0
/** Pidfds: whose they are is in fdinfo. */
import { type Collecting, type Description, nameOf, pidAsSeen, refuseDescription } from "../../dump/fds/context.js";
import { anonymousName, inodeType } from "../../dump/fds/facts.js";
import { eachAlone, type FileDump, type FileFields } from "../../dump/fds/kind.js";

export const dump: FileDump = {
  // Before Linux 6.9 they were anonymous inodes.
  recognises: (facts) => inodeType(facts) === "pidfd" || anonymousName(facts) === "[pidfd]",
  collector: eachAlone(collectPidfd),
};

/**
 * `Pid` is -1 when the process is gone and reaped; then `object` says which pidfds are of the same process (the inode of
 * pidfs). Else `detail` is the pid as the tasks see it; it must be of the tree, or the pidfd would name a stranger in the
 * resumed world.
 */
function collectPidfd({ context }: Collecting, description: Description): FileFields {
  const { stat, link, fsMagic, holders } = description;
  const pid = Number(description.info.fields.get("Pid") ?? "-1");
  if (pid <= 0) {
    return { kind: "pidfd", object: context.objects.add({ stat, link, fsMagic, fields: { kind: "other" }, holder: nameOf(description) }) };
  }
  if (holders.length === 0) refuseDescription(description, "scm_pidfd", "a pidfd");
  const isInside = context.processes.some((process) => process.pid === pid);
  if (!isInside) refuseDescription(description, "outside_pidfd", `a pidfd of process ${pid}, which is outside the tree`);
  const seen = pidAsSeen(pid);
  if (seen === undefined) refuseDescription(description, "gone_pidfd", `a pidfd of process ${pid}, which has just gone`, "Dump again.");
  return { kind: "pidfd", detail: seen };
}
