// SPDX-License-Identifier: Apache-2.0
/** Memory that the source of a checkpoint did not have: neither zero nor the mapped file's. */
import type { AbsentRegionRow } from "../gen/tables.js";
import type { Checkpoint } from "./checkpoint.js";

/** The absent region that holds an address, or undefined. Rows may be out of order: that is a rule's business. */
export function absentAt(checkpoint: Checkpoint, mm: number, address: bigint): AbsentRegionRow | undefined {
  return checkpoint.absentOf(mm).find(({ start, end }) => start <= address && address < end);
}

/** A thread that cannot go on: the page that one of its registers points to is absent. */
export interface StrandedThread {
  /** Row of `threads`. */
  readonly thread: number;
  /** Field of `regs`. */
  readonly register: "sp" | "ip";
  readonly address: bigint;
  readonly region: AbsentRegionRow;
}

/** Threads whose stack or instruction is absent, in table order. */
export function* strandedThreads(checkpoint: Checkpoint): Generator<StrandedThread> {
  const { tables } = checkpoint;
  if (tables.absentRegions.length === 0) return;
  for (const [thread, { task, regs }] of tables.threads.entries()) {
    const mm = tables.tasks[task]?.mm ?? null;
    if (mm === null) continue;
    for (const register of ["sp", "ip"] as const) {
      const region = absentAt(checkpoint, mm, regs[register]);
      if (region) yield { thread, register, address: regs[register], region };
    }
  }
}

/** Bytes of all absent regions, by reason. */
export function absentBytes(checkpoint: Checkpoint): ReadonlyMap<string, bigint> {
  const sums = new Map<string, bigint>();
  for (const { start, end, reason } of checkpoint.tables.absentRegions) sums.set(reason, (sums.get(reason) ?? 0n) + (end - start));
  return sums;
}
