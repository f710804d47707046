// SPDX-License-Identifier: Apache-2.0
/** Core → model. What a core lacks is a loss, and defaulted as README.md says. */
import { basename } from "node:path";
import type { Loss, ReadOptions } from "../../src/adapter/format.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { decodeText, encodeText } from "../../src/bytes/text.js";
import {
  checkpointRow,
  descriptorRow,
  emptyTables,
  foreignRow,
  vdsoImageRow,
  mmRow,
  objectRow,
  openFileRow,
  tableSpecs,
  taskRow,
  threadRow,
  type MutableTables,
} from "../../src/gen/tables.js";
import type { ProgramHeader } from "../../src/gen/elf64.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import type { PageSource } from "../../src/model/page-source.js";
import type { Gpregs } from "../../src/gen/x86-64-regs.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { auxType, readAuxv } from "../../src/model/auxv.js";
import { readCoreFile } from "./core-file.js";
import { buildIdAt, imagesInCore, findHeap, findProgram, findStack, type ElfImage } from "./derive-mm.js";
import { deriveStack, type ReadMemory } from "../../src/model/initial-stack.js";
import { foreignKey } from "./foreign.js";
import { HostFiles } from "./host-files.js";
import { mergeMappings, rangesWithin, storedRanges, withoutHoles, writabilityOf, type Mapping, type StoredRange } from "./mappings.js";
import { addMemoryMap } from "./memory-map.js";
import { readProcessNotes, type CoreProcess, type CoreThread } from "./process-notes.js";
import { whyNotResumable } from "./producer.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { withThreadBlocks } from "./thread-blocks.js";
import { withSystemCalls } from "./system-calls.js";
import { onlyDumped } from "./dump-list.js";
import { readLosses } from "./losses.js";
import { addAbsentRegions, cutOff, type Missing } from "./absent.js";

/** Largest piece of memory that is read to derive something. */
const maxLookBytes = 9 << 20;

/** The reserve of a malloc arena is 64 MiB, the largest guard that is common. */
const maxGuardBytes = 128n << 20n;
const guardChunk = 1n << 20n;
const zeros = Buffer.alloc(Number(guardChunk));

/** Reads one core. Throws CrimgError `core.*`, `elf.*`, `bytes.*`. */
export function readCore(path: string, options: ReadOptions): Checkpoint {
  const file = FileBytes.open(path);
  const pages = FilePageSource.open(path);
  let checkpoint: Checkpoint | undefined;
  try {
    const core = readCoreFile(file);
    const process = readProcessNotes(core, path);
    let bytesCut = 0n;
    const missing: Missing[] = [];
    const promised = storedRanges(core.loads, file.size, (range, bytes) => {
      // The page at vsyscallStart is the kernel's; minicoredumper always lacks it.
      if (process.dumped !== undefined && range.start === vsyscallStart) return;
      bytesCut += bytes;
      missing.push({ ...range, reason: cutOff });
    });
    missing.push(...(process.absent ?? []));
    const stored = process.dumped === undefined ? promised : onlyDumped(promised, process.dumped, (range) => missing.push(range));
    const readAt: ReadAt = (offset, length) => file.read(offset, length);
    const { tables, losses } = modelOf({
      process,
      loads: core.loads,
      stored,
      data: withoutHoles(stored, (offset, length) => pages.dataRanges(offset, length)),
      missing,
      bytesCut,
      readAt,
      pages,
      format: "core",
    });
    for (const loss of losses) options.onLoss?.(loss);
    checkpoint = new Checkpoint({ tables, sources: [pages] });
    return checkpoint;
  } finally {
    if (!checkpoint) pages.close();
    file.close();
  }
}

/** Bytes of the container at a position that a StoredRange names. */
type ReadAt = (offset: bigint, length: number) => Uint8Array;

/** What a container (an ELF core, a minidump) says of a process. */
export interface CoreContent {
  readonly process: CoreProcess;
  /** Mappings, ascending. */
  readonly loads: readonly ProgramHeader[];
  /** Whole pages, ascending. */
  readonly stored: readonly StoredRange[];
  /** The same without holes. */
  readonly data: readonly StoredRange[];
  readonly missing: readonly Missing[];
  readonly bytesCut: bigint;
  readonly readAt: ReadAt;
  /** The source of `stored`: its positions are the ranges' offsets. */
  readonly pages: PageSource;
  /** Format id. */
  readonly format: string;
  /** First addresses of [stack] and [heap], where they are known. */
  readonly known?: { readonly stack?: bigint; readonly heap?: bigint };
}

/** The rows of the model, and what had to be assumed. */
export function modelOf(content: CoreContent): { readonly tables: MutableTables; readonly losses: readonly Loss[] } {
  const { process, loads, stored, data, missing, bytesCut, readAt, pages } = content;
  const host = new HostFiles();
  const read = memoryReader(readAt, stored);
  const images = imagesInCore(read, process.mappings);
  const segmentsOf = (name: string) => images.get(name)?.segments ?? host.get(name)?.segments;
  const merged = mergeMappings(loads, process.mappings, segmentsOf, process.absent);
  const mappings = process.isGcore ? merged.map((one) => withoutAccess(readAt, stored, one)) : merged;
  const tables = toTables({ process, mappings, stored, data, read, host, images, format: content.format, known: content.known ?? {} });
  addAbsentRegions(tables, {
    stored,
    missing: [...missing].sort((a, b) => (a.start < b.start ? -1 : 1)),
    isComplete: process.absent !== undefined,
    isWritable: writabilityOf(process.mappings, segmentsOf, tables),
  });
  const view = new MemoryView(new Checkpoint({ tables, sources: [pages] }), 0);
  try {
    const finished = withThreadBlocks(withSystemCalls(tables, view), view);
    return { tables: finished, losses: readLosses({ process, mappings, bytesCut, stored, tables: finished, host }) };
  } finally {
    view.close();
  }
}

/** Reads memory that the core holds as a whole. */
function memoryReader(readAt: ReadAt, stored: readonly StoredRange[]): ReadMemory {
  return (address, length) => {
    if (length > maxLookBytes) return undefined;
    const bytes = new Uint8Array(length);
    let expected = address;
    for (const range of rangesWithin(stored, address, address + BigInt(length))) {
      if (range.address !== expected) return undefined;
      bytes.set(readAt(range.offset, Number(range.length)), Number(range.address - address));
      expected += range.length;
    }
    return expected === address + BigInt(length) ? bytes : undefined;
  };
}

/** gcore reads the legacy vsyscall page and so takes it for readable; Linux has it execute-only. */
const vsyscallStart = 0xffffffffff600000n;

function withoutAccess(readAt: ReadAt, stored: readonly StoredRange[], mapping: Mapping): Mapping {
  if (mapping.start === vsyscallStart) return { ...mapping, prot: 4 };
  return isGuard(readAt, stored, mapping) ? { ...mapping, prot: 0 } : mapping;
}

/**
 * gcore writes memory without access as readable. Anonymous memory that may only be read and is zero throughout serves
 * nobody but as a guard, so that is taken for PROT_NONE.
 */
function isGuard(readAt: ReadAt, stored: readonly StoredRange[], { start, end, prot, file: mapped }: Mapping): boolean {
  if (prot !== 1 || mapped || end - start > maxGuardBytes) return false;
  for (const { length, offset } of rangesWithin(stored, start, end)) {
    for (let done = 0n; done < length; done += guardChunk) {
      const left = length - done;
      const piece = readAt(offset + done, Number(left < guardChunk ? left : guardChunk));
      if (!Buffer.from(piece.buffer, piece.byteOffset, piece.length).equals(zeros.subarray(0, piece.length))) return false;
    }
  }
  return true;
}

interface Facts {
  readonly process: CoreProcess;
  readonly mappings: readonly Mapping[];
  readonly stored: readonly StoredRange[];
  readonly data: readonly StoredRange[];
  readonly read: ReadMemory;
  readonly host: HostFiles;
  readonly images: ReadonlyMap<string, ElfImage>;
  readonly format: string;
  readonly known: NonNullable<CoreContent["known"]>;
}

function toTables({ process, mappings, stored, data, read, host, images, format, known }: Facts): MutableTables {
  const tables = emptyTables();
  const aux = readAuxv(process.auxv);
  const pid = pidOf(process);
  const leader = process.threads.find(({ prstatus }) => prstatus.pid === pid) ?? (process.threads[0] as CoreThread);
  const program = findProgram(read, aux, process.mappings, host);
  const at = (start: bigint | undefined) => mappings.find((one) => one.start === start);
  const stack = at(known.stack) ?? findStack(mappings, aux, leader.prstatus.regs.sp);
  const heap = at(known.heap) ?? findHeap(read, mappings, program.layout, stack);
  addMemoryMap(tables, { mappings, stored, data, aux, host, stack, heap, images, isGcore: process.isGcore });

  const stackFacts = stack && deriveStack(read, stack.start, stack.end, process.auxv, aux);
  const floor = program.layout ? (program.layout.endBss + 4095n) & ~4095n : 0n;
  const startBrk = heap ? (heap.start > floor ? heap.start : floor) : floor;
  const exe = tables.objects.findIndex(({ kind, path }) => kind === "file" && path === program.path);
  tables.mms.push(
    mmRow({
      exe: exe < 0 ? null : exe,
      dumpable: 1,
      ...(program.layout && {
        startCode: program.layout.startCode,
        endCode: program.layout.endCode,
        startData: program.layout.startData,
        endData: program.layout.endData,
      }),
      startBrk,
      brk: heap ? heap.end : floor,
      startStack: stackFacts?.startStack ?? leader.prstatus.regs.sp,
      argStart: stackFacts?.argStart ?? 0n,
      argEnd: stackFacts?.argEnd ?? 0n,
      envStart: stackFacts?.envStart ?? 0n,
      envEnd: stackFacts?.envEnd ?? 0n,
      auxv: process.auxv,
      vdsoBase: aux.get(auxType.sysinfoEhdr) ?? 0n,
    }),
  );
  addTask(tables, process, pid, leader, read);
  addVdso(tables, read);
  const stated = leader.xstate && leader.xstate.length >= 472 ? u8At(leader.xstate, 464) : 0n;
  // Linux 6.12 and later list the components of the processor; x87 and SSE are always there.
  const listed = process.xsaveLayout.reduce((set, { type }) => (type < 64 ? set | (1n << BigInt(type)) : set), 0n);
  const xfeatures = stated !== 0n ? stated : listed !== 0n ? listed | 3n : 0n;
  tables.checkpoint.push(
    checkpointRow({
      pageSize: 4096,
      rootTask: 0,
      machine: "x86_64",
      sourceFormat: format,
      xfeatures,
      vdsoBuildId: vdsoBuildId(tables, read) ?? new Uint8Array(0),
    }),
  );
  return tables;
}

/** The kernel gives the process id in NT_PRPSINFO; without that note the first thread is taken for the leader. */
function pidOf({ prpsinfo, threads }: CoreProcess): number {
  if (prpsinfo && prpsinfo.pid !== 0) return prpsinfo.pid;
  // valgrind writes 0 there, and the thread that crashed first. The first thread of a process has the lowest id, as a rule.
  return prpsinfo ? Math.min(...threads.map(({ prstatus }) => prstatus.pid)) : (threads[0]?.prstatus.pid ?? 0);
}

function addTask(tables: MutableTables, process: CoreProcess, pid: number, leader: CoreThread, read: ReadMemory): void {
  const { prstatus } = leader;
  // gcore fills these in NT_PRPSINFO only.
  const ids = prstatus.sid === 0 && process.prpsinfo ? process.prpsinfo : prstatus;
  const cwd = tables.objects.push(objectRow({ kind: "directory", path: "/", mode: 0o40755, nlink: 1 })) - 1;
  tables.tasks.push(
    taskRow({
      pid,
      parent: null,
      ppid: ids.ppid,
      pgid: ids.pgrp,
      sid: ids.sid,
      state: "running",
      exitSignal: 17,
      mm: 0,
      cwd,
      root: null,
      umask: 0o022,
      taskFlags: Number((process.prpsinfo?.flag ?? 0n) & 0xffff_ffffn),
      foregroundPgid: -1,
    }),
  );
  const comm = process.prpsinfo ? text(process.prpsinfo.fname).slice(0, 15) : basename(tables.objects[0]?.path ?? "");
  const why = whyNotResumable(process.threads, process.emulator, readAuxv(process.auxv), read);
  if (why !== undefined) keep(tables, "tasks", 0, foreignKey.unresumable, encodeText(why));
  const first = process.threads[0];
  const ordered = [leader, ...process.threads.filter((thread) => thread !== leader)];
  for (const thread of ordered) {
    const regs = process.emulator === undefined ? thread.prstatus.regs : asOfProcessor(thread.prstatus.regs);
    addThread(tables, thread, regs, comm, process.prpsinfo?.nice ?? 0, thread === first);
  }
  if (process.prpsinfoBytes) keep(tables, "tasks", 0, foreignKey.prpsinfo, process.prpsinfoBytes);
  for (let fd = 0; fd < 3; fd++) {
    const file = tables.files.push(openFileRow({ kind: "inherited", detail: fd, flags: fd === 0 ? 0 : 1 })) - 1;
    tables.descriptors.push(descriptorRow({ task: 0, fd, file }));
  }
}

function addThread(tables: MutableTables, thread: CoreThread, regs: Gpregs, comm: string, nice: number, isFirst: boolean): void {
  const { prstatus } = thread;
  const row =
    tables.threads.push(
      threadRow({
        task: 0,
        tid: prstatus.pid,
        regs,
        sigMask: prstatus.sighold,
        xstate: xstateOf(thread),
        comm,
        creds: null,
        altstackFlags: 2,
        schedPolicy: "other",
        nice,
        inSyscall: Number(regs.origAx < 1n << 63n),
      }),
    ) - 1;
  keep(tables, "threads", row, foreignKey.prstatus, thread.prstatusBytes.slice(0, 112));
  if (thread.siginfo) keep(tables, "threads", row, foreignKey.siginfo, thread.siginfo);
  if (isFirst && row !== 0) keep(tables, "threads", row, foreignKey.first, new Uint8Array(0));
}

/** An emulator has no segment selectors and not all flags: those of any 64-bit program. It is never seen inside a system call. */
function asOfProcessor(regs: Gpregs): Gpregs {
  return { ...regs, cs: regs.cs || 0x33n, ss: regs.ss || 0x2bn, flags: regs.flags | 0x202n, origAx: (1n << 64n) - 1n };
}

/** NT_X86_XSTATE holds the FXSAVE area and more; a core of a CPU without XSAVE has NT_FPREGSET only. */
function xstateOf({ xstate, fpregset }: CoreThread): Uint8Array {
  if (xstate && xstate.length >= 576) return xstate;
  return fpregset && fpregset.length >= 512 ? fpregset.subarray(0, 512) : new Uint8Array(0);
}

/** The vDSO's bytes belong to the kernel, but a debugger wants them back in a core. */
function addVdso(tables: MutableTables, read: ReadMemory): void {
  const vdso = tables.vmas.find(({ kind }) => kind === "vdso");
  const bytes = vdso && read(vdso.start, Number(vdso.end - vdso.start));
  if (bytes) tables.vdsoImages.push(vdsoImageRow({ image: bytes }));
}

function vdsoBuildId(tables: MutableTables, read: ReadMemory): Uint8Array | undefined {
  const vdso = tables.vmas.find(({ kind }) => kind === "vdso");
  return vdso && buildIdAt(read, vdso.start, vdso.end);
}

function keep(tables: MutableTables, table: "tasks" | "threads" | "mms", row: number, key: string, value: Uint8Array): void {
  const kind = tableSpecs.find((spec) => spec.table === table)?.kind ?? 0;
  tables.foreign.push(foreignRow({ format: "core", table: kind, row, key, value }));
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeText(end < 0 ? bytes : bytes.subarray(0, end));
}

function u8At(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(at, true);
}
