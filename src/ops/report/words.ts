// SPDX-License-Identifier: Apache-2.0
/** Counts of a tree and of a checkpoint, for the log. */
import type { FrozenTree } from "../../dump/freeze.js";
import type { Checkpoint } from "../../model/checkpoint.js";

/** `froze 3 processes with 7 threads`. */
export function frozenText({ processes }: FrozenTree): string {
  return `froze ${processes.length} processes with ${processes.reduce((sum, { threads }) => sum + threads.length, 0)} threads`;
}

/** The tables that have rows, and how many: `tasks 1, threads 4, …`. */
export function modelText({ tables }: Checkpoint): string {
  return Object.entries(tables)
    .filter(([, rows]) => rows.length > 0)
    .map(([name, rows]) => `${name} ${rows.length}`)
    .join(", ");
}
