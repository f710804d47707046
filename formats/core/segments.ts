// SPDX-License-Identifier: Apache-2.0
/** Which mappings become which PT_LOADs, and with how many bytes. */
import type { Checkpoint } from "../../src/model/checkpoint.js";
import type { ObjectRow, VmaRow } from "../../src/gen/tables.js";
import type { MemoryRun, MemoryView } from "../../src/pages/memory-view.js";

/** VmFlags dd (VM_DONTDUMP) and io (VM_IO). */
const neverDumped = (1n << 26n) | (1n << 14n);
const pageSize = 4096n;
/**
 * Untouched memory from this length on is left out of a mapping that has pages elsewhere: runtimes reserve gigabytes and
 * sanitizers 20 TiB, while files end at 16 TiB on ext4. Below it the bytes are in the core (as a hole), as the kernel has
 * them, so that a debugger reads zeros there.
 */
export const reserveBytes = 64n << 20n;

/** A PT_LOAD: [start, end) in memory, of which the first `fileSize` bytes are in the core. */
export interface Segment {
  readonly start: bigint;
  readonly end: bigint;
  /** PF_* bits. */
  readonly flags: number;
  readonly fileSize: bigint;
  /** What makes up those bytes; empty if the bytes are `bytes`. */
  readonly runs: readonly MemoryRun[];
  /** Bytes that are no memory of the model: the kernel's vDSO. */
  readonly bytes?: Uint8Array;
}

export interface SegmentOptions {
  /** All file pages too. */
  readonly isFull: boolean;
  /** Bytes of [vdso], if known. */
  readonly vdso?: Uint8Array;
}

/** The PT_LOADs of an address space, ascending. */
export function segmentsOf(checkpoint: Checkpoint, memory: MemoryView, options: SegmentOptions): Segment[] {
  return checkpoint.vmasOf(memory.mm).flatMap((index) => {
    const vma = checkpoint.tables.vmas[index] as VmaRow;
    const object = vma.object === null ? undefined : checkpoint.tables.objects[vma.object];
    return ofVma(vma, object, memory, options);
  });
}

function ofVma(vma: VmaRow, object: ObjectRow | undefined, memory: MemoryView, options: SegmentOptions): Segment[] {
  const flags = segmentFlags(vma.prot);
  const bare: Segment = { start: vma.start, end: vma.end, flags, fileSize: 0n, runs: [] };
  if (vma.kind === "vdso" && options.vdso?.length === Number(vma.end - vma.start)) {
    return [{ ...bare, fileSize: vma.end - vma.start, bytes: options.vdso }];
  }
  if (vma.kind !== "anon_private" && vma.kind !== "anon_shared" && vma.kind !== "file_private" && vma.kind !== "file_shared") return [bare];
  if ((vma.vmFlags & neverDumped) !== 0n && !options.isFull) return [bare];
  const runs = [...memory.runs(vma.start, vma.end)];
  // The kernel writes no byte of private memory that nobody has written to (it has no anon_vma).
  if (vma.kind === "anon_private" && runs.every(({ origin }) => origin.kind === "zero")) return [bare];
  if (options.isFull || isDumped(vma, object, runs)) return split(bare, runs);
  const head = isHeadOfElf(vma, memory) ? runs[0] : undefined;
  return head ? [{ ...bare, fileSize: pageSize, runs: [{ ...head, length: pageSize }] }] : [bare];
}

/** The default coredump_filter, 0x33: anonymous memory, private and shared, and private file mappings written to. */
function isDumped(vma: VmaRow, object: ObjectRow | undefined, runs: readonly MemoryRun[]): boolean {
  if (vma.kind === "anon_private" || vma.kind === "anon_shared") return true;
  // Files without a name count as anonymous shared memory (fs/coredump.c: vma_dump_size looks at i_nlink).
  if (vma.kind === "file_shared") return object !== undefined && object.kind !== "file";
  // The first page alone comes from a core, which has it for the ELF header in it: it tells of no write.
  const isHead = ({ address, length }: MemoryRun) =>
    vma.offset === 0n && (vma.prot & 2) === 0 && address === vma.start && length === pageSize;
  return runs.some((run) => run.origin.kind === "stored" && !isHead(run));
}

/** The kernel dumps the first page of a mapping that begins with an ELF header, for the build-id in it. */
function isHeadOfElf(vma: VmaRow, memory: MemoryView): boolean {
  if (vma.kind !== "file_private" || vma.offset !== 0n || (vma.prot & 1) === 0) return false;
  const [run] = memory.runs(vma.start, vma.start + pageSize);
  if (!run || run.origin.kind === "absent" || run.length < 4n) return false;
  const magic = new Uint8Array(4);
  memory.readInto(vma.start, magic);
  return magic[0] === 0x7f && magic[1] === 0x45 && magic[2] === 0x4c && magic[3] === 0x46;
}

/** One segment if all bytes can be had; else one for each stretch that can, and one for each that cannot or is a reserve. */
function split(whole: Segment, runs: readonly MemoryRun[]): Segment[] {
  const segments: { start: bigint; end: bigint; isAbsent: boolean; runs: MemoryRun[] }[] = [];
  for (const run of withReserves(runs)) {
    const isAbsent = run.origin.kind === "absent" || isReserve(run);
    const last = segments.at(-1);
    if (last && last.isAbsent === isAbsent) {
      last.end = run.address + run.length;
      last.runs.push(run);
    } else segments.push({ start: run.address, end: run.address + run.length, isAbsent, runs: [run] });
  }
  return segments.map(({ start, end, isAbsent, runs: own }) => ({
    start,
    end,
    flags: whole.flags,
    fileSize: isAbsent ? 0n : end - start,
    runs: isAbsent ? [] : own,
  }));
}

function isReserve({ origin, length }: MemoryRun): boolean {
  return origin.kind === "zero" && length >= reserveBytes;
}

/**
 * Zero runs with the first page apart where they begin a mapping: something of a mapping must be in the core to tell it
 * from one that the core lacks.
 */
function* withReserves(runs: readonly MemoryRun[]): Generator<MemoryRun> {
  const [first] = runs;
  if (first?.origin.kind !== "zero" || first.length < reserveBytes + pageSize) return yield* runs;
  yield { ...first, length: pageSize };
  yield { ...first, address: first.address + pageSize, length: first.length - pageSize };
  yield* runs.slice(1);
}

/** PROT_* to PF_*. */
function segmentFlags(prot: number): number {
  return ((prot & 1) << 2) | (prot & 2) | ((prot >> 2) & 1);
}
