// SPDX-License-Identifier: Apache-2.0
/** The records of one task as both formats write them: its core, and its areas. */
import { ByteReader } from "../bytes/byte-reader.js";
import { CrimgError } from "../errors/crimg-error.js";
import { coreEntrySize, readVmaEntry, vmaEntrySize } from "../gen/ckpt-elf-v1.js";
import { threadRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { coreBytes, coreToWire } from "./core.js";
import { ForeignIndex, foreignKeys } from "./foreign.js";
import { areasOf } from "./stored-pages.js";
import { vmaEntryBytes, vmaToWire } from "./vma.js";

export interface ProcessRecords {
  readonly pid: number;
  /** The core_entry. */
  readonly core: Uint8Array;
  /** The vma_entry of each area, in order. */
  readonly vmas: readonly Uint8Array[];
}

/**
 * Tasks that the formats can hold: those with an address space.
 * @throws CrimgError `rfc2011.pid` if `pid` is not one of them
 */
export function writableTasks(checkpoint: Checkpoint, pid: number | undefined): number[] {
  const { tasks } = checkpoint.tables;
  const all = [...tasks.keys()].filter((task) => tasks[task]?.mm != null);
  if (pid === undefined) return all;
  const wanted = all.filter((task) => tasks[task]?.pid === pid);
  if (wanted.length > 0) return wanted;
  throw new CrimgError("rfc2011.pid", `there is no process ${pid} with memory in this checkpoint`, {
    hint: `the processes are ${pidsOf(checkpoint, all)}`,
  });
}

/** Pids as text, at most ten of them. */
export function pidsOf(checkpoint: Checkpoint, tasks: readonly number[]): string {
  const pids = tasks.map((task) => checkpoint.tables.tasks[task]?.pid ?? 0);
  return pids.slice(0, 10).join(", ") + (pids.length > 10 ? ` and ${pids.length - 10} more` : "");
}

/** The records of a task. @throws CrimgError `rfc2011.task` for a task without a thread or address space */
export function recordsOf(checkpoint: Checkpoint, task: number, foreign: ForeignIndex): ProcessRecords {
  const { tables } = checkpoint;
  const row = tables.tasks[task];
  const mm = row?.mm == null ? undefined : tables.mms[row.mm];
  const thread = tables.threads[checkpoint.threadsOf(task)[0] ?? -1] ?? threadRow();
  if (!row || !mm) throw new CrimgError("rfc2011.task", `task ${row?.pid ?? task} has no address space`, { path: `tasks[${task}]` });
  const core = ofLength(foreign.get("tasks", task, foreignKeys.core), coreEntrySize) ?? coreBytes(coreToWire(row, thread, mm));
  const vmas = areasOf(checkpoint, task).map(
    ({ index, row: vma }) =>
      ofLength(foreign.get("vmas", index, foreignKeys.vma), vmaEntrySize) ??
      vmaEntryBytes(vmaToWire(vma, vma.object === null ? undefined : tables.objects[vma.object], row.pid)),
  );
  return { pid: row.pid, core, vmas };
}

const indices = new WeakMap<Checkpoint, ForeignIndex>();

/** The status word that an area has in the formats of 2011: what the image said, or what follows from the row. */
export function statusOfVma(checkpoint: Checkpoint, vma: number): number {
  let foreign = indices.get(checkpoint);
  if (!foreign) indices.set(checkpoint, (foreign = new ForeignIndex(checkpoint.tables)));
  const kept = ofLength(foreign.get("vmas", vma, foreignKeys.vma), vmaEntrySize);
  if (kept) return readVmaEntry(new ByteReader(kept)).status;
  const row = checkpoint.tables.vmas[vma];
  return row ? vmaToWire(row, undefined, 0).status : 0;
}

/** Kept bytes, unless they cannot be what they are said to be. */
function ofLength(bytes: Uint8Array | undefined, length: number): Uint8Array | undefined {
  return bytes?.length === length ? bytes : undefined;
}
