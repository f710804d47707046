// SPDX-License-Identifier: Apache-2.0
/** What the lowering asks of each kind of open file. Every kind has one (kinds.ts), in `src/kinds/KIND/lower.ts`. */
import type { OpenFileRow } from "../../gen/tables.js";
import type { Arg, Slot } from "../operands.js";
import type { FileSlots } from "./shared.js";

/** How the open files of one kind come to be again. Files are named by their row in `files`. */
export interface FileLowering {
  /**
   * Ops of the first process, before any fork: opens the `members`, which are all files of the kind but the late ones.
   * Every task inherits what is open then, so sharing comes by itself.
   */
  open(slots: FileSlots, members: readonly number[]): Opened;
  /** Files that can be opened only when the processes of the tree exist. Absent: there are none of this kind. */
  readonly late?: LateOpening;
  /** Numbers of the caller's standard streams that the file takes over or needs (`slots.stream`). Absent: none. */
  streamsNeeded?(slots: FileSlots, file: number): readonly number[];
  /** What a task gets at number `fd`, where that differs from the file's slot. */
  sourceAt?(slots: FileSlots, file: number, fd: number): Slot | undefined;
  /**
   * What is set at last, when every process exists and has its descriptors: once a file, by the first task that holds
   * it, through number `fd`. For a file that only a message holds the first process does it before any fork.
   */
  finish?(slots: FileSlots, file: number, fd: Arg): void;
  /** A slave, open in the first process, of the terminal of this kind that a session of the tree controls. */
  controllingTerminal?(slots: FileSlots, session: number): Slot | undefined;
  /**
   * Ops of the first process at the very end, once a file: every task has its descriptors, and what the restore had open
   * is closed, but for `slot`, which is the file, and what `context.keepLast` keeps. Must not be late.
   */
  settle?(slots: FileSlots, file: number, slot: Slot): void;
  /** Ops of a task after all its files are finished. */
  finishTask?(slots: FileSlots, task: number): void;
}

/** What `open` made. */
export interface Opened {
  /** The high descriptor of every member. A member that has none is an error. */
  readonly slots: ReadonlyMap<number, Slot>;
  /** Ops of the first process once the files of all kinds are open, such as filling queues with files in flight. */
  complete?(): void;
}

export interface LateOpening {
  applies(slots: FileSlots, file: OpenFileRow): boolean;
  /** Ops of a task that holds the file at `fd`; the slot returned has whatever number is free. */
  open(slots: FileSlots, file: OpenFileRow, fd: number): Slot;
}

/** `open` of kinds whose files have nothing to do with one another. */
export function eachAlone(open: (slots: FileSlots, file: number) => Slot): FileLowering["open"] {
  return (slots, members) => ({ slots: new Map(members.map((file) => [file, open(slots, file)])) });
}
