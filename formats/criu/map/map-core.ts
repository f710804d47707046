// SPDX-License-Identifier: Apache-2.0
/** core-TID.img ↔ a thread row, and for a leader what belongs to its task. Each mapping is next to its inverse. */
import { create } from "@bufbuild/protobuf";
import { type Gpregs, gpregs, type TaskRow, type ThreadRow, tlsEntry, type TlsEntry } from "../../../src/gen/tables.js";
import {
  type CoreEntry,
  CoreEntrySchema,
  type Creds,
  type ThreadCore,
  ThreadCoreSchema,
  ThreadInfoX86Schema,
  type UserDesc,
  UserDescSchema,
  X86RegsSchema,
} from "../gen/core_pb.js";
import { threadStatesFromWire, threadStatesToWire } from "./states.js";
import { xstateFromWire, xstateToWire } from "./map-xstate.js";

/** core_entry.mtype of x86-64. */
export const machineX86 = 1;
/** user_x86_regs.mode of 64-bit tasks. */
const modeNative = 1;

/** task_core.task_state: numbers of the tool's task states; 6 is in maps of older versions for zombies. */
export const taskState = { alive: 1, dead: 2, stopped: 3, zombie: 6 } as const;

const registerNames = [
  "r15",
  "r14",
  "r13",
  "r12",
  "bp",
  "bx",
  "r11",
  "r10",
  "r9",
  "r8",
  "ax",
  "cx",
  "dx",
  "si",
  "di",
  "origAx",
  "ip",
  "cs",
  "flags",
  "sp",
  "ss",
  "fsBase",
  "gsBase",
  "ds",
  "es",
  "fs",
  "gs",
] as const satisfies readonly (keyof Gpregs)[];

const isSystemCall = (origAx: bigint): boolean => origAx < 1n << 63n;

function signed64(value: bigint): bigint {
  return BigInt.asIntN(64, value);
}

/** −ERESTARTSYS, −ERESTARTNOINTR, −ERESTARTNOHAND, −ERESTART_RESTARTBLOCK: never seen by programs. */
const restarts: ReadonlySet<bigint> = new Set([-512n, -513n, -514n, -516n]);

/** Registers as CRIU stores them: an interrupted system call is about to be made again. */
export function rewound(regs: Gpregs): Gpregs {
  if (!isSystemCall(regs.origAx) || !restarts.has(signed64(regs.ax))) return regs;
  return { ...regs, ax: regs.origAx, ip: regs.ip - 2n };
}

/** Fields of a thread row, except its place in the tree and its credentials. `processName` is for threads without one. */
export function threadFromWire(core: CoreEntry, isLeader: boolean, processName: Uint8Array | undefined): Partial<ThreadRow> {
  const thread = core.threadCore ?? create(ThreadCoreSchema);
  const info = core.threadInfo ?? create(ThreadInfoX86Schema);
  const wireRegs = info.gpregs ?? create(X86RegsSchema);
  const regs: Record<string, bigint> = {};
  for (const name of registerNames) regs[name] = wireRegs[name];
  return {
    ...threadStatesFromWire({ core, processName }),
    regs: gpregs(regs),
    sigMask: isLeader ? (core.tc?.blkSigset ?? 0n) : thread.blkSigset,
    xstate: info.fpregs ? xstateFromWire(info.fpregs) : new Uint8Array(0),
    inSyscall: isSystemCall(wireRegs.origAx) ? 1 : 0,
    tlsArray: tlsFromWire(info.tls),
  };
}

/** The core entry of a thread, without signals and what belongs to the process. */
export function threadToWire(row: ThreadRow, isLeader: boolean, creds: Creds | undefined): CoreEntry {
  const core = create(CoreEntrySchema, { mtype: machineX86 });
  const regs = rewound(row.regs);
  const wireRegs = create(X86RegsSchema, { mode: modeNative });
  for (const name of registerNames) wireRegs[name] = regs[name];
  core.threadInfo = create(ThreadInfoX86Schema, {
    gpregs: wireRegs,
    fpregs: xstateToWire(row.xstate),
    tls: tlsToWire(row.tlsArray),
  });
  core.threadCore = threadCoreToWire(row, isLeader);
  if (creds) core.threadCore.creds = creds;
  threadStatesToWire(row, core);
  return core;
}

function threadCoreToWire(row: ThreadRow, isLeader: boolean): ThreadCore {
  // The one cgroup set that a set of images without cgroup.img has.
  const thread = create(ThreadCoreSchema, { cgSet: 1 });
  if (!isLeader) thread.blkSigset = row.sigMask;
  return thread;
}

const gdtTlsFirst = 12;

/** A GDT descriptor in two words ↔ struct user_desc (Intel SDM volume 3, 3.4.5). Unused slots are zero words. */
function tlsFromWire(list: readonly UserDesc[]): TlsEntry[] {
  return Array.from({ length: 3 }, (_, index) => {
    const desc = list.find((entry) => entry.entryNumber === gdtTlsFirst + index);
    if (!desc || (desc.segNotPresent && desc.baseAddr === 0 && desc.limit === 0)) return tlsEntry();
    // Code and data descriptors, already accessed: bit 1 writable, bits 2 and 3 the two bits of `contents`.
    const type = 1 | (desc.readExecOnly ? 0 : 2) | (desc.contentsL ? 4 : 0) | (desc.contentsH ? 8 : 0);
    return {
      a: (((desc.baseAddr & 0xffff) << 16) | (desc.limit & 0xffff)) >>> 0,
      b:
        (((desc.baseAddr >>> 16) & 0xff) |
          (type << 8) |
          (1 << 12) |
          (3 << 13) |
          (desc.segNotPresent ? 0 : 1 << 15) |
          (desc.limit & 0xf0000) |
          (desc.usable ? 1 << 20 : 0) |
          (desc.seg32bit ? 1 << 22 : 0) |
          (desc.limitInPages ? 1 << 23 : 0) |
          (desc.baseAddr & 0xff000000)) >>>
        0,
    };
  });
}

function tlsToWire(entries: readonly TlsEntry[]): UserDesc[] {
  return Array.from({ length: 3 }, (_, index) => {
    const { a, b } = entries[index] ?? tlsEntry();
    const isEmpty = a === 0 && b === 0;
    return create(UserDescSchema, {
      entryNumber: gdtTlsFirst + index,
      baseAddr: ((a >>> 16) | ((b & 0xff) << 16) | (b & 0xff000000)) >>> 0,
      limit: (a & 0xffff) | (b & 0xf0000),
      seg32bit: (b & (1 << 22)) !== 0,
      contentsH: (b & (1 << 11)) !== 0,
      contentsL: (b & (1 << 10)) !== 0,
      readExecOnly: isEmpty || (b & (1 << 9)) === 0,
      limitInPages: (b & (1 << 23)) !== 0,
      segNotPresent: isEmpty || (b & (1 << 15)) === 0,
      usable: (b & (1 << 20)) !== 0,
    });
  });
}

/** task_state of a task row. */
export function taskStateToWire(task: TaskRow): number {
  if (task.state === "zombie") return taskState.dead;
  return task.state === "stopped" ? taskState.stopped : taskState.alive;
}

/** The state of a task row; undefined for a number that no version writes. */
export function taskStateFromWire(state: number): TaskRow["state"] | undefined {
  if (state === taskState.alive) return "running";
  if (state === taskState.stopped) return "stopped";
  return state === taskState.dead || state === taskState.zombie ? "zombie" : undefined;
}
