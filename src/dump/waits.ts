// SPDX-License-Identifier: Apache-2.0
/**
 * Waits that a dump cuts short and that have no rest: epoll_wait, sigtimedwait, semtimedop and receive timeouts end with
 * EINTR when a thread is stopped, and made again they would begin anew, with the whole timeout. So it is measured how
 * long the thread has waited, and it waits for the rest only.
 *
 * When it fell asleep is told by /proc/PID/sched: `se.exec_start` is when it was last seen to run, by the clock of its
 * processor; that clock is read there for comparison. The time that a hypervisor took is not in it, so what has passed
 * is rather told too short, and no wait ends early. A thread that woke up and slept again in between is told by its
 * count of switches. Calls with a restart block keep their end in the kernel; ppoll and select have written their rest,
 * from which the time of the dump is taken.
 */
import {
  clockNs,
  close,
  failed,
  nr,
  setRegs,
  tryCall,
  tryDetach,
  tryGetsockopt,
  tryPidfdGetfd,
  tryPidfdOpen,
  tryReadlink,
  tryReadMemory,
  tryReadSmall,
  tryWriteMemory,
} from "../native/index.js";
import { anyPlacesBelow, placesBelow } from "./below-stack.js";
import { pinTo } from "./pin.js";
import { procPath, readStat, readStatus, type StatusFields } from "./procfs.js";
import { getReg, isAboutToCall, setReg } from "./registers.js";

/** A thread asleep in a call that may have a timeout. */
export interface NotedWait {
  /** When it fell asleep, CLOCK_MONOTONIC of crimg, nanoseconds. */
  readonly began: bigint;
  /** Times that it had left the processor by itself. */
  readonly switches: number;
}

/** What of a frozen thread is needed here. */
interface WaitingThread {
  readonly pid: number;
  readonly tid: number;
  /** Registers with the call about to be made again. */
  readonly regs: Buffer;
  readonly wait?: NotedWait;
  /** When it was stopped, CLOCK_MONOTONIC, nanoseconds. */
  readonly stoppedAt: bigint;
}

const million = 1_000_000n;
const billion = 1_000_000_000n;
const longestMs = 0x7fff_ffffn;

/** Register that holds the timeout in milliseconds. */
const inMilliseconds: ReadonlyMap<number, "r10" | "dx"> = new Map([
  [nr.epoll_wait, "r10"],
  [nr.epoll_pwait, "r10"],
  [nr.poll, "dx"],
]);
/** Register that points to a struct timespec. */
const byTimespec: ReadonlyMap<number, "r10" | "dx"> = new Map([
  [nr.epoll_pwait2, "r10"],
  [nr.semtimedop, "r10"],
  [nr.rt_sigtimedwait, "dx"],
]);
/** Calls that have written what was left at the stop to where a register points, and the nanoseconds of its second field. */
const written: ReadonlyMap<number, readonly ["dx" | "r8", bigint]> = new Map([
  [nr.ppoll, ["dx", 1n]],
  [nr.pselect6, ["r8", 1n]],
  [nr.select, ["r8", 1000n]],
]);
const ERESTARTNOHAND = 514n;

/** Calls that end by the SO_RCVTIMEO of a socket. */
const receiving: ReadonlySet<number> = new Set([nr.read, nr.readv, nr.recvfrom, nr.recvmsg, nr.accept, nr.accept4]);

const mayWait: ReadonlySet<number> = new Set([...inMilliseconds.keys(), ...byTimespec.keys(), ...receiving]);

/** The decimal number that bytes begin with; -1 for none ("running"). */
function leadingNumber(bytes: Buffer): number {
  let number = -1;
  for (const byte of bytes) {
    if (byte < 48 || byte > 57) break;
    number = Math.max(number, 0) * 10 + byte - 48;
  }
  return number;
}

/**
 * Looks at a thread before it is stopped, of which `syscall` is /proc/PID/task/TID/syscall. Undefined if it does not wait for
 * a time here.
 */
export function noteWait(pid: number, tid: number, syscall: Buffer | undefined): NotedWait | undefined {
  if (syscall === undefined || !mayWait.has(leadingNumber(syscall))) return undefined;
  const path = procPath(pid, tid);
  const words = syscall.toString("latin1").trim().split(" ");
  const [number = "", first = "0", , third = "0", fourth = "0"] = words;
  const call = Number(number);
  const register = inMilliseconds.get(call) ?? byTimespec.get(call);
  if (register !== undefined) {
    const timeout = BigInt(register === "dx" ? third : fourth);
    if (timeout === 0n || (inMilliseconds.has(call) && BigInt.asIntN(32, timeout) <= 0n)) return undefined;
  } else if (
    !receiving.has(call) ||
    !tryReadlink(`${procPath(pid)}/fd/${Number(first)}`)
      ?.toString("latin1")
      .startsWith("socket:")
  ) {
    return undefined;
  }
  pinTo(pid, tid);
  const asleep = schedOf(path);
  const now = clockNs(1);
  const own = schedOf("/proc/thread-self");
  if (asleep === undefined || own === undefined || own.execStart < asleep.execStart) return undefined;
  const began = receiving.has(call) ? beganBefore({ pid, tid, sp: BigInt(words[7] ?? "0"), switches: asleep.switches }) : undefined;
  return { began: began ?? now - (own.execStart - asleep.execStart), switches: asleep.switches };
}

/** `se.exec_start`, nanoseconds, and `nr_voluntary_switches` of /proc/PID/sched; undefined without CONFIG_SCHED_DEBUG. */
function schedOf(path: string): { readonly execStart: bigint; readonly switches: number } | undefined {
  const text = tryReadSmall(`${path}/sched`)?.toString("latin1") ?? "";
  const start = /^se\.exec_start\s*:\s*(\d+)\.(\d{6})$/m.exec(text);
  const switches = /^nr_voluntary_switches\s*:\s*(\d+)$/m.exec(text);
  if (start === null || switches === null) return undefined;
  return { execStart: BigInt(start[1] ?? 0) * million + BigInt(start[2] ?? 0), switches: Number(switches[1]) };
}

/** Whether a thread that has stopped was asleep all the time since it was looked at: the stop is one more switch. */
export function isStillThatWait(wait: NotedWait, status: StatusFields | undefined): boolean {
  return Number(status?.get("voluntary_ctxt_switches") ?? Number.NaN) <= wait.switches + 1;
}

function callOf({ regs }: WaitingThread): number {
  return Number(BigInt.asIntN(64, getReg(regs, "origAx")));
}

/** The timespec at an address, nanoseconds; undefined if it cannot be read. */
function readTimespec(pid: number, address: bigint): bigint | undefined {
  const bytes = Buffer.alloc(16);
  if (address === 0n || tryReadMemory(pid, address, bytes) !== bytes.length) return undefined;
  return bytes.readBigInt64LE(0) * billion + bytes.readBigInt64LE(8);
}

/** What is left of a timeout, never less than nothing. */
function rest(timeout: bigint, passed: bigint): bigint {
  return timeout > passed ? timeout - passed : 0n;
}

/**
 * Registers with the rest of the timeout in them, where a register holds it: rounded up, so that nothing ends early.
 * Undefined where there is none, or it lies elsewhere. epoll_pwait2 becomes epoll_pwait, which is the same but for that.
 */
export function withRest(thread: WaitingThread, now: bigint): Buffer | undefined {
  const { wait, pid, regs } = thread;
  if (wait === undefined) return undefined;
  const call = callOf(thread);
  const passed = now - wait.began;
  const register = inMilliseconds.get(call);
  let timeout: bigint | undefined;
  if (register !== undefined) timeout = BigInt.asIntN(32, getReg(regs, register)) * million;
  else if (call === nr.epoll_pwait2) timeout = readTimespec(pid, getReg(regs, "r10"));
  if (timeout === undefined || timeout <= 0n) return undefined;
  const milliseconds = (rest(timeout, passed) + million - 1n) / million;
  if (milliseconds > longestMs) return undefined;
  const changed = Buffer.from(regs);
  setReg(changed, register ?? "r10", milliseconds);
  if (call === nr.epoll_pwait2) setReg(changed, "ax", BigInt(nr.epoll_pwait));
  return changed;
}

/**
 * Lets a thread go on with the rest of its wait. Returns true if it has been let go; false if the caller is still to do
 * that: then its registers are right.
 */
export function releaseWithRest(thread: WaitingThread): boolean {
  const { tid, wait } = thread;
  shortenWritten(thread);
  // A call that has ended, or is over because of a signal, is not made again.
  if (wait === undefined || !isAboutToCall(thread.regs)) return false;
  const call = callOf(thread);
  // A call with a restart block: the kernel has its end.
  if (call === nr.poll) return false;
  const now = clockNs(1);
  const changed = withRest(thread, now);
  if (changed !== undefined) {
    setRegs(tid, changed);
    return false;
  }
  if (receiving.has(call)) return receiveWithTimeout(thread, call, now);
  setTimespec(thread, call, now);
  return false;
}

/** Takes the time that a thread stood still from a rest that its call has written, and will read when it is made again. */
function shortenWritten(thread: WaitingThread): void {
  const { pid, regs, stoppedAt } = thread;
  const [register, unit] = written.get(callOf(thread)) ?? [];
  if (register === undefined || unit === undefined || BigInt.asIntN(64, getReg(regs, "ax")) !== -ERESTARTNOHAND) return;
  const address = getReg(regs, register);
  const bytes = Buffer.alloc(16);
  if (address === 0n || tryReadMemory(pid, address, bytes) !== bytes.length) return;
  const left = rest(bytes.readBigInt64LE(0) * billion + bytes.readBigInt64LE(8) * unit, clockNs(1) - stoppedAt);
  bytes.writeBigInt64LE(left / billion, 0);
  bytes.writeBigInt64LE((left % billion) / unit, 8);
  tryWriteMemory(pid, address, bytes);
}

/**
 * sigtimedwait and semtimedop read a timespec that is the program's own and may be constant. They get another one below
 * the stack, where nothing lives; it is read as soon as the thread goes on.
 */
function setTimespec(thread: WaitingThread, call: number, now: bigint): void {
  const { pid, tid, regs, wait } = thread;
  const register = byTimespec.get(call);
  const timeout = register === undefined ? undefined : readTimespec(pid, getReg(regs, register));
  if (register === undefined || timeout === undefined || wait === undefined) return;
  const left = rest(timeout, now - wait.began);
  const bytes = Buffer.alloc(16);
  bytes.writeBigInt64LE(left / billion, 0);
  bytes.writeBigInt64LE(left % billion, 8);
  const place = placesBelow(pid, getReg(regs, "sp")).find((address) => tryWriteMemory(pid, address, bytes) === bytes.length);
  if (place === undefined) return;
  const changed = Buffer.from(regs);
  setReg(changed, register, place);
  setRegs(tid, changed);
}

/** Longest wait for a thread to fall asleep in its call, milliseconds. */
const asleepMs = 20;

function isAsleepIn(call: number, pid: number, tid: number): boolean {
  const path = procPath(pid, tid);
  // `syscall` tells a number of threads that sleep, and "running" of others.
  return readStat(path)?.state !== "t" && tryReadSmall(`${path}/syscall`)?.toString("latin1").split(" ")[0] === String(call);
}

/**
 * The timeout of a receive is the socket's, so the next dump cannot see that this one has shortened it. A note below the
 * stack says when the wait began. It counts only as long as the thread has not run since.
 */
interface WaitOnStack {
  readonly pid: number;
  readonly tid: number;
  /** Stack pointer of the sleeping thread. */
  readonly sp: bigint;
  readonly switches: number;
}

const noteMagic = Buffer.from("crimgWT1", "latin1");
const noteLength = 40;

/** What tells this sleep of this thread from all others: magic, start of the thread, switches, stack pointer. */
function noteHead({ pid, tid, sp, switches }: WaitOnStack): Buffer {
  const head = Buffer.alloc(noteLength - 8);
  noteMagic.copy(head);
  head.writeBigUInt64LE(readStat(procPath(pid, tid))?.field(22) ?? 0n, 8);
  head.writeBigUInt64LE(BigInt(switches), 16);
  head.writeBigUInt64LE(sp, 24);
  return head;
}

function leaveNote(where: WaitOnStack, began: bigint): void {
  const note = Buffer.alloc(noteLength);
  noteHead(where).copy(note);
  note.writeBigInt64LE(began, noteLength - 8);
  placesBelow(where.pid, where.sp).find((place) => tryWriteMemory(where.pid, place, note) === note.length);
}

function beganBefore(where: WaitOnStack): bigint | undefined {
  const head = noteHead(where);
  const note = Buffer.alloc(noteLength);
  for (const place of anyPlacesBelow(where.sp)) {
    if (tryReadMemory(where.pid, place, note) !== note.length || !note.subarray(0, head.length).equals(head)) continue;
    return note.readBigInt64LE(head.length);
  }
  return undefined;
}

const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;

/** A receive takes its timeout from the socket when it begins: the socket has the rest of it for that moment. */
function receiveWithTimeout(thread: WaitingThread, call: number, now: bigint): boolean {
  const { pid, tid, regs, wait } = thread;
  if (wait === undefined) return false;
  const pidfd = tryPidfdOpen(pid);
  if (failed(pidfd)) return false;
  const fd = tryPidfdGetfd(pidfd, Number(BigInt.asIntN(32, getReg(regs, "di"))));
  close(pidfd);
  if (failed(fd)) return false;
  try {
    const before = tryGetsockopt(fd, SOL_SOCKET, SO_RCVTIMEO);
    if (typeof before === "number" || before.length !== 16) return false;
    const timeout = before.readBigInt64LE(0) * million + before.readBigInt64LE(8);
    if (timeout <= 0n) return false;
    const left = rest(timeout * 1000n, now - wait.began) / 1000n || 1n;
    const changed = Buffer.alloc(16);
    changed.writeBigInt64LE(left / million, 0);
    changed.writeBigInt64LE(left % million, 8);
    tryCall("setsockopt", fd, SOL_SOCKET, SO_RCVTIMEO, changed, changed.length);
    try {
      if (failed(tryDetach(tid))) return false;
      // The rest of the tree stands still meanwhile: nobody sees the other timeout.
      const end = performance.now() + asleepMs;
      while (!isAsleepIn(call, pid, tid) && performance.now() < end);
      const switches = Number(readStatus(procPath(pid, tid))?.get("voluntary_ctxt_switches") ?? -1);
      leaveNote({ pid, tid, sp: getReg(regs, "sp"), switches }, wait.began);
      return true;
    } finally {
      tryCall("setsockopt", fd, SOL_SOCKET, SO_RCVTIMEO, before, before.length);
    }
  } finally {
    close(fd);
  }
}
