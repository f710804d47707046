// SPDX-License-Identifier: Apache-2.0
/**
 * Sharing by copy-on-write comes back as it came to be: a child is forked when its parent has its memory, keeps the
 * mappings in which both have the same pages, drops and reads what differs, and makes everything else anew.
 *
 * Only a child that its parent forks directly inherits, and only mappings that are alike in both: what a fork does not
 * pass on as it is (MADV_DONTFORK, MADV_WIPEONFORK, guards, locks in an odd state) is made anew. Where either address
 * space has what a fork passes on and what only an empty one can be given (protection keys, merging of equal pages,
 * memory policies), the child has nothing from its parent.
 */
import { type MmRow, type VmaRow, vmaVmFlagsBits as vm } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { firstEndingAfter } from "../model/ascending.js";
import { type SharedRange, sharedRanges } from "../model/shared-pages.js";
import type { TaskPlan } from "./tree-plan.js";

/** Bytes from which waiting for the parent's memory is worth it, however much that is. */
const leastShared = 256n << 10n;
/** Bytes of the parent's that are there so soon that waiting for them costs nothing. */
const soonThere = 2n << 20n;

/** What a task takes over from its parent. */
export interface Inheritance {
  /** Its own rows of mappings that it keeps, ascending. */
  readonly kept: ReadonlySet<VmaRow>;
  /** Pages in them that are the parent's and its own, ascending. */
  readonly shared: readonly SharedRange[];
  /** Pages that the parent has there, and it has not. */
  readonly dropped: readonly SharedRange[];
}

/** Flags that come and go (sd), or are no matter of a fork (lo, lf: locks are not inherited, and set again). */
const ignoredFlags = vm.sd | vm.lo | vm.lf;
const notInherited = vm.dc | vm.wf | vm.dp | vm.sl | vm.ht | vm.io | vm.pf | vm.um | vm.uw | vm.ui | vm.gu | vm.ss;

/** By task. */
export function planInheritance(checkpoint: Checkpoint, tasks: readonly TaskPlan[]): ReadonlyMap<number, Inheritance> {
  const plans = new Map<number, Inheritance>();
  for (const { task, row, early, late } of tasks) {
    for (const child of [...early, ...late]) {
      const childRow = checkpoint.tables.tasks[child];
      if (row.mm === null || childRow?.mm === null || childRow === undefined || row.state === "zombie" || childRow.state === "zombie")
        continue;
      if (childRow.parent !== task) continue;
      const plan = planOne(checkpoint, childRow.mm, row.mm);
      if (plan !== undefined) plans.set(child, plan);
    }
  }
  return plans;
}

function planOne(checkpoint: Checkpoint, child: number, parent: number): Inheritance | undefined {
  const { mms, guardRegions } = checkpoint.tables;
  if (!isLikeProgram(mms[child], mms[parent])) return undefined;
  if ([child, parent].some((mm) => isOneOfAKind(checkpoint, mm))) return undefined;
  const [own, others] = [rowsOf(checkpoint, child), rowsOf(checkpoint, parent)];
  // A sealed mapping of the parent could not be taken away.
  if (others.some(({ vmFlags }) => (vmFlags & vm.sl) !== 0n)) return undefined;
  const isKernels = ({ kind }: VmaRow): boolean => kind === "vdso" || kind === "vvar" || kind === "vsyscall" || kind === "special";
  const kernels = [own, others].map((rows) =>
    rows
      .filter(isKernels)
      .map(({ kind, start, end }) => `${kind} ${start} ${end}`)
      .join(),
  );
  if (kernels[0] !== kernels[1]) return undefined;
  const [extents, parentExtents] = [checkpoint.extentsOf({ mm: child }), checkpoint.extentsOf({ mm: parent })];
  const shared = sharedRanges(extents, parentExtents);
  const bytes = shared.reduce((sum, { start, end }) => sum + (end - start), 0n);
  const toWaitFor = parentExtents.reduce((sum, { length }) => sum + length, 0n);
  if (bytes === 0n || (bytes < leastShared && toWaitFor > soonThere)) return undefined;
  const guarded = guardRegions.filter(({ mm }) => mm === child || mm === parent);
  const kept = new Set<VmaRow>();
  const hasShared = (row: VmaRow): boolean => shared.some(({ start, end }) => start < row.end && row.start < end);
  own.forEach((row, index) => {
    const other = others[firstEndingAfter(others, row.start)];
    if (other === undefined || !isPartOf(row, other)) return;
    // Two of the child's in one of the parent's would be one again, but where one of them is made anew: a mapping that came by a
    // fork and has pages is not joined with another that has none (is_mergeable_anon_vma in the kernel's mm/vma.c).
    const isOneOf = (neighbour: VmaRow | undefined): boolean =>
      neighbour !== undefined && isPartOf(neighbour, other) && hasShared(neighbour);
    if (isOneOf(own[index - 1]) || isOneOf(own[index + 1])) return;
    if (guarded.some(({ start, end }) => start < row.end && row.start < end)) return;
    if (hasShared(row)) kept.add(row);
  });
  if (kept.size === 0) return undefined;
  const within = (ranges: readonly SharedRange[]): SharedRange[] => [...kept].flatMap((row) => clip(ranges, row));
  const has = extents.map(({ address, length }) => ({ start: address, end: address + length }));
  const dropped = within(parentExtents.flatMap(({ address, length }) => subtract({ start: address, end: address + length }, has)));
  return { kept, shared: within(shared), dropped };
}

/** The exe link cannot be set again while a mapping of the program is there (EBUSY): it has to be the parent's. */
function isLikeProgram(child: MmRow | undefined, parent: MmRow | undefined): boolean {
  return child !== undefined && parent !== undefined && child.exe === parent.exe;
}

/** Whoever is forked from such an address space begins with its keys, merging and policies, wanted or not. */
function isOneOfAKind({ tables }: Checkpoint, mm: number): boolean {
  const row = tables.mms[mm];
  return row === undefined || row.pkeys !== 0 || row.memoryMerge !== 0 || tables.memoryPolicies.some((policy) => policy.mm === mm);
}

function rowsOf(checkpoint: Checkpoint, mm: number): VmaRow[] {
  return checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
}

/** Whether a mapping of the child is a mapping of the parent, or a part of it that nothing else tells from the rest. */
function isPartOf(row: VmaRow, other: VmaRow): boolean {
  if (row.kind !== "anon_private" && row.kind !== "file_private") return false;
  if (row.start < other.start || row.end > other.end) return false;
  if (((row.vmFlags | other.vmFlags) & notInherited) !== 0n) return false;
  if ((row.vmFlags & ~ignoredFlags) !== (other.vmFlags & ~ignoredFlags)) return false;
  if (row.kind === "file_private" && row.offset - row.start !== other.offset - other.start) return false;
  const places: ReadonlySet<string> = new Set(["mm", "vmFlags", "start", "end", "offset"]);
  return (Object.keys(row) as (keyof VmaRow)[]).every((field) => places.has(field) || row[field] === other[field]);
}

/** Parts of ranges (ascending, disjoint) that lie in another. */
export function clip(ranges: readonly SharedRange[], { start, end }: SharedRange): SharedRange[] {
  const parts: SharedRange[] = [];
  for (let index = firstEndingAfter(ranges, start); index < ranges.length; index++) {
    const range = ranges[index] as SharedRange;
    if (range.start >= end) break;
    parts.push({ start: range.start > start ? range.start : start, end: range.end < end ? range.end : end });
  }
  return parts;
}

/** `range` without what ascending `others` cover. */
export function subtract(range: SharedRange, others: readonly SharedRange[]): SharedRange[] {
  const rest: SharedRange[] = [];
  let at = range.start;
  for (let index = firstEndingAfter(others, at); index < others.length && at < range.end; index++) {
    const { start, end } = others[index] as SharedRange;
    if (start >= range.end) break;
    if (start > at) rest.push({ start: at, end: start });
    if (end > at) at = end;
  }
  if (at < range.end) rest.push({ start: at, end: range.end });
  return rest;
}
