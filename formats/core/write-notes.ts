// SPDX-License-Identifier: Apache-2.0
/** The notes of a core, in the kernel's order: the first thread with what concerns the process, then the others. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { encodeText } from "../../src/bytes/text.js";
import { writeNote } from "../../src/elf/notes.js";
import {
  mappedFileSize,
  mappedFilesHeaderSize,
  ntAuxv,
  ntFile,
  ntFpregset,
  ntPrpsinfo,
  ntPrstatus,
  ntSiginfo,
  ntX86Xstate,
  prpsinfo,
  prstatus,
  prstatusSize,
  readPrpsinfo,
  readPrstatus,
  writeMappedFile,
  writeMappedFilesHeader,
  writePrpsinfo,
  writePrstatus,
  type Prstatus,
} from "../../src/gen/core-notes.js";
import { tableSpecs, type TaskRow, type ThreadRow, type VmaRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import type { MemoryView } from "../../src/pages/memory-view.js";
import { writeAbsentNote } from "./absent-note.js";
import { foreignKey } from "./foreign.js";
import { nameOfObject } from "./objects.js";
import { xstateForDebuggers } from "./xstate.js";

/** fs/binfmt_elf.c: ELF_PRARGSZ; the last byte is a NUL. */
const maxArgumentBytes = 79;

/** All notes of one task, as the content of the PT_NOTE segment. */
export function notesOf(checkpoint: Checkpoint, task: number, memory: MemoryView): Uint8Array {
  const { tables } = checkpoint;
  const row = tables.tasks[task] as TaskRow;
  const mm = tables.mms[row.mm ?? -1];
  const threads = orderedThreads(checkpoint, task);
  const writer = new ByteWriter(1 << 16);
  for (const [position, index] of threads.entries()) {
    const thread = tables.threads[index] as ThreadRow;
    writeNote(writer, "CORE", ntPrstatus, prstatusOf(checkpoint, row, thread, index));
    if (position === 0) {
      writeNote(writer, "CORE", ntPrpsinfo, prpsinfoOf(checkpoint, row, task, memory));
      writeNote(writer, "CORE", ntSiginfo, siginfoOf(checkpoint, index) ?? new Uint8Array(128));
      if (mm && mm.auxv.length > 0) writeNote(writer, "CORE", ntAuxv, mm.auxv);
      const files = mappedFilesOf(checkpoint, row.mm ?? -1);
      if (files.length > mappedFilesHeaderSize) writeNote(writer, "CORE", ntFile, files);
    }
    writeNote(writer, "CORE", ntFpregset, fpregsetOf(thread.xstate));
    const siginfo = position === 0 ? undefined : siginfoOf(checkpoint, index);
    if (siginfo) writeNote(writer, "CORE", ntSiginfo, siginfo);
    const xstate = xstateForDebuggers(thread.xstate, tables.checkpoint[0]?.xfeatures ?? 0n);
    if (xstate) writeNote(writer, "LINUX", ntX86Xstate, xstate);
  }
  writeAbsentNote(writer, row.mm === null ? [] : checkpoint.absentOf(row.mm));
  return writer.finish();
}

/** Threads of a task, the one that crashed first, else the leader. */
function orderedThreads(checkpoint: Checkpoint, task: number): readonly number[] {
  const threads = checkpoint.threadsOf(task);
  const first = threads.find((index) => foreignValue(checkpoint, "threads", index, foreignKey.first) !== undefined);
  return first === undefined ? threads : [first, ...threads.filter((index) => index !== first)];
}

/** What gcore writes for each thread of a process that it stopped; debuggers show "signal 0" where there is nothing. */
const stopSignal = 19;
/** si_code SI_KERNEL. */
const siKernel = 128;

/** NT_SIGINFO of a thread: what the core that it came from said, else that it was stopped. undefined where that core had none. */
function siginfoOf(checkpoint: Checkpoint, thread: number): Uint8Array | undefined {
  const kept = foreignValue(checkpoint, "threads", thread, foreignKey.siginfo);
  if (kept || foreignValue(checkpoint, "threads", thread, foreignKey.prstatus)) return kept;
  const info = new Uint8Array(128);
  const view = new DataView(info.buffer);
  view.setInt32(0, stopSignal, true);
  view.setInt32(8, siKernel, true);
  return info;
}

function prstatusOf(checkpoint: Checkpoint, task: TaskRow, thread: ThreadRow, index: number): Uint8Array {
  const kept = foreignValue(checkpoint, "threads", index, foreignKey.prstatus);
  // Of what was kept only the signal and the times are used: all else is in the model and may have been changed there.
  const old: Prstatus = kept ? readPrstatus(new ByteReader(padded(kept, prstatusSize))) : prstatus();
  const writer = new ByteWriter(prstatusSize);
  writePrstatus(writer, {
    ...old,
    sigpend: pendingOf(checkpoint, index),
    sighold: thread.sigMask,
    pid: thread.tid,
    ppid: task.ppid,
    pgrp: task.pgid,
    sid: task.sid,
    regs: thread.regs,
    fpvalid: 1,
  });
  return writer.finish();
}

function pendingOf(checkpoint: Checkpoint, thread: number): bigint {
  let set = 0n;
  for (const { thread: owner, siginfo } of checkpoint.tables.pendingSignals) {
    if (owner !== thread || siginfo.length < 4) continue;
    const signal = new DataView(siginfo.buffer, siginfo.byteOffset).getInt32(0, true);
    if (signal >= 1 && signal <= 64) set |= 1n << BigInt(signal - 1);
  }
  return set;
}

const stateLetters = { running: ["R", 0], stopped: ["T", 3], zombie: ["Z", 5] } as const;

function prpsinfoOf(checkpoint: Checkpoint, row: TaskRow, task: number, memory: MemoryView): Uint8Array {
  const { tables } = checkpoint;
  const kept = foreignValue(checkpoint, "tasks", task, foreignKey.prpsinfo);
  const leader = tables.threads[checkpoint.threadsOf(task)[0] ?? -1];
  const cred = leader && leader.creds !== null ? tables.creds[leader.creds] : undefined;
  const [letter, number] = stateLetters[row.state];
  const old = kept
    ? readPrpsinfo(new ByteReader(kept))
    : {
        ...prpsinfo(),
        sname: letter.charCodeAt(0),
        state: number,
        zomb: Number(row.state === "zombie"),
        psargs: commandLine(checkpoint, row, memory),
      };
  const writer = new ByteWriter(136);
  writePrpsinfo(writer, {
    ...old,
    nice: leader?.nice ?? 0,
    flag: BigInt(row.taskFlags),
    uid: cred?.uid ?? old.uid,
    gid: cred?.gid ?? old.gid,
    pid: row.pid,
    ppid: row.ppid,
    pgrp: row.pgid,
    sid: row.sid,
    fname: padded(encodeText(leader?.comm ?? "").slice(0, 15), 16),
  });
  return writer.finish();
}

/** First bytes of the command line, NULs as spaces (fs/binfmt_elf.c: fill_psinfo). */
function commandLine(checkpoint: Checkpoint, row: TaskRow, memory: MemoryView): Uint8Array {
  const mm = checkpoint.tables.mms[row.mm ?? -1];
  const length = mm && mm.argEnd > mm.argStart ? Number(mm.argEnd - mm.argStart) : 0;
  const bytes = new Uint8Array(Math.min(length, maxArgumentBytes));
  const covered = mm ? [...memory.runs(mm.argStart, mm.argStart + BigInt(bytes.length))] : [];
  const isWhole = covered.reduce((sum, run) => sum + (run.origin.kind === "absent" ? 0n : run.length), 0n) === BigInt(bytes.length);
  if (mm && isWhole) memory.readInto(mm.argStart, bytes);
  return padded(
    bytes.map((byte) => (byte === 0 ? 0x20 : byte)),
    80,
  );
}

/** NT_FILE: every mapping of a file, of shared memory, of a memfd. */
function mappedFilesOf(checkpoint: Checkpoint, mm: number): Uint8Array {
  const { tables } = checkpoint;
  const rows = checkpoint
    .vmasOf(mm)
    .map((index) => tables.vmas[index] as VmaRow)
    .filter(({ object }) => object !== null && tables.objects[object] !== undefined);
  const writer = new ByteWriter(16 + rows.length * (mappedFileSize + 64));
  writeMappedFilesHeader(writer, { numEntries: BigInt(rows.length), pageSize: 4096n });
  for (const { start, end, offset } of rows) writeMappedFile(writer, { start, end, pageOffset: offset / 4096n });
  for (const { object } of rows) {
    const row = tables.objects[object ?? -1];
    writer.bytes(encodeText(row ? nameOfObject(row) : ""));
    writer.u1(0);
  }
  return writer.finish();
}

/** The FXSAVE area; the last 48 bytes are for software and zero in NT_FPREGSET. */
function fpregsetOf(xstate: Uint8Array): Uint8Array {
  const area = padded(xstate.subarray(0, 464), 512);
  if (xstate.length >= 464) return area;
  // What a task has that never used the FPU (arch/x86/kernel/fpu/init.c).
  area.fill(0);
  new DataView(area.buffer).setUint16(0, 0x37f, true);
  new DataView(area.buffer).setUint32(24, 0x1f80, true);
  return area;
}

/** What a core said about a row, kept in the model. */
function foreignValue(checkpoint: Checkpoint, table: "tasks" | "threads", row: number, key: string): Uint8Array | undefined {
  const kind = tableSpecs.find((spec) => spec.table === table)?.kind;
  return checkpoint.tables.foreign.find((one) => one.format === "core" && one.table === kind && one.row === row && one.key === key)?.value;
}

function padded(bytes: Uint8Array, length: number): Uint8Array {
  const result = new Uint8Array(length);
  result.set(bytes.subarray(0, length));
  return result;
}
