// SPDX-License-Identifier: Apache-2.0
/** What a section is about: the tasks in question, and lookups that several sections share. */
import { syscallName } from "../../linux/syscall-numbers.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import type { ObjectRow, TaskRow, ThreadRow, VmaRow } from "../../gen/tables.js";
import { signalName } from "./names.js";

export interface Scope {
  readonly checkpoint: Checkpoint;
  /** Row numbers of the tasks in question, in table order. */
  readonly tasks: readonly number[];
  /** More than one process: headings name them. */
  readonly isTree: boolean;
}

/** `4711 (redis-server)`. */
export function taskTitle({ checkpoint }: Scope, index: number): string {
  const task = checkpoint.tables.tasks[index];
  return task === undefined ? `task #${index}` : `${task.pid} (${commOf(checkpoint, index)})`;
}

/** Name of a task's leader, or `-`. */
export function commOf(checkpoint: Checkpoint, index: number): string {
  const leader = checkpoint.threadsOf(index)[0];
  // The dead have no thread that could tell.
  const comm = leader === undefined ? (checkpoint.tables.tasks[index]?.comm ?? "") : (checkpoint.tables.threads[leader]?.comm ?? "");
  return comm === "" ? "-" : comm;
}

/** Rows of a per-task table that belong to the tasks in question. */
export function rowsOfTasks<Row extends { readonly task: number }>(rows: readonly Row[], scope: Scope): number[] {
  const wanted = new Set(scope.tasks);
  return rows.flatMap((row, index) => (wanted.has(row.task) ? [index] : []));
}

/** Address spaces of the tasks in question, each once. */
export function mmsOf({ checkpoint, tasks }: Scope): number[] {
  const mms = tasks.flatMap((task) => checkpoint.tables.tasks[task]?.mm ?? []);
  return [...new Set(mms)];
}

/** How an object is called: its path, or what it is. */
export function objectText(object: ObjectRow | undefined): string {
  if (object === undefined) return "-";
  const deleted = object.kind === "ghost" || (object.nlink === 0 && object.kind === "file" && object.ino !== 0n) ? " (deleted)" : "";
  if (object.path !== "") return `${object.kind === "memfd" ? "memfd:" : ""}${object.path}${deleted}`;
  return object.kind === "shared_memory" ? `shared memory ${object.ino}` : object.kind;
}

const stateLetters = { running: "running", stopped: "stopped", zombie: "zombie" } as const;

/** `running`, `stopped by SIGTSTP`, `zombie, exit 3`. */
export function stateText(task: TaskRow): string {
  if (task.state === "stopped") return `${stateLetters.stopped} by ${signalName(task.stopSignal)}`;
  if (task.state !== "zombie") return stateLetters[task.state];
  const signal = task.waitStatus & 0x7f;
  return `zombie, ${signal === 0 ? `exit ${(task.waitStatus >> 8) & 0xff}` : `killed by ${signalName(signal)}`}`;
}

/** Whether the thread was inside an interrupted system call (registers are kept as stopped, or already rewound). */
export function syscallText(thread: ThreadRow): string {
  const call = BigInt.asIntN(64, thread.regs.origAx);
  if (call < 0n || thread.inSyscall === 0) return "-";
  return `${syscallName(Number(call))} (${call})`;
}

/** `rw-p`, as /proc/PID/maps has it. */
export function protText(vma: VmaRow): string {
  const isShared = vma.kind === "anon_shared" || vma.kind === "file_shared" || ((vma.vmFlags >> 7n) & 1n) === 1n;
  return `${vma.prot & 1 ? "r" : "-"}${vma.prot & 2 ? "w" : "-"}${vma.prot & 4 ? "x" : "-"}${isShared ? "s" : "p"}`;
}

/** Row numbers without those that are none, each once, in order. */
export function numbersOf(references: readonly (number | null | undefined)[]): number[] {
  return [...new Set(references.filter((one) => typeof one === "number"))].sort((a, b) => a - b);
}
