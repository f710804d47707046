// SPDX-License-Identifier: Apache-2.0
/**
 * The address space of a task. When its ops start, only the hole and the staged shared memory are mapped, so every
 * MAP_FIXED_NOREPLACE must succeed; when they end, every mapping of the model is there and the staging area is gone.
 */
import { type ExtentRow, type MemoryPolicyRow, type MmRow, type VmaRow, vmaVmFlagsBits } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { memoryPolicyText, needsNodes, nodesArguments } from "../state/memory-policy.js";
import { makeAioRing } from "./aio-rings.js";
import { ARCH, MADV, MAP, MREMAP, O, PR, PR_SET_MM_MAP, PR_SET_VMA_ANON_NAME, PROT, pageSize } from "./constants.js";
import { ringName } from "../linux/io-uring.js";
import { firstExtentEndingAfter } from "../model/ascending.js";
import { withoutRanges } from "../model/shared-pages.js";
import { extentColumns } from "../model/extent-columns.js";
import { columnsOf, type SpaceColumns } from "../model/space-columns.js";
import { type Inheritance, subtract } from "./inheritance.js";
import type { LazyMemory } from "./lazy.js";
import { type MappingRun, protectRanges } from "./mapping-runs.js";
import type { ObjectOpener } from "./objects.js";
import type { Slot } from "./operands.js";
import type { OtherVdso } from "./other-vdso.js";
import type { ProgramBuilder } from "./program-builder.js";
import { mapRings, type RingMapping } from "./ring-mappings.js";
import { columnsOfExtents, rangesOf, type StoredColumns } from "./page-loading.js";
import { isWorthProtecting, type ReadingParts, readPages, readWhileProtecting } from "./read-pages.js";
import { mayWrite, noHugePages, type StagedMemory } from "./shared-memory.js";
import { SHM } from "../linux/sysv-ipc.js";
import { planSpace, protectionsWithin, type ProtectedSoon, type SpacePlan } from "./space-plan.js";
import type { VmaPlan } from "./vma-plan.js";

/** vm.mmap_min_addr; PR_SET_MM_MAP refuses lower addresses. */
const mmapMinAddr = 0x10000n;

export interface MemoryParts {
  readonly checkpoint: Checkpoint;
  readonly builder: ProgramBuilder;
  readonly objects: ObjectOpener;
  readonly staged: StagedMemory;
  readonly imageFd: Slot;
  /** Undefined where nothing can come later. */
  readonly lazy: LazyMemory | undefined;
  /** Undefined where no other vDSO than that of the dump will do. */
  readonly otherVdso: OtherVdso | undefined;
}

/** Opens what the mappings and the exe link of an address space need. Ops of the first process. */
export function openMappedObjects(parts: MemoryParts, mm: number, subject: string): void {
  for (const vma of columnsOf(parts.checkpoint, mm).otherRows()) mappedFd(parts, vma, subject);
  const exe = parts.checkpoint.tables.mms[mm]?.exe ?? null;
  if (exe !== null) exeFd(parts, exe, subject);
}

/** Makes the address space. Ops of the task. */
export function lowerMemory(parts: MemoryParts & ReadingParts, mmIndex: number, subject: string, inherited?: Inheritance): void {
  const { checkpoint, builder: b } = parts;
  const mm = checkpoint.tables.mms[mmIndex];
  if (mm === undefined) return;
  const space = columnsOf(checkpoint, mmIndex);
  const others = space.otherRows();
  // Memory that the kernel may drop at any time is dropped here: random number generators keep their state in it, and
  // two programs resumed from one image must not go on with the same one.
  const mayBeDropped = ({ vmFlags }: VmaRow): boolean => (vmFlags & vmaVmFlagsBits.dp) !== 0n;
  const droppable = [...space.samples, ...others].some(mayBeDropped) ? rowsOf(space).filter(mayBeDropped) : [];
  const known = inherited === undefined && droppable.length === 0 ? extentColumns(checkpoint) : undefined;
  let rows: readonly ExtentRow[] | undefined;
  const extentRows = (): readonly ExtentRow[] => (rows ??= rowsToRead(checkpoint, mmIndex, droppable, inherited));
  const stored = known === undefined ? columnsOfExtents(extentRows()) : { ...known, sources: undefined };
  const plan = planSpace(space, rangesOf(stored), {
    isMerged: mm.memoryMerge === 1,
    isAlone: inherited === undefined ? undefined : (vma) => inherited.kept.has(vma),
  });

  if (inherited === undefined) mapVdso(parts, others);
  setMmFields(parts, mm, subject, inherited !== undefined);
  let before: number | undefined;
  const policies = checkpoint.tables.memoryPolicies.filter((row) => row.mm === mmIndex);
  const rings: RingMapping[] = [];
  for (const run of plan.runs) {
    const { first } = run;
    if (isRing(parts, first.vma)) rings.push({ vma: first.vma, fd: mappedFd(parts, first.vma, subject) as Slot, prot: first.loadProt });
    else if (inherited?.kept.has(first.vma) === true) openForPages(b, first, extentRows());
    else {
      if (run.count === 1) mapVma(parts, first, before, subject);
      else mapRun(b, space, plan, run);
      for (let index = 0; index < run.count && policies.length > 0; index++) setMemoryPolicies(b, space.row(run.from + index), policies);
    }
    before = run.lastProt;
  }
  if (rings.length > 0) {
    const taken = rowsOf(space).filter((vma) => !isRing(parts, vma));
    mapRings(b, rings, [...taken, ...(parts.staged.range === undefined ? [] : [parts.staged.range])]);
  }
  for (const { start, end } of inherited?.dropped ?? []) {
    b.syscall("madvise", [start, end - start, MADV.dontneed], { message: `drop ${hex(start)}-${hex(end)}, which only the parent has` });
  }
  const isSimple = inherited === undefined && policies.length === 0 && !checkpoint.tables.guardRegions.some((row) => row.mm === mmIndex);
  const isSoon = isSimple && isWorthProtecting(plan.soon, stored);
  if (!isSoon && plan.soon.words.length > 0) plan.later.add(0, plan.soon.words);
  readStored(parts, mmIndex, plan.large, stored, extentRows, isSoon ? plan.soon : undefined);
  for (const vma of others) if (vma.kind === "aio_ring") makeAioRing(b, vma);
  for (const { mm, start, end } of checkpoint.tables.guardRegions) {
    if (mm !== mmIndex) continue;
    b.syscall("madvise", [start, end - start, MADV.guardInstall], {
      message: `guard ${hex(start)}-${hex(end)}`,
      hint: "MADV_GUARD_INSTALL needs Linux 6.13, for mappings of files 6.15",
    });
  }
  finishVmas(b, plan, inherited?.kept ?? new Set());
}

/** What the kernel maps into every program. */
function mapVdso({ builder: b, otherVdso }: MemoryParts, vmas: readonly VmaRow[]): void {
  const start = vmas.find((vma) => vma.kind === "vdso" || vma.kind === "vvar")?.start;
  if (start === undefined) return;
  const [other, done] = [b.label("the vDSO is another"), b.label("the vDSO is mapped")];
  if (otherVdso !== undefined) b.jumpIf(otherVdso.isOther, "ne", 0, other);
  // The lowest address of [vvar] is honoured exactly, provided that no vDSO is mapped.
  b.syscall("arch_prctl", [ARCH.mapVdso64, start], { message: `map the vDSO at ${hex(start)}` });
  if (otherVdso === undefined) return;
  b.jump(done);
  b.place(other);
  otherVdso.map(vmas);
  b.place(done);
}

/** Stored pages that are not there already. */
function rowsToRead(
  checkpoint: Checkpoint,
  mm: number,
  droppable: readonly VmaRow[],
  inherited: Inheritance | undefined,
): readonly ExtentRow[] {
  const own = withoutRanges(checkpoint.extentsOf({ mm }), inherited?.shared ?? []);
  const isKept = ({ address, length }: ExtentRow): boolean => !droppable.some((vma) => address >= vma.start && address + length <= vma.end);
  return droppable.length === 0 ? own : own.filter(isKept);
}

/** Stored pages; in a lazy resume only those that cannot come later. `soon`: what is to be protected as well. */
function readStored(
  parts: MemoryParts & ReadingParts,
  mm: number,
  large: readonly VmaPlan[],
  stored: StoredColumns,
  rows: () => readonly ExtentRow[],
  soon: ProtectedSoon | undefined,
): void {
  const { builder: b, lazy } = parts;
  const space = lazy?.spaces.get(mm);
  const readAll = (): void => {
    if (soon === undefined) readPages(parts, large, stored);
    else readWhileProtecting(parts, large, stored, soon);
  };
  if (lazy === undefined || space === undefined) {
    readAll();
    return;
  }
  const eager = b.label("all memory is read");
  const done = b.label("memory is read");
  b.jumpIf(lazy.isLazy, "eq", 0, eager);
  readPages(parts, large, columnsOfExtents(withoutRanges(rows(), space.ranges)));
  if (soon !== undefined) protectRanges(b, soon.words, 0);
  b.jump(done);
  b.place(eager);
  readAll();
  b.place(done);
}

/** Ops of the task, when it and those who inherit its memory have taken their windows. */
export function unmapStaging({ builder: b, staged }: MemoryParts): void {
  if (staged.range === undefined) return;
  const { start, end } = staged.range;
  b.syscall("munmap", [start, end - start], { message: "unmap the staging area" });
}

/**
 * Ops of a task that was forked when its parent had its memory: takes away the parent's mappings, but for those kept.
 * (What lies between them may be the restore's own.)
 */
export function unmapParents(parts: MemoryParts, parentMm: number, inherited: Inheritance | undefined): void {
  const { checkpoint, builder: b } = parts;
  const kept = [...(inherited?.kept ?? [])];
  const isGoing = ({ kind }: VmaRow): boolean => kind !== "vsyscall" && (inherited === undefined || (kind !== "vdso" && kind !== "vvar"));
  const runs: { start: bigint; end: bigint }[] = [];
  for (const vma of rowsOf(columnsOf(checkpoint, parentMm))) {
    if (!isGoing(vma)) continue;
    for (const { start, end } of subtract(vma, kept)) {
      const last = runs.at(-1);
      if (last?.end === start) last.end = end;
      else runs.push({ start, end });
    }
  }
  if (inherited === undefined) parts.otherVdso?.unmap();
  for (const { start, end } of runs) {
    b.syscall("munmap", [start, end - start], { message: `take away ${hex(start)}-${hex(end)} of the parent` });
  }
}

/** A mapping that is kept from the parent, and in which pages have to be read. */
function openForPages(
  b: ProgramBuilder,
  { vma, loadProt, prot }: VmaPlan,
  extents: readonly Pick<ExtentRow, "address" | "length">[],
): void {
  const extent = extents[firstExtentEndingAfter(extents, vma.start)];
  if (loadProt === prot || extent === undefined || extent.address >= vma.end) return;
  const where = `${hex(vma.start)}-${hex(vma.end)}`;
  b.syscall("mprotect", [vma.start, vma.end - vma.start, loadProt], { message: `protect ${where}` });
}

/** @param before the protection of the mapping before it while pages are loaded */
function mapVma(parts: MemoryParts, plan: VmaPlan, before: number | undefined, subject: string): void {
  const { builder: b } = parts;
  const { vma } = plan;
  const length = vma.end - vma.start;
  const where = `${hex(vma.start)}-${hex(vma.end)}`;
  switch (plan.source) {
    case "kernel":
      return;
    case "staging": {
      if (mapHugeWindow(parts, vma)) break;
      const window = parts.staged.windowOf(vma);
      if (window === undefined) return;
      b.syscall("mremap", [window, 0, length, MREMAP.maymove | MREMAP.fixed, vma.start], {
        expect: vma.start,
        message: `map shared memory at ${where}`,
      });
      break;
    }
    case "mmap": {
      const fd = mappedFd(parts, vma, subject);
      // Unlike the mapping before it for as long as both get pages: see VmaPlan.isSeparate.
      const prot = plan.isSeparate ? (before === 0 ? PROT.read : 0) : plan.loadProt;
      b.syscall(
        "mmap",
        [
          vma.start,
          length,
          prot,
          plan.mapFlags | MAP.fixedNoreplace,
          fd ?? -1,
          vma.kind === "anon_private" || vma.kind === "aio_ring" ? 0 : vma.offset,
        ],
        {
          expect: vma.start,
          message: `map ${describe(parts, vma)} at ${where}`,
          hint: vma.kind === "anon_private" ? noMemory : undefined,
        },
      );
      if (plan.isSeparate) {
        b.syscall("madvise", [vma.start, length, MADV.random], { message: `set ${where} apart` });
        b.syscall("mprotect", [vma.start, length, plan.loadProt], { message: `protect ${where}` });
      }
    }
  }
  adviseAndName(b, plan, vma.start, vma.end);
}

/** Mappings that differ in nothing but their protection, by one call. */
function mapRun(b: ProgramBuilder, space: SpaceColumns, plan: SpacePlan, run: MappingRun): void {
  const { first, birth } = run;
  const [start, end] = [first.vma.start, BigInt(run.end)];
  b.syscall("mmap", [start, end - start, birth, first.mapFlags | MAP.fixedNoreplace, -1, 0], {
    expect: start,
    message: `map memory at ${hex(start)}-${hex(end)}`,
    hint: noMemory,
  });
  adviseAndName(b, first, start, end);
  protectionsWithin(space, plan, run).protect(b);
}

const noMemory = "there is not enough memory, or a limit (ulimit -v, vm.max_map_count) is lower than at the dump";

function adviseAndName(b: ProgramBuilder, { vma, advice }: VmaPlan, start: bigint, end: bigint): void {
  for (const one of advice) {
    b.syscall("madvise", [start, end - start, one], { message: `give advice ${one} on ${hex(start)}-${hex(end)}` });
  }
  if (vma.name !== "" && (vma.kind === "anon_private" || vma.kind === "anon_shared")) {
    // Kernels without CONFIG_ANON_VMA_NAME refuse; names are for people only.
    b.syscall("prctl", [PR.setVma, PR_SET_VMA_ANON_NAME, start, end - start, b.string(vma.name)], { expect: "any" });
  }
}

/** A window of shared memory of huge pages; false for ordinary memory. */
function mapHugeWindow({ builder: b, staged }: MemoryParts, vma: VmaRow): boolean {
  const huge = staged.hugeWindowOf(vma);
  if (huge === undefined) return false;
  const length = vma.end - vma.start;
  const done = { expect: vma.start, message: `map huge pages at ${hex(vma.start)}-${hex(vma.end)}`, hint: noHugePages };
  if ("segment" in huge) b.syscall("shmat", [huge.segment, vma.start, mayWrite(vma) ? 0 : SHM.rdonly], done);
  else {
    const prot = mayWrite(vma) ? PROT.read | PROT.write : PROT.read;
    b.syscall("mmap", [vma.start, length, prot, MAP.shared | MAP.fixedNoreplace, huge.fd, vma.offset], done);
  }
  return true;
}

/** Policies of a mapping that was just made; its pages come later, and from the nodes named. */
function setMemoryPolicies(b: ProgramBuilder, vma: VmaRow, policies: readonly MemoryPolicyRow[]): void {
  for (const { start, end, mode, nodes } of policies) {
    if (start < vma.start || start >= vma.end) continue;
    const [mask, bits] = nodesArguments(nodes);
    b.syscall("mbind", [start, end - start, mode, mask instanceof Uint8Array ? b.bytes(mask) : 0, bits, 0], {
      message: `set memory policy ${memoryPolicyText(mode, nodes)} of ${hex(start)}-${hex(end)}`,
      hint: needsNodes,
    });
  }
}

/** What comes after the pages. */
function finishVmas(b: ProgramBuilder, { separate, held, touched, later, sealed }: SpacePlan, kept: ReadonlySet<VmaRow>): void {
  for (const { before, plan } of separate) {
    // What came by a fork is not joined with what did not.
    if (kept.has(plan.vma)) continue;
    for (const { start } of [before, plan.vma]) b.syscall("madvise", [start, pageSize, MADV.populateWrite], { expect: "any" });
    const { start, end } = plan.vma;
    const isAdvised = plan.advice.includes(MADV.random) || plan.advice.includes(MADV.sequential);
    if (!isAdvised) b.syscall("madvise", [start, end - start, MADV.normal], { message: `take the advice on ${hex(start)} back` });
  }
  for (const { vma, lock, prot } of held) {
    const length = vma.end - vma.start;
    const where = `${hex(vma.start)}-${hex(vma.end)}`;
    if (lock !== undefined) {
      b.syscall("mlock2", [vma.start, length, lock], {
        message: `lock ${where} in memory`,
        hint: "raise the limit on locked memory (ulimit -l)",
      });
    }
    if (vma.pkey !== 0) {
      b.syscall("pkey_mprotect", [vma.start, length, prot, vma.pkey], { message: `protect ${where} by key ${vma.pkey}` });
    }
  }
  for (const vma of touched) {
    if (kept.has(vma)) continue;
    b.syscall("madvise", [vma.start, pageSize, MADV.populateWrite], { expect: "any" });
    b.syscall("madvise", [vma.start, pageSize, MADV.dontneed], { expect: "any" });
  }
  // Only now: memory that cannot be written any more stays accounted only where it has had pages.
  later.protect(b);
  for (const { start, end } of sealed) {
    // Nothing can be done to it any more.
    b.syscall("mseal", [start, end - start, 0], { message: `seal ${hex(start)}-${hex(end)}`, hint: "mseal needs Linux 6.10" });
  }
}

/**
 * Command line, environment, brk, auxiliary vector and the exe link, as /proc shows them. They come before the mappings:
 * until then they name the unmapped stack of the image, and whoever reads /proc/PID/cmdline would make a restored stack
 * grow down to it, if it is near enough (expand_stack in the kernel's __access_remote_vm).
 */
function setMmFields(parts: MemoryParts, mm: MmRow, subject: string, keepsExe: boolean): void {
  const { builder: b } = parts;
  if (mm.startStack < mmapMinAddr) return;
  // Formats that do not know a field leave it 0, which the kernel refuses: the stack's start stands in.
  const known = (value: bigint) => (value < mmapMinAddr ? mm.startStack : value);
  const [startCode, endCode] = mm.endCode > mm.startCode ? [known(mm.startCode), known(mm.endCode)] : [mm.startStack, mm.startStack + 1n];
  const auxv = mm.auxv.length > 0 ? b.bytes(mm.auxv) : 0;
  const map = b.u8s(
    startCode,
    endCode,
    known(mm.startData),
    known(mm.endData),
    known(mm.startBrk),
    known(mm.brk),
    mm.startStack,
    known(mm.argStart),
    known(mm.argEnd),
    known(mm.envStart),
    known(mm.envEnd),
    auxv,
    BigInt(mm.auxv.length) | (0xffff_ffffn << 32n),
  );
  const withoutExe = b.label("mm fields without exe link");
  const done = b.label("mm fields are set");
  if (mm.exe !== null && !keepsExe) {
    b.store4(map.at(100), exeFd(parts, mm.exe, subject));
    b.syscall("prctl", [PR.setMm, PR_SET_MM_MAP, map, 104, 0], { orElse: withoutExe });
    b.jump(done);
    b.place(withoutExe);
    b.store4(map.at(100), 0xffff_ffff);
  }
  b.syscall("prctl", [PR.setMm, PR_SET_MM_MAP, map, 104, 0], { message: "set the memory fields (brk, command line, auxiliary vector)" });
  b.place(done);
}

function exeFd(parts: MemoryParts, exe: number, subject: string): Slot {
  return parts.objects.openToMap(exe, false, { flags: O.rdonly, purpose: `as program of ${subject}`, mustBeUnchanged: true });
}

function mappedFd(parts: MemoryParts, vma: VmaRow, subject: string): Slot | undefined {
  if (vma.kind !== "file_private" && vma.kind !== "file_shared") return undefined;
  if (vma.object === null) return undefined;
  const isWritable = vma.kind === "file_shared" && ((vma.prot & PROT.write) !== 0 || (vma.vmFlags & vmaVmFlagsBits.mw) !== 0n);
  return parts.objects.openToMap(vma.object, isWritable, {
    flags: isWritable ? O.rdwr : O.rdonly,
    purpose: `mapped by ${subject}`,
    // Shared writable pages are the file's own business: its time may change at any writeback.
    mustBeUnchanged: vma.kind === "file_private",
  });
}

function isRing({ checkpoint }: MemoryParts, { object }: VmaRow): boolean {
  return object !== null && checkpoint.tables.objects[object]?.path === ringName;
}

function describe(parts: MemoryParts, vma: VmaRow): string {
  if (vma.object === null) return vma.isStack === 1 ? "[stack]" : vma.isHeap === 1 ? "[heap]" : "memory";
  return parts.checkpoint.tables.objects[vma.object]?.path || "memory";
}

function rowsOf(space: SpaceColumns): VmaRow[] {
  return Array.from({ length: space.count }, (_, index) => space.row(index));
}

function hex(value: bigint): string {
  return value.toString(16);
}
