// SPDX-License-Identifier: Apache-2.0
/**
 * System V IPC: shared memory, semaphores, message queues. The calls are made by crimg, in the IPC namespace of the
 * thread that makes them: the tree's own, or one that the caller has entered.
 */
import type { DumpContext } from "../context.js";
import type { MappedProcess } from "../object-contents.js";
import { collectQueues } from "./queues.js";
import { collectSegments } from "./segments.js";
import { collectSemaphores } from "./semaphores.js";
import { SystemVUsers } from "./users.js";

/** Adds all rows. What is returned stores the contents of segments that nobody of the tree has attached. */
export function collectSystemV(context: DumpContext, mapped: readonly MappedProcess[]): { storeContents(): void } {
  const users = new SystemVUsers(context);
  const storeContents = collectSegments(context, users, mapped);
  collectSemaphores(context, users);
  collectQueues(context, users);
  return { storeContents };
}
