// SPDX-License-Identifier: Apache-2.0
/** What it takes to make one mapping again, as data; memory.ts turns plans into ops, tests judge them without a kernel. */
import type { VmaRow } from "../gen/tables.js";
import { vmaProtBits, vmaVmFlagsBits as vm } from "../gen/tables.js";
import { MFD_HUGE_SHIFT } from "../linux/huge-pages.js";
import { MADV, MAP, PROT } from "./constants.js";
import { mayWrite } from "./shared-memory.js";

/** Flags that come and go by themselves and so must not tell mappings apart: soft-dirty. */
const volatileFlags = vm.sd;

export interface VmaPlan {
  readonly vma: VmaRow;
  /** How it comes to be: a new mapping, a window of staged shared memory, or not by us (vDSO and kin). */
  readonly source: "mmap" | "staging" | "kernel";
  /** Flags for mmap, without MAP_FIXED_NOREPLACE. */
  readonly mapFlags: number;
  /** Protection while pages are loaded. */
  readonly loadProt: number;
  readonly prot: number;
  /** madvise values, in order. */
  readonly advice: readonly number[];
  /** mlock2 flags, or undefined. */
  readonly lock: number | undefined;
  /**
   * The kernel would merge it with the mapping before it, which was separate at the dump. It stays separate if both
   * have pages of their own (different anon_vma) before they become alike: see memory.ts.
   */
  readonly isSeparate: boolean;
}

/** @param isMerged the address space is under PR_SET_MEMORY_MERGE */
export function planVma(vma: VmaRow, hasPages: boolean, isSeparate: boolean, isMerged: boolean): VmaPlan {
  const has = (flag: bigint) => (vma.vmFlags & flag) !== 0n;
  const prot = vma.prot & (vmaProtBits.read | vmaProtBits.write | vmaProtBits.exec);
  // A ring's content waits in private memory until its context is made (aio-rings.ts).
  const isPrivate = vma.kind === "anon_private" || vma.kind === "file_private" || vma.kind === "aio_ring";
  let mapFlags: number = isPrivate ? MAP.private : MAP.shared;
  if (vma.kind === "anon_private" || vma.kind === "aio_ring") mapFlags |= MAP.anonymous;
  if (has(vm.gd) || (vma.vmFlags === 0n && vma.isStack === 1)) mapFlags |= MAP.growsdown;
  if (has(vm.nr)) mapFlags |= MAP.noreserve;
  // A file says by itself of which pages it is.
  if (has(vm.ht) && vma.kind !== "file_private" && vma.kind !== "file_shared") mapFlags |= hugeMapFlags(vma.hugeShift);
  if (has(vm.dp)) mapFlags = (mapFlags & ~MAP.private) | MAP.droppable;
  // Memory that is or once was writable is accounted (ac); so is what we make writable to fill it.
  const mustWrite = hasPages || (isPrivate && has(vm.ac)) || isSeparate;
  const advice: number[] = [];
  if (has(vm.hg)) advice.push(MADV.hugepage);
  if (has(vm.nh)) advice.push(MADV.nohugepage);
  if (has(vm.rr)) advice.push(MADV.random);
  if (has(vm.sr)) advice.push(MADV.sequential);
  if (has(vm.dc) && !has(vm.io)) advice.push(MADV.dontfork);
  if (has(vm.wf)) advice.push(MADV.wipeonfork);
  if (has(vm.dd) && !has(vm.io) && !has(vm.dp)) advice.push(MADV.dontdump);
  if (has(vm.mg)) advice.push(MADV.mergeable);
  // Every new mapping is mergeable there.
  else if (isMerged && isPrivate) advice.push(MADV.unmergeable);
  return {
    vma,
    source: sourceOf(vma),
    mapFlags,
    // A window of staged memory is born readable and writable.
    // That of System V memory attached with SHM_RDONLY may never be written.
    loadProt:
      vma.kind === "anon_shared" ? (mayWrite(vma) ? PROT.read | PROT.write : PROT.read) : mustWrite ? prot | PROT.read | PROT.write : prot,
    prot,
    advice,
    lock: has(vm.lo) ? (has(vm.lf) ? 1 : 0) : undefined,
    isSeparate,
  };
}

/** MAP_HUGETLB with the size of pages; formats that do not know it have the default size. */
export function hugeMapFlags(shift: number): number {
  return (MAP.hugetlb | (shift << MFD_HUGE_SHIFT)) >>> 0;
}

function sourceOf(vma: VmaRow): VmaPlan["source"] {
  switch (vma.kind) {
    case "vdso":
    case "vvar":
    case "vsyscall":
    case "special":
      return "kernel";
    case "anon_shared":
      return "staging";
    default:
      return "mmap";
  }
}

/** True if the kernel would make one mapping of both, though they were two. */
export function isSeparateFrom(before: VmaRow | undefined, vma: VmaRow, ignored: bigint = volatileFlags): boolean {
  if (before === undefined || before.end !== vma.start || before.kind !== vma.kind) return false;
  if (vma.kind !== "anon_private" && vma.kind !== "file_private") return false;
  if (before.prot !== vma.prot || before.pkey !== vma.pkey || before.name !== vma.name || before.object !== vma.object) return false;
  if (((before.vmFlags ^ vma.vmFlags) & ~ignored) !== 0n) return false;
  return vma.kind === "anon_private" || before.offset + (before.end - before.start) === vma.offset;
}

/**
 * Whether two neighbours would be one mapping if both were accounted, or none. The kernel forgets that of what cannot be written
 * and has never had a page: it must have had one.
 */
export function isAlikeButForAccount(before: VmaRow | undefined, vma: VmaRow | undefined): boolean {
  if (before === undefined || vma === undefined || ((before.vmFlags ^ vma.vmFlags) & vm.ac) === 0n) return false;
  return isSeparateFrom(before, vma, volatileFlags | vm.ac);
}

/** Accounted memory that cannot be written (mprotect_fixup in the kernel). */
export function isForgotten({ kind, prot, vmFlags }: VmaRow): boolean {
  return kind === "anon_private" && (vmFlags & vm.ac) !== 0n && (prot & PROT.write) === 0;
}
