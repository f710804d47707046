// SPDX-License-Identifier: Apache-2.0
import type { Checkpoint } from "../model/checkpoint.js";
import type { Loss } from "./format.js";

/** What formats lose that do not know of GPUs: who resumes the program has to call the driver by hand. */
export function gpuLosses({ tables }: Checkpoint): Loss[] {
  const pids = tables.cudaProcesses.map(({ task }) => tables.tasks[task]?.pid ?? 0);
  if (pids.length === 0) return [];
  const names = pids.slice(0, 3).join(", ") + (pids.length > 3 ? ` and ${pids.length - 3} more` : "");
  return [
    {
      code: "gpu.restore",
      facet: "tree",
      count: pids.length,
      text:
        "nobody will have the CUDA driver bring GPU state back (cuCheckpointProcessRestore, cuCheckpointProcessUnlock): " +
        `processes ${names}`,
    },
  ];
}
