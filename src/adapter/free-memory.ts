// SPDX-License-Identifier: Apache-2.0
/** Gives memory back of which V8 does not see how much it is. */
import type { Checkpoint } from "../model/checkpoint.js";

/** Threads from which on it is worth a look at the whole heap, of some 30 ms. */
const manyThreads = 2000;

/**
 * What a dump has asked ten thousand threads is a hundred MB of buffers that nothing refers to any more when the image is
 * written, and that V8, whose own heap they are not in, would leave until it happens to look.
 */
export async function freeWhatCollectingLeft({ tables }: Checkpoint): Promise<void> {
  if (tables.threads.length < manyThreads) return;
  // What other threads have filled is let go when the event loop turns: it has not since the dump began.
  await new Promise((resolve) => setImmediate(resolve));
  // Loaded here: that takes 4 ms.
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([import("node:v8"), import("node:vm")]);
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect === "function") collect();
}
