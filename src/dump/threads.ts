// SPDX-License-Identifier: Apache-2.0
/** The threads table: registers, and what the kernel keeps for each thread. */
import { InternedBytes } from "../bytes/interned.js";
import { type CredRow, credRow, threadRow } from "../gen/tables.js";
import { PR } from "../linux/prctl.js";
import { getRegset, regset } from "../native/index.js";
import { statesOfThread } from "../state/states.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import type { FrozenThread } from "./freeze.js";
import type { Injector, ThreadCalls } from "./injector.js";
import { checkThreadKeyring } from "./keyrings.js";
import { innermost, type StatusFields } from "./procfs.js";
import { inSyscall, rewound, toGpregs } from "./registers.js";
import { restartNumber } from "./restart.js";
import { withRest } from "./waits.js";
import { readStates, ThreadAsking } from "./state-reader.js";

/** sigaltstack as the thread has it. */
export interface AlternateStack {
  readonly sp: bigint;
  readonly flags: number;
  readonly size: bigint;
}

const SS_DISABLE = 2;
const SS_ONSTACK = 1;

/** Asks a thread for its alternate signal stack. */
export function readAlternateStack(injector: Injector): AlternateStack {
  const out = Buffer.alloc(24);
  injector.call("sigaltstack", 0, { out });
  return { sp: out.readBigUInt64LE(0), flags: out.readInt32LE(8) >>> 0, size: out.readBigUInt64LE(16) };
}

/** The range of an alternate stack that nothing runs on, or undefined. */
export function idleStack(stack: AlternateStack): { start: bigint; end: bigint } | undefined {
  return (stack.flags & (SS_DISABLE | SS_ONSTACK)) === 0 && stack.size > 0n ? { start: stack.sp, end: stack.sp + stack.size } : undefined;
}

/** Registers as stored: see the comment of `regs` in the spec. */
function storedRegs(context: DumpContext, thread: FrozenThread): Buffer {
  // A dump is no reason to wait longer either, where the registers can say so.
  const rest = thread.wait === undefined ? undefined : withRest(thread, context.momentNs);
  if (rest !== undefined) return rest;
  const number = restartNumber(thread.pid, thread.regs);
  return number === undefined ? thread.regs : rewound(thread.regs, number);
}

/** Adds the row of one thread. `injector` runs calls in that very thread. */
export function collectThread(context: DumpContext, process: DumpedProcess, thread: FrozenThread, injector: ThreadCalls): number {
  const { tid } = thread;
  const ask = new ThreadAsking(process, tid, injector, process.facts?.of(thread));
  const regs = storedRegs(context, thread);
  checkThreadKeyring(context, process, tid, ask);
  const securebits = injector.call("prctl", PR.getSecurebits);
  const creds = addCreds(context, ask.statusFields, securebits > 0 ? securebits : 0);
  return (
    context.tables.threads.push(
      threadRow({
        ...readStates(statesOfThread, ask),
        task: process.row,
        tid: innermost(ask.statusFields, "NSpid") ?? tid,
        regs: toGpregs(regs),
        sigMask: thread.sigmask,
        xstate: xstatesOf(context).of(process.lists?.xstate(thread) ?? trimXstate(getRegset(tid, regset.X86_XSTATE))),
        creds,
        inSyscall: inSyscall(regs) ? 1 : 0,
      }),
    ) - 1
  );
}

/** Threads that wait in the same place have the same, of 1.7 KB and more. */
const knownXstates = new WeakMap<DumpContext, InternedBytes>();

function xstatesOf(context: DumpContext): InternedBytes {
  const known = knownXstates.get(context) ?? new InternedBytes();
  knownXstates.set(context, known);
  return known;
}

/** Cuts trailing components that are all zero and not in use; header and legacy area stay. */
function trimXstate(xstate: Buffer): Buffer {
  let end = xstate.length;
  while (end > 576 && xstate[end - 1] === 0) end--;
  return xstate.subarray(0, Math.min((end + 63) & ~63, xstate.length));
}

function readCreds(status: StatusFields, securebits: number): CredRow {
  const numbers = (name: string): number[] => (status.get(name) ?? "").split(/\s+/).filter(Boolean).map(Number);
  const set = (name: string): bigint => BigInt(`0x${status.get(name) || "0"}`);
  const [uid = 0, euid = 0, suid = 0, fsuid = 0] = numbers("Uid");
  const [gid = 0, egid = 0, sgid = 0, fsgid = 0] = numbers("Gid");
  return credRow({
    uid,
    euid,
    suid,
    fsuid,
    gid,
    egid,
    sgid,
    fsgid,
    capInheritable: set("CapInh"),
    capPermitted: set("CapPrm"),
    capEffective: set("CapEff"),
    capBounding: set("CapBnd"),
    capAmbient: set("CapAmb"),
    securebits,
    groups: new Uint8Array(Uint32Array.from(numbers("Groups")).buffer),
  });
}

/** Lines of `status` that credentials are in. */
const credFields = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
/** Rows by what /proc said of them: most threads of a tree have the same. */
const knownCreds = new WeakMap<CredRow[], Map<string, number>>();

/** Row of equal credentials, added when new. */
function addCreds(context: DumpContext, status: StatusFields, securebits: number): number {
  const { creds } = context.tables;
  const known = knownCreds.get(creds) ?? new Map<string, number>();
  knownCreds.set(creds, known);
  const told = `${credFields.map((field) => status.get(field)).join("\n")}\n${securebits}`;
  const at = known.get(told) ?? addRow(context, readCreds(status, securebits));
  known.set(told, at);
  return at;
}

function addRow(context: DumpContext, row: CredRow): number {
  const key = (cred: CredRow): string =>
    Object.values(cred)
      .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString("hex") : String(value)))
      .join(",");
  const wanted = key(row);
  const known = context.tables.creds.findIndex((cred) => key(cred) === wanted);
  return known >= 0 ? known : context.tables.creds.push(row) - 1;
}
