// SPDX-License-Identifier: Apache-2.0
/** core_entry ↔ task, thread and address space. */
import { ByteReader } from "../bytes/byte-reader.js";
import { ByteWriter } from "../bytes/byte-writer.js";
import type { RandomBytes } from "../bytes/random-bytes.js";
import { decodeText, encodeText } from "../bytes/text.js";
import { CrimgError } from "../errors/crimg-error.js";
import {
  type CoreEntry,
  coreArchX8664,
  coreEntry,
  coreEntrySize,
  coreHeader,
  coreVersion,
  pfUsedMath,
  readCoreEntry,
  tlsDescriptor,
  writeCoreEntry,
} from "../gen/ckpt-elf-v1.js";
import { type MmRow, type TaskRow, type ThreadRow, mmRow, taskRow, threadRow } from "../gen/tables.js";
import { decodePersonality, encodePersonality } from "./personality.js";

/** Bytes of the FXSAVE area that the processor defines; what follows is for software. */
const fxsaveBytes = 464;
const fpregsBytes = 512;
const commBytes = 16;
/** SS_DISABLE of sigaltstack(2): no alternate stack. */
const ssDisable = 2;

/** The bytes of a core_entry. @throws CrimgError `core.short` */
export function readCoreBytes(bytes: RandomBytes, offset: bigint, format: string): Uint8Array {
  const left = bytes.size - offset;
  if (left >= BigInt(coreEntrySize)) return bytes.read(offset, coreEntrySize);
  throw new CrimgError("core.short", `expected a core entry of ${coreEntrySize} bytes, found ${left < 0n ? 0n : left}`, {
    source: bytes.name,
    offset,
    path: "core",
    format,
    hint: "the file was cut off; was the disk full?",
  });
}

/** Reads and judges a core_entry. @throws CrimgError `core.version`, `core.arch`, `bytes.short` */
export function parseCore(bytes: Uint8Array, place: { source: string; base: bigint; path: string; format: string }): CoreEntry {
  const core = readCoreEntry(new ByteReader(bytes, place));
  const { version, arch } = core.header;
  if (version !== coreVersion) {
    const message = `the version of the core entry must be ${coreVersion}, found ${version}`;
    throw new CrimgError("core.version", message, {
      source: place.source,
      offset: place.base,
      path: `${place.path}.header.version`,
      format: place.format,
    });
  }
  if (arch !== coreArchX8664) {
    const message = `the architecture of the core entry must be ${coreArchX8664} (x86-64), found ${arch}`;
    throw new CrimgError("core.arch", message, {
      source: place.source,
      offset: place.base + 2n,
      path: `${place.path}.header.arch`,
      format: place.format,
    });
  }
  return core;
}

/** The task of a core, without its place in the tree. */
export function taskFromWire(core: CoreEntry, fields: Partial<TaskRow>): TaskRow {
  return taskRow({
    state: "running",
    exitSignal: 17,
    umask: 0o022,
    personality: decodePersonality(core.taskPersonality),
    taskFlags: core.taskFlags,
    foregroundPgid: -1,
    ...fields,
  });
}

/** The one thread of a core. */
export function threadFromWire(core: CoreEntry, task: number, tid: number): ThreadRow {
  const end = core.taskComm.indexOf(0);
  return threadRow({
    task,
    tid,
    regs: core.gpregs,
    xstate: core.fpregs,
    comm: decodeText(core.taskComm.subarray(0, end < 0 ? commBytes - 1 : end)),
    altstackFlags: ssDisable,
    // orig_ax is -1 outside system calls.
    inSyscall: core.gpregs.origAx < 1n << 63n ? 1 : 0,
    tlsArray: core.tlsArray.map(({ a, b }) => ({ a, b })),
  });
}

/** The address space of a core; the numbers are taken as they are. */
export function mmFromWire(core: CoreEntry): MmRow {
  return mmRow({
    dumpable: 1,
    startCode: core.mmStartCode,
    endCode: core.mmEndCode,
    startData: core.mmStartData,
    endData: core.mmEndData,
    startStack: core.mmStartStack,
    startBrk: core.mmStartBrk,
    brk: core.mmBrk,
  });
}

/** The FXSAVE area of an extended state, as PTRACE_GETFPREGS gives it. */
function fpregsOf(xstate: Uint8Array): Uint8Array {
  const fpregs = new Uint8Array(fpregsBytes);
  // An XSAVE area has its feature mask behind byte 464, where an FXSAVE area has nothing.
  fpregs.set(xstate.subarray(0, xstate.length > fpregsBytes ? fxsaveBytes : fpregsBytes));
  if (xstate.length < fxsaveBytes) {
    new DataView(fpregs.buffer).setUint16(0, 0x37f, true);
    new DataView(fpregs.buffer).setUint32(24, 0x1f80, true);
  }
  return fpregs;
}

/** The core of a task, as the original tool would have written it. */
export function coreToWire(task: TaskRow, thread: ThreadRow, mm: MmRow): CoreEntry {
  const comm = new Uint8Array(commBytes);
  comm.set(encodeText(thread.comm).subarray(0, commBytes - 1));
  // Kernels of today no longer say whether the FPU was used; the loader of 2011 restores it only if this bit is set.
  const hasFullState = thread.xstate.length > fpregsBytes;
  return coreEntry({
    header: coreHeader({ version: coreVersion, arch: coreArchX8664 }),
    gpregs: thread.regs,
    fpregs: fpregsOf(thread.xstate),
    tlsArray: thread.tlsArray.map(({ a, b }) => tlsDescriptor({ a, b })),
    taskPersonality: encodePersonality(task.personality),
    taskComm: comm,
    taskFlags: hasFullState ? (task.taskFlags | pfUsedMath) >>> 0 : task.taskFlags,
    mmStartCode: mm.startCode,
    mmEndCode: mm.endCode,
    mmStartData: mm.startData,
    mmEndData: mm.endData,
    mmStartStack: mm.startStack,
    mmStartBrk: mm.startBrk,
    mmBrk: mm.brk,
  });
}

/** The 16,384 bytes of a core. */
export function coreBytes(core: CoreEntry): Uint8Array {
  const writer = new ByteWriter(coreEntrySize);
  writeCoreEntry(writer, core);
  return writer.finish();
}
