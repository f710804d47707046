// SPDX-License-Identifier: Apache-2.0
/**
 * Placing crimg on the processor of the thread it drives. A round trip of an injected call then is a switch between
 * two threads of one processor, a few microseconds, instead of waking another one that sleeps: ten times as much.
 */
import { schedGetaffinity, trySchedSetaffinity } from "../native/index.js";
import { procPath, readStat } from "./procfs.js";

let original: Buffer | undefined;
let current = -1;

/** Moves this thread to the processor on which thread `tid` last ran. Failure only costs time. */
export function pinTo(pid: number, tid: number): void {
  const cpu = Number(readStat(procPath(pid, tid))?.field(39) ?? -1n);
  if (cpu < 0 || cpu === current) return;
  original ??= schedGetaffinity(0);
  const mask = Buffer.alloc(Math.max(original.length, (cpu >> 3) + 1));
  mask.writeUInt8(1 << (cpu & 7), cpu >> 3);
  if (trySchedSetaffinity(0, mask) >= 0) current = cpu;
}

/** Notes that this thread is moved about by others: `unpin` will let it run everywhere again. */
export function drivesFrom(): void {
  original ??= schedGetaffinity(0);
  current = -1;
}

/** Lets this thread run everywhere it could before. */
export function unpin(): void {
  if (original !== undefined) trySchedSetaffinity(0, original);
  original = undefined;
  current = -1;
}
