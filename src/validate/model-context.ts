// SPDX-License-Identifier: Apache-2.0
/** What the model rules look at, with the lookups that several of them share. */
import type { TaskRow, Tables, ThreadRow, VmaRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { Problem, Rule } from "./finding.js";

export interface ModelContext {
  readonly checkpoint: Checkpoint;
  readonly tables: Tables;
  /** Format that it was read from. */
  readonly format: string;
}

export type ModelRule = Rule<ModelContext>;

/** A rule of the `format` profile over the model; without severity it is an error. */
export function modelRule(
  rule: Omit<ModelRule, "profile" | "severity" | "check"> & { readonly severity?: ModelRule["severity"] },
  check: (context: ModelContext) => Iterable<Problem>,
): ModelRule {
  return { severity: "error", ...rule, profile: "format", check };
}

/** End of user addresses with five-level page tables (Documentation/arch/x86/x86_64/mm.rst), one guard page below 2^56. */
export const userEnd = 0x00ff_ffff_ffff_f000n;
/** The vsyscall page: the one user mapping above that. */
export const vsyscallStart = 0xffff_ffff_ff60_0000n;
export const pageSize = 4096n;

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** `4711 (name)`, for messages. */
export function taskName({ checkpoint, tables }: ModelContext, index: number): string {
  const task = tables.tasks[index];
  if (task === undefined) return `task #${index}`;
  const leader = checkpoint.threadsOf(index)[0];
  const comm = leader === undefined ? "" : tables.threads[leader]?.comm;
  return comm ? `${task.pid} (${comm})` : String(task.pid);
}

/** `20000000-20004000`. */
export function vmaRange(vma: VmaRow): string {
  return `${vma.start.toString(16)}-${vma.end.toString(16)}`;
}

/** The VMA of an address space that an address lies in. Rows may be unsorted: that is another rule's business. */
export function vmaAt({ checkpoint, tables }: ModelContext, mm: number, address: bigint): VmaRow | undefined {
  for (const index of checkpoint.vmasOf(mm)) {
    const vma = tables.vmas[index];
    if (vma !== undefined && address >= vma.start && address < vma.end) return vma;
  }
  return undefined;
}

/** A thread's address space, or null for what has none. */
export function mmOfThread({ tables }: ModelContext, thread: ThreadRow): number | null {
  const task: TaskRow | undefined = tables.tasks[thread.task];
  return task?.mm ?? null;
}
