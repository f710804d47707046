// SPDX-License-Identifier: Apache-2.0
import type { Checkpoint } from "../model/checkpoint.js";
import type { Loss } from "./format.js";

/** What formats lose that have no place for IPC objects beside mapped memory: System V semaphores, queues, segments' ids. */
export function ipcLosses({ tables }: Checkpoint): Loss[] {
  const names = [
    ...tables.sysvSegments.map(({ id }) => `shared memory segment ${id}`),
    ...tables.sysvSemaphoreSets.map(({ id }) => `semaphore set ${id}`),
    ...tables.sysvQueues.map(({ id }) => `message queue ${id}`),
  ];
  if (names.length === 0) return [];
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  const text = `System V IPC objects are not kept: ${names.slice(0, 3).join(", ")}${more}`;
  return [{ code: "ipc.system-v", facet: "shared-memory", count: names.length, text }];
}
