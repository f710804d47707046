// SPDX-License-Identifier: Apache-2.0
/**
 * Placing crimg on the processor of the thread it drives. A round trip of an injected call then is a switch between
 * two threads of one processor, a few microseconds, instead of waking another one that sleeps: ten times as much.
 */
import { access } from "node:fs";
import { schedGetaffinity, trySchedSetaffinity } from "../native/index.js";
import { procPath, readStat } from "./procfs.js";

let original: Buffer | undefined;
let current = -1;
let hasHelpers = false;

/**
 * Node makes its helper threads, all at once, when it first needs one, and they may run where the thread may that makes them: made
 * while this one is kept on one processor, all would be, and two that read and write pages would take as long as one.
 */
function beforePinned(): void {
  if (!hasHelpers) access("/", () => undefined);
  hasHelpers = true;
  original ??= schedGetaffinity(0);
}

/** Moves this thread to the processor on which thread `tid` last ran. Failure only costs time. */
export function pinTo(pid: number, tid: number): void {
  const cpu = Number(readStat(procPath(pid, tid))?.field(39) ?? -1n);
  if (cpu < 0 || cpu === current) return;
  beforePinned();
  const mask = Buffer.alloc(Math.max(original?.length ?? 0, (cpu >> 3) + 1));
  mask.writeUInt8(1 << (cpu & 7), cpu >> 3);
  if (trySchedSetaffinity(0, mask) >= 0) current = cpu;
}

/** Whether this thread has been moved to where a thread of the tree was. */
export const isPinned = (): boolean => current >= 0;

/** Moves there beforehand if the thread sleeps: one that runs would have to share its processor. */
export function pinToSleeper(pid: number): void {
  if (readStat(procPath(pid))?.state === "S") pinTo(pid, pid);
}

/** Notes that this thread is moved about by others: `unpin` will let it run everywhere again. */
export function drivesFrom(): void {
  beforePinned();
  current = -1;
}

/** Lets this thread run everywhere it could before. */
export function unpin(): void {
  if (original !== undefined) trySchedSetaffinity(0, original);
  original = undefined;
  current = -1;
}
