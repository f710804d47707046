// SPDX-License-Identifier: Apache-2.0
/** Which pages of an address space must be stored: private ones that exist, in memory or swapped out. */
import { extentRow, guardRegionRow } from "../gen/tables.js";
import { close, errno, failed, open, openFlag, pageIs, scanPages, SysError, tryPread } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import type { VmaInfo } from "./vmas.js";

const page = 4096n;

/** Joins runs of pages into extents that stay within one mapping. */
class ExtentBuilder {
  #start = 0n;
  #end = 0n;
  #vma = 0;

  constructor(
    private readonly vmas: readonly VmaInfo[],
    private readonly emit: (start: bigint, end: bigint) => void,
  ) {}

  /** Takes the next run; runs come in ascending order. Parts outside private mappings are not stored. */
  add(start: bigint, end: bigint): void {
    for (; this.#vma < this.vmas.length; this.#vma++) {
      const vma = this.vmas[this.#vma] as VmaInfo;
      if (vma.mapping.end <= start) continue;
      if (vma.mapping.start >= end) return;
      const from = start > vma.mapping.start ? start : vma.mapping.start;
      const to = end < vma.mapping.end ? end : vma.mapping.end;
      if (vma.kind === "anon_private" || vma.kind === "file_private" || vma.kind === "aio_ring")
        this.#join(from, to, from === vma.mapping.start);
      if (end <= vma.mapping.end) return;
    }
  }

  #join(start: bigint, end: bigint, isNewMapping: boolean): void {
    if (start === this.#end && !isNewMapping) {
      this.#end = end;
      return;
    }
    this.finish();
    this.#start = start;
    this.#end = end;
  }

  finish(): void {
    if (this.#end > this.#start) this.emit(this.#start, this.#end);
    this.#start = this.#end = 0n;
  }
}

/** Records guarded pages, a row a mapping: an advice call may not cross a gap. */
function addGuards(context: DumpContext, mm: number, vmas: readonly VmaInfo[], start: bigint, end: bigint): void {
  for (const { mapping } of vmas) {
    if (mapping.end <= start || mapping.start >= end) continue;
    const row = guardRegionRow({
      mm,
      start: start > mapping.start ? start : mapping.start,
      end: end < mapping.end ? end : mapping.end,
    });
    context.tables.guardRegions.push(row);
  }
}

/** Adds the extents of one address space; their source is the process's memory, positions are addresses. */
export function collectExtents(context: DumpContext, process: DumpedProcess, mm: number, vmas: readonly VmaInfo[], source: number): void {
  const builder = new ExtentBuilder(vmas, (start, end) => {
    context.tables.extents.push(extentRow({ ownerKind: "mm", owner: mm, address: start, length: end - start, fileOffset: start, source }));
  });
  const fd = open(`/proc/${process.pid}/pagemap`, openFlag.RDONLY);
  try {
    for (const stretch of stretchesOf(vmas)) {
      if (stretch.isFull) builder.add(startOf(stretch), endOf(stretch));
      else scan(fd, process.pid, stretch, builder, (start, end) => addGuards(context, mm, vmas, start, end));
    }
    builder.finish();
  } finally {
    close(fd);
  }
}

/** Bytes from which a full mapping is worth a stretch of its own. */
const largeMapping = 4n << 20n;

/** Part of an address space. Nobody needs to look which pages of a full one exist: all do. */
interface Stretch {
  readonly vmas: VmaInfo[];
  readonly isFull: boolean;
}

const startOf = ({ vmas }: Stretch): bigint => vmas[0]?.mapping.start ?? 0n;
const endOf = ({ vmas }: Stretch): bigint => vmas.at(-1)?.mapping.end ?? 0n;

/** The address space as few stretches: what lies between large mappings that are full is one. */
function stretchesOf(vmas: readonly VmaInfo[]): Stretch[] {
  const stretches: Stretch[] = [];
  for (const vma of vmas) {
    const { start, end, anonymous } = vma.mapping;
    if (vma.kind === "vsyscall") continue;
    const isFull = vma.kind === "aio_ring" || (vma.kind === "anon_private" && anonymous === end - start && anonymous >= largeMapping);
    const last = stretches.at(-1);
    if (isFull || last === undefined || last.isFull) stretches.push({ vmas: [vma], isFull });
    else last.vmas.push(vma);
  }
  return stretches;
}

/** Which pages of a stretch exist, and which are guards. */
function scan(fd: number, pid: number, stretch: Stretch, builder: ExtentBuilder, onGuard: (start: bigint, end: bigint) => void): void {
  const clean = pageIs.FILE | pageIs.PFNZERO;
  const withCategories = (returned: bigint): number =>
    scanPages(
      fd,
      { start: startOf(stretch), end: endOf(stretch), inverted: clean, mask: clean, anyOf: pageIs.PRESENT | pageIs.SWAPPED, returned },
      (start, end, categories) => {
        if ((categories & pageIs.GUARD) === 0n) builder.add(start, end);
        else onGuard(start, end);
      },
    );
  // Guard markers look like swapped pages; kernels before 6.15 do not know the category.
  let result = withCategories(pageIs.GUARD);
  if (result === -errno.EINVAL) result = withCategories(0n);
  if (result === -errno.ENOTTY) walkPagemap(fd, stretch.vmas, builder);
  else if (failed(result)) throw new SysError("ioctl(PAGEMAP_SCAN)", -result, `process ${pid}`);
}

const PRESENT = 1n << 63n;
const SWAPPED = 1n << 62n;
const FILE = 1n << 61n;

/** Kernels before 6.7: one word a page (Documentation/admin-guide/mm/pagemap.rst). */
function walkPagemap(fd: number, vmas: readonly VmaInfo[], builder: ExtentBuilder): void {
  const words = new BigUint64Array(8192);
  const bytes = new Uint8Array(words.buffer);
  for (const { mapping, kind } of vmas) {
    if (kind !== "anon_private" && kind !== "file_private") continue;
    for (let at = mapping.start; at < mapping.end; ) {
      const left = Number((mapping.end - at) / page);
      const count = Math.min(left, words.length);
      const got = tryPread(fd, bytes.subarray(0, count * 8), (at / page) * 8n);
      if (failed(got)) throw new SysError("read", -got, "pagemap");
      if (got < 8) break;
      for (let index = 0; index < got >> 3; index++) {
        const word = words[index] ?? 0n;
        if ((word & (PRESENT | SWAPPED)) === 0n || (word & FILE) !== 0n) continue;
        const start = at + BigInt(index) * page;
        builder.add(start, start + page);
      }
      at += BigInt(got >> 3) * page;
    }
  }
}
