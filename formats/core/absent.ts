// SPDX-License-Identifier: Apache-2.0
/**
 * What a core does not hold and nothing else gives: rows of `absent_regions`.
 *
 * A PT_LOAD without bytes says two things. The kernel writes none for private memory that was never written to, which is
 * zero (or the file's), and none for what coredump_filter or MADV_DONTDUMP leave out, which is lost. Which of the two is told
 * by the rest: where some private memory has bytes, the filter let private memory pass (fs/coredump.c: vma_dump_size).
 */
import { type AbsentRegionRow, absentRegionRow, type MutableTables, type VmaRow } from "../../src/gen/tables.js";
import { type MissingRange, rangesWithin, type StoredRange } from "./mappings.js";

export interface Missing extends MissingRange {
  readonly reason: string;
}

export interface AbsentInput {
  /** Ascending. */
  readonly stored: readonly StoredRange[];
  /** What the core promises and does not have. */
  readonly missing: readonly Missing[];
  /** `missing` is all there is to say: what has no bytes otherwise is zero or the file's. */
  readonly isComplete: boolean;
  /** Whether the ELF segment that a page of a private file mapping belongs to is writable. */
  readonly isWritable: (vma: VmaRow, address: bigint) => boolean;
}

/** Why the end of a core is missing. */
export const cutOff = "the core was cut off";

const reasons = {
  private: "the core leaves private memory out (coredump_filter)",
  shared: "the core leaves shared memory out (coredump_filter)",
  stack: "the core leaves it out (MADV_DONTDUMP or coredump_filter)",
  deleted: "the file is deleted, and the core does not hold its pages",
} as const;

/** Appends rows for address space 0. Its vmas, objects, extents and threads are there already. */
export function addAbsentRegions(tables: MutableTables, input: AbsentInput): void {
  const anonymous = tables.vmas.filter(({ kind }) => kind === "anon_private");
  const hasBytes = ({ start, end }: VmaRow) =>
    rangesWithin(input.stored, start, end).length > 0 || input.missing.some((one) => one.start < end && start < one.end);
  const hasPrivate = anonymous.some(hasBytes);
  const stacks = new Set(
    tables.threads.flatMap(({ regs }) => anonymous.filter((vma) => vma.start <= regs.sp && regs.sp < vma.end && !hasBytes(vma))),
  );
  const withExtents = new Set(tables.extents.flatMap(({ ownerKind, owner }) => (ownerKind === "object" ? [owner] : [])));
  const reasonFor = (vma: VmaRow, address: bigint): string | undefined => {
    if (input.isComplete) return undefined;
    const object = vma.object === null ? undefined : tables.objects[vma.object];
    if (vma.kind === "anon_private") return hasPrivate ? (stacks.has(vma) ? reasons.stack : undefined) : reasons.private;
    if (!object) return undefined;
    if (object.kind === "shared_memory" || object.kind === "memfd") return withExtents.has(vma.object ?? -1) ? undefined : reasons.shared;
    if (object.kind === "ghost") return reasons.deleted;
    return !hasPrivate && input.isWritable(vma, address) ? reasons.private : undefined;
  };
  // What a core promises and lacks is the file's all the same where nobody could write to it.
  const isFiles = (vma: VmaRow, address: bigint) =>
    vma.object !== null && tables.objects[vma.object]?.kind === "file" && !input.isWritable(vma, address);
  const rows: AbsentRegionRow[] = [];
  for (const vma of tables.vmas) {
    if (vma.kind === "vdso" || vma.kind === "vvar" || vma.kind === "vsyscall" || vma.kind === "special") continue;
    for (const gap of gapsOf(vma, input.stored)) {
      let at = gap.start;
      for (const { start, end, reason } of input.missing) {
        const from = start > at ? start : at;
        const to = end < gap.end ? end : gap.end;
        if (to <= from) continue;
        add(rows, at, from, reasonFor(vma, at));
        if (!isFiles(vma, from)) add(rows, from, to, reason);
        at = to;
      }
      add(rows, at, gap.end, reasonFor(vma, at));
    }
  }
  tables.absentRegions.push(...rows);
}

function add(rows: AbsentRegionRow[], start: bigint, end: bigint, reason: string | undefined): void {
  if (reason !== undefined && end > start) rows.push(absentRegionRow({ mm: 0, start, end, reason }));
}

/** Parts of a mapping of which the core has no bytes. */
function* gapsOf({ start, end }: VmaRow, stored: readonly StoredRange[]): Generator<MissingRange> {
  let at = start;
  for (const { address, length } of rangesWithin(stored, start, end)) {
    if (address > at) yield { start: at, end: address };
    at = address + length;
  }
  if (at < end) yield { start: at, end };
}
