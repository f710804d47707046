// SPDX-License-Identifier: Apache-2.0
/** All small states, by what they are states of, and ways through them. */
import type { MmRow, TaskRow, ThreadRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { mmStates } from "./mm-states.js";
import type { AnyState, StateLoss } from "./state.js";
import { taskStates } from "./task-states.js";
import { threadStates } from "./thread-states.js";

export { mmStates, taskStates, threadStates };

export type TaskStateName = keyof typeof taskStates;
export type ThreadStateName = keyof typeof threadStates;
export type MmStateName = keyof typeof mmStates;

/** Names of the states that CRIU's images keep. */
type Kept<States extends Record<string, { readonly criu: unknown }>> = {
  [Name in keyof States]: States[Name]["criu"] extends "kept" ? Name : never;
}[keyof States];
export type KeptTaskState = Kept<typeof taskStates>;
export type KeptThreadState = Kept<typeof threadStates>;
export type KeptMmState = Kept<typeof mmStates>;

/** The rows by name, where the names are all alike. */
export const statesOfTask: Readonly<Record<string, AnyState<TaskRow>>> = taskStates;
export const statesOfThread: Readonly<Record<string, AnyState<ThreadRow>>> = threadStates;
export const statesOfMm: Readonly<Record<string, AnyState<MmRow>>> = mmStates;

/** A state that is not what a fresh process has. */
export interface UnusualState {
  /** Its key in the table. */
  readonly name: string;
  readonly title: string;
  readonly value: string;
  readonly criu: "kept" | StateLoss;
  /** Row of tasks. */
  readonly task: number;
  /** `process 4711`, `thread 4712 of 4711`. */
  readonly holder: string;
}

/** The states of some tasks, their threads and address spaces that differ from a fresh process's. */
export function unusualStates(checkpoint: Checkpoint, tasks: Iterable<number>): UnusualState[] {
  const { tables } = checkpoint;
  const found: UnusualState[] = [];
  function add<Row>(states: Readonly<Record<string, AnyState<Row>>>, row: Row, task: number, holder: string): void {
    for (const [name, { title, show, criu }] of Object.entries(states)) {
      const value = show(row);
      if (value !== undefined) found.push({ name, title, value, criu, task, holder });
    }
  }
  for (const task of tasks) {
    const row = tables.tasks[task];
    if (row === undefined || row.state === "zombie") continue;
    const mm = row.mm === null ? undefined : tables.mms[row.mm];
    add(statesOfTask, row, task, `process ${row.pid}`);
    if (mm !== undefined) add(statesOfMm, mm, task, `process ${row.pid}`);
    for (const index of checkpoint.threadsOf(task)) {
      const thread = tables.threads[index];
      if (thread !== undefined) add(statesOfThread, thread, task, `thread ${thread.tid} of ${row.pid}`);
    }
  }
  return found;
}

/** `timer slack of thread 5 of 4, umask of process 4 and 2 more`. */
export function namesOfStates(states: readonly UnusualState[]): string {
  const shown = states.slice(0, 3).map(({ title, holder }) => `${title} of ${holder}`);
  return `${shown.join(", ")}${states.length > shown.length ? ` and ${states.length - shown.length} more` : ""}`;
}
