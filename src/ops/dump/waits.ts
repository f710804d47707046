// SPDX-License-Identifier: Apache-2.0
/** What a dump waits for when its image is complete: that others have seen what became of the tree. */
import type { FrozenTree } from "../../dump/freeze.js";
import { processExists, procPath, readStat } from "../../dump/procfs.js";

/** Longest wait for others to do what is asked of them, milliseconds. */
const othersMs = 500;

async function waitUntil(isSo: () => boolean): Promise<void> {
  const end = performance.now() + othersMs;
  while (!isSo() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 1));
}

/**
 * Until its parent reaps a process its pid stays taken, and the image could not be resumed at once. A parent that does
 * not look (it may be stopped, or waiting for us) is not waited for long.
 */
export function untilReaped({ processes }: FrozenTree, waiters: readonly number[]): Promise<void> {
  const hasEnded = (pid: number): boolean => /^[ZX]?$/.test(readStat(procPath(pid))?.state ?? "");
  // What waited for the program ends as the program did; whether somebody looks at that end is not our business.
  return waitUntil(() => !processes.some(({ pid }) => processExists(pid)) && waiters.every(hasEnded));
}

/** Until then SIGSTOP is pending: who looks at the tree, or dumps it again, would find it so. */
export function untilStopped({ processes }: FrozenTree): Promise<void> {
  const goesOn = (pid: number): boolean => !/^[TZX]?$/.test(readStat(procPath(pid))?.state ?? "");
  return waitUntil(() => !processes.some(({ pid }) => goesOn(pid)));
}
