// SPDX-License-Identifier: Apache-2.0
/** Rules about programs that used GPUs. */
import { type ModelRule, modelRule, taskName } from "../model-context.js";

/** As the driver writes it (and nvidia-smi -L). */
export const gpuName = /^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const gpuRules: readonly ModelRule[] = [
  modelRule(
    {
      code: "gpu.process",
      facet: "tree",
      summary: "A process that used CUDA lives, and is named once.",
      spec: "SPEC 5.61",
    },
    function* (context) {
      const seen = new Set<number>();
      for (const [row, { task }] of context.tables.cudaProcesses.entries()) {
        const at = { table: "cudaProcesses", row, field: "task" } as const;
        if (seen.has(task)) yield { message: `${taskName(context, task)} is named twice`, at };
        if (context.tables.tasks[task]?.state === "zombie") yield { message: `${taskName(context, task)} has ended`, at };
        seen.add(task);
      }
    },
  ),
  modelRule(
    {
      code: "gpu.thread",
      facet: "threads",
      summary: "The thread that does the driver's work is one of the process that used CUDA.",
      spec: "SPEC 5.61",
    },
    function* (context) {
      for (const [row, { task, restoreThread }] of context.tables.cudaProcesses.entries()) {
        const thread = context.tables.threads[restoreThread];
        if (thread === undefined || thread.task === task) continue; // a dangling reference has a rule of its own
        yield {
          message: `thread ${thread.tid} is not one of ${taskName(context, task)}`,
          at: { table: "cudaProcesses", row, field: "restore_thread" },
          expected: `a thread of tasks[${task}]`,
          actual: `a thread of tasks[${thread.task}]`,
        };
      }
    },
  ),
  modelRule(
    {
      code: "gpu.name",
      facet: "tree",
      summary: "GPUs are named as the driver names them, and are there if processes used CUDA.",
      spec: "SPEC 5.60",
    },
    function* ({ tables }) {
      if (tables.cudaProcesses.length > 0 && tables.gpus.length === 0)
        yield { message: "processes used CUDA, but no GPU is named", place: { path: "gpus" } };
      for (const [row, { uuid }] of tables.gpus.entries()) {
        if (gpuName.test(uuid)) continue;
        yield {
          message: "this is not the name of a GPU",
          at: { table: "gpus", row, field: "uuid" },
          expected: "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
          actual: uuid,
        };
      }
    },
  ),
];
