// SPDX-License-Identifier: Apache-2.0
/** What a set cannot hold. */
import type { Loss, WriteOptions } from "../../src/adapter/format.js";
import { gpuLosses } from "../../src/adapter/gpu-loss.js";
import { ipcLosses } from "../../src/adapter/ipc-loss.js";
import { namespaceLosses } from "../../src/adapter/namespace-loss.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { LossList } from "../../src/adapter/losses.js";
import { addDescriptorLosses, addProcessLosses } from "../../src/rfc2011/losses.js";
import { writableTasks } from "../../src/rfc2011/process-records.js";
import { isHeldByFdinfo } from "./descriptors.js";

export function lossesOfCrtools(checkpoint: Checkpoint, options: WriteOptions): readonly Loss[] {
  const { tables } = checkpoint;
  const list = new LossList();
  const tasks = writableTasks(checkpoint, options.pid);
  const others = tables.tasks.filter((task, index) => !tasks.includes(index) && (options.pid === undefined || task.pid !== options.pid));
  list.add(
    "tree.processes",
    "tree",
    options.pid === undefined ? "processes without memory (zombies)" : "other processes",
    others.map((task) => `process ${task.pid}`),
  );
  addProcessLosses(list, checkpoint, tasks);
  addDescriptorLosses(list, checkpoint, tasks, "crtools", (file, fd, row) =>
    row.kind === "pipe" ? fd > 2 : isHeldByFdinfo(checkpoint, file, fd),
  );
  const isThere = new Set(tasks);
  const held = tables.descriptors.filter(({ task, file, fd }) => isThere.has(task) && isHeldByFdinfo(checkpoint, file, fd));
  const named = (filter: (descriptor: (typeof held)[number]) => boolean): string[] =>
    held.filter(filter).map(({ fd, task }) => `fd ${fd} of ${tables.tasks[task]?.pid ?? 0}`);
  list.add(
    "files.cloexec",
    "files",
    "close-on-exec of files",
    named(({ flags }) => (flags & 1) !== 0),
  );
  list.add(
    "files.position",
    "files",
    "file offsets above 4 GiB",
    named(({ file }) => (tables.files[file]?.pos ?? 0n) > 0xffff_ffffn),
  );
  list.add(
    "files.flags",
    "files",
    "open flags above 16 bits",
    named(({ file }) => ((tables.files[file]?.flags ?? 0) & ~0xffff) !== 0),
  );
  return [...list.losses, ...gpuLosses(checkpoint), ...ipcLosses(checkpoint), ...namespaceLosses(checkpoint)];
}
