// SPDX-License-Identifier: Apache-2.0
/** Which processes of a checkpoint are written. */
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";

/** Rows of tasks: all, or the one with this pid. Throws CrimgError `core.pid`. */
export function chosenTasks(checkpoint: Checkpoint, pid: number | undefined): readonly number[] {
  if (pid === undefined) return checkpoint.tables.tasks.map((_task, index) => index);
  const task = checkpoint.taskIndexOf(pid);
  if (task !== undefined) return [task];
  const pids = checkpoint.tables.tasks.slice(0, 10).map((one) => one.pid);
  throw new CrimgError("core.pid", `there is no process ${pid} in the checkpoint`, {
    hint: `its processes are ${pids.join(", ")}${checkpoint.tables.tasks.length > 10 ? ", …" : ""}`,
  });
}
