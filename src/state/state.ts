// SPDX-License-Identifier: Apache-2.0
/**
 * A small state of a task, a thread or an address space: one row that says all about it. The rows stand in
 * task-states.ts, thread-states.ts and mm-states.ts; dump, lowering, show, validation and the formats go through them,
 * so a row is all that a new state takes, besides its field in the spec.
 */
import type { MmRow, TaskRow, ThreadRow } from "../gen/tables.js";
import type { Asking } from "./asking.js";
import type { Setting } from "./setting.js";

/** When in the resume of a task a state is set, in this order. Within a phase the order is that of the rows. */
export const phases = [
  /** By the process, while /proc is in reach: before the root directory changes. */
  "proc",
  /** By the process, when its mappings are made and before their protection is the last. */
  "memory",
  /** By the process, when memory and descriptors are there and no other thread is. */
  "process",
  /** By each thread, before its credentials. */
  "thread",
  /** By each thread, after its credentials, and nothing that takes privilege comes later. */
  "credentials",
  /** By the process, when the first process holds all threads: what would keep it from doing so. */
  "last",
  /** By the first process, on each thread that it holds: what would change the thread's own calls. */
  "traced",
] as const;
export type Phase = (typeof phases)[number];

/** Where a state goes that a format has no field for. */
export interface StateLoss {
  /** Code and words of the loss. */
  readonly code: string;
  readonly facet: "tree" | "threads" | "memory" | "credentials" | "scheduling" | "fs" | "fpu";
  readonly text: string;
}

/** The row of a state. `Row` is what it is a state of, `Field` its fields there, `Criu` whether CRIU's images have it. */
export interface State<Row, Field extends keyof Row = keyof Row, Criu extends "kept" | StateLoss = "kept" | StateLoss> {
  /** Its name, in `show` and in messages. */
  readonly title: string;
  readonly fields: readonly Field[];
  /** Reads it from a thread that stands still; for tasks and address spaces, from the first thread of the process. */
  readonly read: (ask: Asking) => Pick<Row, Field>;
  readonly phase: Phase;
  /** Sets it again; makes no call for what a fresh process has. */
  readonly set: (setting: Setting, row: Row) => void;
  /** Its value for people; undefined where it is what a fresh process has, or shown elsewhere. */
  readonly show: (row: Row) => string | undefined;
  /** What is wrong with a value that no kernel gives; undefined if nothing is. */
  readonly check: (row: Row) => string | undefined;
  /** `kept`: formats/criu/map/states.ts maps it; else the loss of what `show` shows. */
  readonly criu: Criu;
}

/** A row where it does not matter which fields it has. */
export interface AnyState<Row> extends Omit<State<Row>, "read"> {
  readonly read: (ask: Asking) => Partial<Row>;
}

/** Says that a state is shown in a section of its own or belongs to every thread. */
export const shownElsewhere = (): undefined => undefined;
/** Every value of the field's width may be. */
export const anyValue = (): undefined => undefined;

/** A state of a process. */
export const ofTask = <Field extends keyof TaskRow, Criu extends "kept" | StateLoss>(
  state: State<TaskRow, Field, Criu>,
): State<TaskRow, Field, Criu> => state;

/** A state of a thread. */
export const ofThread = <Field extends keyof ThreadRow, Criu extends "kept" | StateLoss>(
  state: State<ThreadRow, Field, Criu>,
): State<ThreadRow, Field, Criu> => state;

/** A state of an address space. */
export const ofMm = <Field extends keyof MmRow, Criu extends "kept" | StateLoss>(
  state: State<MmRow, Field, Criu>,
): State<MmRow, Field, Criu> => state;
