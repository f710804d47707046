// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the pages that a process still shares with its parent since a fork: the kernel's page tables of both name the same
 * page, or, for who may not see page numbers, pages that are not theirs alone have the same bytes. The child's extents then
 * name the parent's bytes, which are stored once.
 */
import type { ExtentRow, MutableTables } from "../gen/tables.js";
import { overlapsOf } from "../model/shared-pages.js";
import { close, failed, openFlag, samePages, tryOpen, tryPread } from "../native/index.js";

const page = 4096n;
/** Words of /proc/PID/pagemap looked at in one go. */
const maxWords = 1 << 16;
/** Upper halves of the words (Documentation/admin-guide/mm/pagemap.rst): bits 63 present, 62 swapped, 56 mapped once. */
const [there, exclusive, numberBits] = [0xc000_0000, 0x0100_0000, 0x007f_ffff] as const;

/** Descriptors, of the child and of its parent. */
type Pair = readonly [number, number];

/** An address space with its process, and the one that it may share pages with. */
export interface Space {
  readonly mm: number;
  readonly pid: number;
  readonly parent?: Space;
}

/**
 * Replaces the extents of address spaces by ones that name the bytes of their parents where both have the same pages. Parents come
 * first: what a child shares with its parent, and that one with its own, is the first one's.
 */
export function shareWithParents(tables: MutableTables, spaces: readonly Space[]): void {
  if (!spaces.some(({ parent }) => parent !== undefined)) return;
  const extents = new Map<number, ExtentRow[]>();
  for (const row of tables.extents) {
    if (row.ownerKind !== "mm") continue;
    const known = extents.get(row.owner);
    if (known === undefined) extents.set(row.owner, [row]);
    else known.push(row);
  }
  const files = new MemoryFiles();
  const changed = new Set<number>();
  try {
    for (const child of spaces) {
      const [own, ofParent] = [extents.get(child.mm), extents.get(child.parent?.mm ?? -1)];
      if (child.parent === undefined || own === undefined || ofParent === undefined) continue;
      const shared = sharedRows(files, [child, child.parent], own, ofParent);
      if (shared.length === 0) continue;
      extents.set(child.mm, replaced(own, shared));
      changed.add(child.mm);
    }
  } finally {
    files.close();
  }
  if (changed.size === 0) return;
  // Those of an address space lie behind each other.
  const put = new Set<number>();
  const rows = tables.extents.splice(0);
  for (const row of rows) {
    if (row.ownerKind !== "mm" || !changed.has(row.owner)) tables.extents.push(row);
    else if (!put.has(row.owner)) {
      put.add(row.owner);
      for (const one of extents.get(row.owner) ?? []) tables.extents.push(one);
    }
  }
}

/** Files of /proc/PID, opened when they are wanted; those of a parent serve all of its children. */
class MemoryFiles {
  readonly #open = new Map<string, number>();

  /** Descriptors, or −errno. */
  of(name: "pagemap" | "mem", spaces: readonly [Space, Space]): Pair {
    // Only those of the two are kept.
    const wanted = spaces.map(({ pid }) => `/proc/${pid}/${name}`);
    for (const [path, fd] of this.#open) {
      if (wanted.includes(path) || !path.endsWith(name)) continue;
      if (!failed(fd)) close(fd);
      this.#open.delete(path);
    }
    return wanted.map((path) => {
      const fd = this.#open.get(path) ?? tryOpen(path, openFlag.RDONLY);
      this.#open.set(path, fd);
      return fd;
    }) as [number, number];
  }

  close(): void {
    for (const fd of this.#open.values()) if (!failed(fd)) close(fd);
    this.#open.clear();
  }
}

/** Rows of what the first of two spaces shares with the second. */
function sharedRows(
  files: MemoryFiles,
  both: readonly [Space, Space],
  own: readonly ExtentRow[],
  ofParent: readonly ExtentRow[],
): ExtentRow[] {
  const overlaps = [...overlapsOf(own, ofParent)];
  if (overlaps.length === 0) return [];
  const maps = files.of("pagemap", both);
  if (maps.some(failed)) return [];
  const rows: ExtentRow[] = [];
  const take = ({ left, right }: (typeof overlaps)[number], from: bigint, to: bigint): void => {
    const fileOffset = right.fileOffset + (from - right.address);
    rows.push({ ...left, address: from, length: to - from, source: right.source, fileOffset });
  };
  const ranges = new BigInt64Array(overlaps.length * 2);
  overlaps.forEach(({ start, end }, index) => {
    ranges[index * 2] = start;
    ranges[index * 2 + 1] = end;
  });
  const runs = samePages(...maps, ranges);
  if (typeof runs === "number") {
    // Not process_vm_readv, which pins what it reads: a pinned page is no longer shared.
    const memories = files.of("mem", both);
    for (const overlap of overlaps) samePagesByContent(maps, memories, overlap.start, overlap.end, (from, to) => take(overlap, from, to));
    return rows;
  }
  let overlap = 0;
  for (let index = 0; index < runs.length; index += 2) {
    const [from, to] = [runs[index] as bigint, runs[index + 1] as bigint];
    while ((overlaps[overlap]?.end ?? to) <= from) overlap++;
    take(overlaps[overlap] as (typeof overlaps)[number], from, to);
  }
  return rows;
}

/** `own`, with `shared` in the place of what lies there. Both ascend, and each of `shared` lies in one of `own`. */
function replaced(own: readonly ExtentRow[], shared: readonly ExtentRow[]): ExtentRow[] {
  const rows: ExtentRow[] = [];
  let next = 0;
  for (const extent of own) {
    const end = extent.address + extent.length;
    let at = extent.address;
    const keep = (to: bigint): void => {
      if (to > at) rows.push({ ...extent, address: at, length: to - at, fileOffset: extent.fileOffset + (at - extent.address) });
    };
    for (; next < shared.length && (shared[next] as ExtentRow).address < end; next++) {
      const part = shared[next] as ExtentRow;
      keep(part.address);
      rows.push(part);
      at = part.address + part.length;
    }
    keep(end);
  }
  return rows;
}

/** Calls `take` for runs of [start, end) that are the same pages in both. */
function samePagesByContent(maps: Pair, memories: Pair, start: bigint, end: bigint, take: (from: bigint, to: bigint) => void): void {
  for (let at = start; at < end; ) {
    const left = Number((end - at) / page);
    const count = Math.min(left, maxWords);
    const [mine, theirs] = maps.map((fd) => wordsAt(fd, at, count));
    if (mine === undefined || theirs === undefined) return;
    let from = -1;
    for (let index = 0; index <= count; index++) {
      const isSame = index < count && isSamePage(mine, theirs, index, memories, at + BigInt(index) * page);
      if (isSame && from < 0) from = index;
      if (!isSame && from >= 0) {
        take(at + BigInt(from) * page, at + BigInt(index) * page);
        from = -1;
      }
    }
    at += BigInt(count) * page;
  }
}

/** Two u4 a page, low half first. */
function wordsAt(fd: number, address: bigint, count: number): Uint32Array | undefined {
  const words = new Uint32Array(count * 2);
  const bytes = new Uint8Array(words.buffer);
  return tryPread(fd, bytes, (address / page) * 8n) === bytes.length ? words : undefined;
}

function isSamePage(mine: Uint32Array, theirs: Uint32Array, index: number, memories: Pair, address: bigint): boolean {
  const [low, high] = [mine[index * 2] ?? 0, mine[index * 2 + 1] ?? 0];
  const [otherLow, otherHigh] = [theirs[index * 2] ?? 0, theirs[index * 2 + 1] ?? 0];
  if ((high & there) === 0 || (high & there) !== (otherHigh & there)) return false;
  if (low !== 0 || (high & numberBits) !== 0) return low === otherLow && (high & numberBits) === (otherHigh & numberBits);
  // Page numbers are for CAP_SYS_ADMIN only.
  return (high & exclusive) === 0 && (otherHigh & exclusive) === 0 && isSameContent(memories, address);
}

const buffers = [Buffer.alloc(Number(page)), Buffer.alloc(Number(page))] as const;

function isSameContent([mine, theirs]: Pair, address: bigint): boolean {
  if (failed(mine) || failed(theirs)) return false;
  const [a, b] = buffers;
  return tryPread(mine, a, address) === a.length && tryPread(theirs, b, address) === b.length && a.equals(b);
}
