// SPDX-License-Identifier: Apache-2.0
/** Which pages of an address space must be stored: private ones that exist, in memory or swapped out. */
import { guardRegionRow, type VmaKind } from "../gen/tables.js";
import { close, errno, extentKind, failed, findExtents, open, openFlag, smapsRow, SysError, tryPread } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { type ExtentColumns, extentRowsOf } from "../model/extent-columns.js";
import { ringLayout, ringOffset, sqesLength } from "../linux/io-uring.js";
import { isRing, unusualVmas, type VmaInfo } from "./vmas.js";

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

/** Adds the extents of one address space; their source is the process's memory, positions are addresses. */
export function collectExtents(context: DumpContext, process: DumpedProcess, mm: number, vmas: readonly VmaInfo[], source: number): void {
  const { tables } = context;
  const { extents, guardRegions } = tables;
  const emit = (start: bigint, end: bigint): void => {
    extents.push({ ownerKind: "mm", owner: mm, address: start, length: end - start, fileOffset: start, source });
  };
  const first = extents.length;
  for (const vma of unusualVmas(vmas)) if (vma.kind === "file_shared" && isRing(vma.mapping)) storeRing(context, vma, emit);
  const isOrdered = extents.length === first;
  const fd = open(`/proc/${process.pid}/pagemap`, openFlag.RDONLY);
  try {
    const { table } = vmas[0]?.mapping ?? {};
    if (table === undefined) return;
    const found = findExtents(fd, table.rows, kindsOf(vmas, table.rows.length / smapsRow.length));
    if (found === -errno.ENOTTY) {
      const builder = new ExtentBuilder(vmas, emit);
      walkPagemap(fd, vmas, builder);
      builder.finish();
      return;
    }
    if (typeof found === "number") throw new SysError("ioctl(PAGEMAP_SCAN)", -found, `process ${process.pid}`);
    const { runs, guards } = found;
    if (extents.length === 0 && runs.length >= 2 * worthColumns) tables.extents = extentRowsOf(columnsOfRuns(runs, mm, source));
    else for (let at = 0; at < runs.length; at += 2) emit(runs[at] as bigint, runs[at + 1] as bigint);
    for (let at = 0; at < guards.length; at += 2)
      guardRegions.push(guardRegionRow({ mm, start: guards[at] as bigint, end: guards[at + 1] as bigint }));
    if (!isOrdered) extents.push(...extents.splice(first).sort((a, b) => (a.address < b.address ? -1 : 1)));
  } finally {
    close(fd);
  }
}

/** Extents of the first process from which on it pays to pass them on as columns. */
const worthColumns = 256;

function columnsOfRuns(runs: BigInt64Array, mm: number, source: number): ExtentColumns {
  const count = runs.length / 2;
  const [starts, lengths] = [new Float64Array(count), new Float64Array(count)];
  // No bigints: each would be an object.
  const halves = new Uint32Array(runs.buffer, runs.byteOffset, runs.length * 2);
  for (let index = 0, at = 0; index < count; index++, at += 4) {
    const start = (halves[at] as number) + (halves[at + 1] as number) * 2 ** 32;
    starts[index] = start;
    lengths[index] = (halves[at + 2] as number) + (halves[at + 3] as number) * 2 ** 32 - start;
  }
  return { mm, source, starts, lengths, offsets: starts };
}

/** The memory of an io_uring is shared, but nobody else keeps it. A mapping may be longer than what it is of. */
function storeRing({ tables }: DumpContext, { mapping }: VmaInfo, emit: (start: bigint, end: bigint) => void): void {
  const ring = tables.ioUrings.find(({ ino }) => ino === mapping.ino);
  if (ring === undefined) return;
  // Both queues are the same memory, under two offsets.
  const queues = mapping.offset >= ringOffset.cqRing ? ringOffset.cqRing : ringOffset.rings;
  const [from, length] = mapping.offset >= ringOffset.sqes ? [ringOffset.sqes, sqesLength(ring)] : [queues, ringLayout(ring).length];
  const left = from + ((BigInt(length) + page - 1n) & ~(page - 1n)) - mapping.offset;
  const size = mapping.end - mapping.start;
  if (left > 0n) emit(mapping.start, mapping.start + (left < size ? left : size));
}

const kindOf: Readonly<Partial<Record<VmaKind, number>>> = {
  anon_private: extentKind.mayBeFull,
  file_private: extentKind.stored,
  aio_ring: extentKind.full,
  vsyscall: extentKind.noPlace,
};

/** For each of `count` mappings, what is to be found out. Those that are refused are in no `vmas`. */
function kindsOf(vmas: readonly VmaInfo[], count: number): Uint8Array {
  const areAllThere = vmas.length === count;
  const kinds = new Uint8Array(count).fill(areAllThere ? extentKind.mayBeFull : extentKind.noPlace);
  for (const { mapping, kind } of areAllThere ? unusualVmas(vmas) : vmas) kinds[mapping.index] = kindOf[kind] ?? extentKind.none;
  return kinds;
}

const PRESENT = 1n << 63n;
const SWAPPED = 1n << 62n;
const FILE = 1n << 61n;

/** Kernels before 6.7: one word a page (Documentation/admin-guide/mm/pagemap.rst). */
function walkPagemap(fd: number, vmas: readonly VmaInfo[], builder: ExtentBuilder): void {
  const words = new BigUint64Array(8192);
  const bytes = new Uint8Array(words.buffer);
  for (const { mapping, kind } of vmas) {
    if (kind === "aio_ring") builder.add(mapping.start, mapping.end);
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
