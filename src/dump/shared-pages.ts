// SPDX-License-Identifier: Apache-2.0
/**
 * Finds the pages that a process still shares with its parent since a fork: the kernel's page tables of both name the same
 * page, or, for who may not see page numbers, pages that are not theirs alone have the same bytes. The child's extents then
 * name the parent's bytes, which are stored once.
 */
import type { ExtentRow, MutableTables } from "../gen/tables.js";
import { overlapsOf } from "../model/shared-pages.js";
import { close, failed, openFlag, tryOpen, tryPread } from "../native/index.js";

const page = 4096n;
/** Words of /proc/PID/pagemap looked at in one go. */
const maxWords = 1 << 16;
/** Upper halves of the words (Documentation/admin-guide/mm/pagemap.rst): bits 63 present, 62 swapped, 56 mapped once. */
const [there, exclusive, numberBits] = [0xc000_0000, 0x0100_0000, 0x007f_ffff] as const;

/** Descriptors, of the child and of its parent. */
type Pair = readonly [number, number];

/** An address space with its process. */
export interface Space {
  readonly mm: number;
  readonly pid: number;
}

/** Replaces the extents of `child` by ones that name the bytes of `parent` where both have the same pages. */
export function shareWithParent(tables: MutableTables, child: Space, parent: Space): void {
  const ofParent = tables.extents.filter(({ ownerKind, owner }) => ownerKind === "mm" && owner === parent.mm);
  const first = tables.extents.findIndex(({ ownerKind, owner }) => ownerKind === "mm" && owner === child.mm);
  const own = tables.extents.filter(({ ownerKind, owner }) => ownerKind === "mm" && owner === child.mm);
  if (first < 0 || ofParent.length === 0) return;
  const overlaps = [...overlapsOf(own, ofParent)];
  if (overlaps.length === 0) return;
  const openBoth = (name: string): Pair =>
    [child, parent].map(({ pid }) => tryOpen(`/proc/${pid}/${name}`, openFlag.RDONLY)) as [number, number];
  // Not process_vm_readv, which pins what it reads: a pinned page is no longer shared.
  const [maps, memories] = [openBoth("pagemap"), openBoth("mem")];
  try {
    if (maps.some(failed)) return;
    const shared: ExtentRow[] = [];
    for (const { start, end, left, right } of overlaps) {
      const take = (from: bigint, to: bigint): void => {
        const row = {
          ...left,
          address: from,
          length: to - from,
          source: right.source,
          fileOffset: right.fileOffset + (from - right.address),
        };
        shared.push(row);
      };
      samePages(maps, memories, start, end, take);
    }
    if (shared.length > 0) tables.extents.splice(first, own.length, ...replaced(own, shared));
  } finally {
    for (const fd of [...maps, ...memories]) if (!failed(fd)) close(fd);
  }
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
function samePages(maps: Pair, memories: Pair, start: bigint, end: bigint, take: (from: bigint, to: bigint) => void): void {
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
