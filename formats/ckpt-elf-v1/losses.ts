// SPDX-License-Identifier: Apache-2.0
/** What a v1 image cannot hold. */
import type { Loss, WriteOptions } from "../../src/adapter/format.js";
import { gpuLosses } from "../../src/adapter/gpu-loss.js";
import { ipcLosses } from "../../src/adapter/ipc-loss.js";
import { namespaceLosses } from "../../src/adapter/namespace-loss.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { LossList } from "../../src/adapter/losses.js";
import { addDescriptorLosses, addProcessLosses } from "../../src/rfc2011/losses.js";
import { areasOf, sharedRuns } from "../../src/rfc2011/stored-pages.js";
import { pagesToWrite, storesShared, taskToWrite } from "./write.js";

export function lossesOfCkptElfV1(checkpoint: Checkpoint, options: WriteOptions): readonly Loss[] {
  const { tables } = checkpoint;
  const list = new LossList();
  const task = taskToWrite(checkpoint, options.pid);
  const pid = tables.tasks[task]?.pid ?? 0;
  list.add(
    "tree.processes",
    "tree",
    "other processes",
    tables.tasks.filter((_row, index) => index !== task).map((row) => `process ${row.pid}`),
  );
  addProcessLosses(list, checkpoint, [task]);
  addDescriptorLosses(list, checkpoint, [task], "ckpt-elf-v1", () => false);
  const areas = areasOf(checkpoint, task).map(({ row }) => row);
  const namesOf = (kind: (path: string) => boolean): string[] =>
    areas.flatMap((row) => {
      const path = row.object === null || !row.kind.startsWith("file_") ? "" : (tables.objects[row.object]?.path ?? "");
      return path !== "" && kind(path) ? [path] : [];
    });
  list.add(
    "memory.file-names",
    "mapped-files",
    "names of mapped files",
    namesOf(() => true),
  );
  const { files } = pagesToWrite(checkpoint, task, options);
  list.add(
    "memory.file-pages",
    "mapped-files",
    "pages of mapped files that cannot be had",
    (files?.missing ?? []).map(({ start, reason }) => `0x${start.toString(16)} of ${pid} (${reason})`),
  );
  files?.close();
  if (!storesShared(checkpoint, options)) {
    list.add(
      "memory.shared-pages",
      "shared-memory",
      "pages of anonymous shared memory",
      sharedRuns(checkpoint, task).map(({ va }) => `0x${va.toString(16)} of ${pid}`),
    );
  }
  const shared = areas.filter(
    (row) => row.kind === "anon_shared" && tables.vmas.some((other) => other.object === row.object && other.mm !== row.mm),
  );
  list.add(
    "memory.sharing",
    "shared-memory",
    "that memory is shared with other processes",
    shared.map((row) => `0x${row.start.toString(16)} of ${pid}`),
  );
  return [...list.losses, ...gpuLosses(checkpoint), ...ipcLosses(checkpoint), ...namespaceLosses(checkpoint)];
}
