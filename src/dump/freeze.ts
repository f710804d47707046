// SPDX-License-Identifier: Apache-2.0
/**
 * Freezing: PTRACE_SEIZE and PTRACE_INTERRUPT every thread of the tree until no new thread or child appears.
 * Seized without options: when crimg dies, the kernel lets every thread run on.
 */
import { SysError } from "../native/sys.js";
import {
  awaitStops,
  decodeWaitStatus,
  errno,
  failed,
  getRegs,
  ptraceOption,
  QuestionList,
  regsLength,
  setRegs,
  stopRow,
  tryDetach,
  tryInterrupt,
  tryKill,
  trySetOptions,
  waitOption,
  waitTimeout,
} from "../native/index.js";
import { assertTraceable } from "./admission.js";
import { leaveVdso } from "./leave-vdso.js";
import { listChildrenOf, listThreads, PF_IO_WORKER, procPath, readStat, readStatus } from "./procfs.js";
import { refusal } from "./refusal.js";
import { abortedSequence } from "./rseq.js";
import { getReg, isSpuriousEintr, rewound } from "./registers.js";
import { isStillThatWait, noteWait, type NotedWait, releaseWithRest } from "./waits.js";

/** A thread that stands still under our trace. */
export interface FrozenThread {
  readonly pid: number;
  readonly tid: number;
  /** Registers it goes on with (user_regs_struct). */
  readonly regs: Buffer;
  readonly sigmask: bigint;
  /** Stop signals that arrived while it was held; sent again at the end. */
  readonly owedSignals: number[];
  /** The wait for a time that the stop cut short; `regs` make the call again. */
  readonly wait?: NotedWait;
  /** When it was seen to stand still, CLOCK_MONOTONIC of crimg, nanoseconds. */
  readonly stoppedAt: bigint;
}

/** A process of the tree. Zombies have no threads here. */
export interface FrozenProcess {
  readonly pid: number;
  /** Host pid of the parent; 0 for the root of the tree. */
  readonly parent: number;
  isZombie: boolean;
  /** The stop signal if the process was stopped by job control, else 0. */
  stopSignal: number;
  /** Leader first. */
  readonly threads: FrozenThread[];
}

/** Longest wait for one thread to stop, milliseconds. A thread in uninterruptible sleep does not. */
const stopTimeoutMs = 5000;

const SIGKILL = 9;
const SIGSTOP = 19;

const SIGTRAP = 5;

/** SIGCONT in a set of signals. */
const continued = 1n << 17n;

/** Bytes of /proc/PID/task/TID/syscall, at most. */
const roomOfSyscall = 192;

const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;
const seizing = new QuestionList([
  { call: "ptrace", args: [PTRACE_SEIZE, { id: 1 }, 0, ptraceOption.TRACESYSGOOD] },
  { file: "/proc/\u0001/task/\u0002/syscall" },
]);
const interrupting = new QuestionList([{ call: "ptrace", args: [PTRACE_INTERRUPT, { id: 1 }, 0, 0] }]);
const detaching = new QuestionList([{ call: "ptrace", args: [PTRACE_DETACH, { id: 1 }, 0, 0] }]);

function idsOf({ pid }: Pick<FrozenProcess, "pid">, tids: readonly number[]): Int32Array {
  return Int32Array.from(tids.flatMap((tid) => [pid, tid]));
}

/** A thread that could not be seized has ended; else it is told why. */
function assertGone({ pid }: FrozenProcess, tid: number, result: number): void {
  const stat = readStat(procPath(pid, tid));
  if (stat === undefined || stat.state === "Z" || stat.state === "X") return;
  assertTraceable(pid, tid, stat);
  throw refusal(
    "not-permitted",
    `process ${pid}: not permitted to trace thread ${tid} (${new SysError("ptrace(SEIZE)", -result).message})`,
    {
      hint: "Run as the owner of the process, or as root; a program may also have made itself untraceable (PR_SET_DUMPABLE).",
    },
  );
}

/** Rounds over the whole tree before we give up on one that forks faster than we look. */
const maximumRounds = 200;

export interface FreezeOptions {
  /** Only the process itself; children stay out. */
  readonly noTree?: boolean;
}

/** The tree under trace. `release` undoes everything. */
export class FrozenTree {
  readonly processes: FrozenProcess[] = [];
  readonly #held = new Map<number, FrozenThread>();
  /** Threads that the kernel has added to processes with an io_uring: they run on, and end what is under way there. */
  readonly #workers = new Set<number>();
  readonly #waits = new Map<number, NotedWait>();
  readonly #byPid = new Map<number, FrozenProcess>();
  /** Threads whose seccomp filters are out of force. */
  readonly #suspended = new Set<number>();

  /** Freezes a tree. On failure everything is let go and the error thrown. */
  static freeze(rootPid: number, options: FreezeOptions = {}): FrozenTree {
    const tree = new FrozenTree();
    try {
      tree.#freeze(rootPid, options);
      return tree;
    } catch (error) {
      tree.release();
      throw error;
    }
  }

  /** The process with this host pid. */
  process(pid: number): FrozenProcess | undefined {
    return this.#byPid.get(pid);
  }

  #freeze(rootPid: number, options: FreezeOptions): void {
    this.#add({ pid: rootPid, parent: 0, isZombie: false, stopSignal: 0, threads: [] });
    for (let round = 0; ; round++) {
      if (round === maximumRounds) {
        throw refusal("restless", `process ${rootPid}: new threads or children appear faster than they can be stopped`);
      }
      let news = 0;
      // The list grows while we walk it: children are appended.
      for (let index = 0; index < this.processes.length; index++) {
        const process = this.processes[index] as FrozenProcess;
        if (process.isZombie) continue;
        const seized = this.#seizeThreads(process);
        news += seized;
        // The root will be looked at again: one that has no children is asked for them once.
        if (!options.noTree && (index > 0 || round > 0 || seized === 0)) news += this.#findChildren(process);
      }
      if (news === 0) break;
    }
    for (const process of this.processes) {
      process.threads.sort((a, b) => Number(b.tid === process.pid) - Number(a.tid === process.pid) || a.tid - b.tid);
      if (!process.isZombie && process.threads[0]?.tid !== process.pid) {
        throw refusal("dead-leader", `process ${process.pid}: its first thread has ended while others run`);
      }
      if (!process.isZombie && process.stopSignal === 0) leaveVdso(process);
    }
  }

  #add(process: FrozenProcess): void {
    this.processes.push(process);
    this.#byPid.set(process.pid, process);
  }

  /** Seizes threads that are not held yet. Returns how many. */
  #seizeThreads(process: FrozenProcess): number {
    const failure = { errno: 0 };
    const tids = listThreads(process.pid, failure);
    if (tids === undefined) {
      if (process.parent === 0) throw refusal("ended", `process ${process.pid}: it ended while being dumped`);
      // To forget one that is there would leave it standing still.
      if (readStat(procPath(process.pid)) !== undefined) throw new SysError("getdents64", failure.errno, `/proc/${process.pid}/task`);
      // A child that ended and that nobody waits for (SIGCHLD ignored) is simply no longer part of the tree.
      this.#drop(process);
      return 1;
    }
    const fresh = this.#seize(
      process,
      tids.filter((tid) => !this.#held.has(tid) && !this.#workers.has(tid)),
    );
    this.#awaitStops(process, fresh);
    if (fresh.length === 0 && process.threads.length === 0) {
      const state = readStat(procPath(process.pid))?.state;
      if (state === "Z" && process.parent !== 0) process.isZombie = true;
      else if (state === "Z") throw refusal("zombie", `process ${process.pid}: it has ended already and waits for its parent`);
    }
    return fresh.length;
  }

  #drop(process: FrozenProcess): void {
    this.#byPid.delete(process.pid);
    this.processes.splice(this.processes.indexOf(process), 1);
    for (const thread of process.threads) this.#held.delete(thread.tid);
  }

  /** Seizes threads and asks them to stop. Returns those that were there. */
  #seize(process: FrozenProcess, tids: readonly number[]): number[] {
    const answers = seizing.ask(idsOf(process, tids), tids.length * roomOfSyscall);
    const seized = tids.filter((tid, row) => {
      if (failed(answers.result(row, 0))) return false;
      this.#held.set(tid, { pid: process.pid, tid, regs: Buffer.alloc(0), sigmask: 0n, owedSignals: [], stoppedAt: 0n });
      return true;
    });
    // All are held before anything can fail: what is not held would stay traced.
    tids.forEach((tid, row) => {
      const result = answers.result(row, 0);
      if (failed(result)) assertGone(process, tid, result);
    });
    tids.forEach((tid, row) => {
      if (!this.#held.has(tid)) return;
      const wait = noteWait(process.pid, tid, answers.bytes(row, 1));
      if (wait !== undefined) this.#waits.set(tid, wait);
    });
    const interrupted = interrupting.ask(idsOf(process, seized));
    seized.forEach((tid, row) => {
      const result = interrupted.result(row, 0);
      if (failed(result) && result !== -errno.ESRCH) throw new SysError("ptrace(INTERRUPT)", -result, `thread ${tid}`);
    });
    return seized;
  }

  /** Waits for the stops of seized threads and takes their registers; threads that end are dropped. */
  #awaitStops(process: FrozenProcess, tids: readonly number[]): void {
    const stops = awaitStops(idsOf(process, tids), stopTimeoutMs);
    tids.forEach((tid, index) => {
      const row = stops.subarray(index * stopRow.length, (index + 1) * stopRow.length);
      const result = Number(row.readBigInt64LE(stopRow.result));
      if (result === 0) this.#take(process, tid, row);
      else if (result === 1) this.#held.delete(tid);
      else if (result !== -errno.ETIMEDOUT) throw new SysError("wait for the stop", -result, `thread ${tid}`);
      else {
        const state = readStat(procPath(process.pid, tid))?.state ?? "?";
        throw refusal(
          "unstoppable",
          `process ${process.pid}: thread ${tid} does not stop within ${stopTimeoutMs / 1000} s (state ${state})`,
          {
            hint: "It waits inside the kernel, for a disk or for a child made by vfork(2). Try again later.",
          },
        );
      }
    });
  }

  /** Takes a thread that stands still. `row`: see `stopRow`. */
  #take(process: FrozenProcess, tid: number, row: Buffer): void {
    const signal = (row.readUInt32LE(stopRow.status) >> 8) & 0xff;
    if (signal !== SIGTRAP) process.stopSignal = signal;
    const found = row.subarray(stopRow.regs, stopRow.regs + regsLength);
    // No stack: it never was in the program.
    if (getReg(found, "sp") === 0n && isWorker(process.pid, tid)) {
      this.#held.delete(tid);
      this.#workers.add(tid);
      tryDetach(tid);
      return;
    }
    const isInSequence = row.readBigUInt64LE(stopRow.rseqCs) !== 0n;
    // Stopped by job control the call really was interrupted: EINTR is what the program is due.
    let regs = isInSequence ? abortedSequence(process.pid, tid, found) : found;
    if (signal === SIGTRAP) regs = mendedRegs(process.pid, tid, found, regs);
    const noted = signal === SIGTRAP ? this.#waits.get(tid) : undefined;
    const wait = noted !== undefined && isStillThatWait(noted, readStatus(procPath(process.pid, tid))) ? noted : undefined;
    const sigmask = row.readBigUInt64LE(stopRow.sigmask);
    const thread: FrozenThread = {
      pid: process.pid,
      tid,
      regs,
      sigmask,
      owedSignals: [],
      stoppedAt: row.readBigInt64LE(stopRow.stoppedAt),
      ...(wait === undefined ? {} : { wait }),
    };
    this.#held.set(tid, thread);
    process.threads.push(thread);
  }

  /** Adds children not seen before. Returns how many. */
  #findChildren(process: FrozenProcess): number {
    let news = 0;
    for (const child of listChildrenOf(
      process.pid,
      process.threads.map(({ tid }) => tid),
    )) {
      if (this.#byPid.has(child)) continue;
      const stat = readStat(procPath(child));
      if (stat === undefined) continue;
      this.#add({ pid: child, parent: process.pid, isZombie: stat.state === "Z", stopSignal: 0, threads: [] });
      news++;
    }
    return news;
  }

  /** Lets every thread go on as it was. `stopped` leaves the processes stopped by SIGSTOP. */
  release(stopped = false): void {
    if (stopped) {
      for (const process of this.processes) if (!process.isZombie) tryKill(process.pid, SIGSTOP);
    }
    const threads = [...this.#held.values()];
    for (const thread of threads) if (thread.owedSignals.length > 0 && isContinued(thread)) thread.owedSignals.splice(0);
    const goOn = threads.filter((thread) => thread.regs.length > 0 && (stopped || !isReleasedWithRest(thread)));
    const detached = detaching.ask(Int32Array.from(goOn.flatMap(({ pid, tid }) => [pid, tid])));
    goOn.forEach((thread, row) => {
      if (failed(detached.result(row, 0))) detachEarly(thread);
    });
    for (const thread of threads) {
      if (thread.regs.length === 0) detachEarly(thread);
      for (const signal of thread.owedSignals) tryKill(thread.pid, signal);
    }
    this.#held.clear();
  }

  /** Lets some threads go on as they were, while the others stand still. */
  releaseThreads(tids: readonly number[]): void {
    for (const tid of tids) {
      if (this.#held.has(tid) && !failed(tryDetach(tid))) this.#held.delete(tid);
    }
  }

  /** Makes the kernel kill every process if crimg dies. Best effort. */
  endWithTracer(): void {
    for (const tid of this.#held.keys()) {
      const suspended = this.#suspended.has(tid) ? ptraceOption.SUSPEND_SECCOMP : 0;
      trySetOptions(tid, ptraceOption.TRACESYSGOOD | ptraceOption.EXITKILL | suspended);
    }
  }

  /**
   * Takes the seccomp filters of a thread out of force while it is traced, so that calls injected into it are not judged
   * by them (PTRACE_O_SUSPEND_SECCOMP, ptrace(2): needs CAP_SYS_ADMIN and no filter on crimg itself). Detaching ends it.
   * Returns whether the kernel allows it.
   */
  suspendSeccomp(tid: number): boolean {
    if (failed(trySetOptions(tid, ptraceOption.TRACESYSGOOD | ptraceOption.SUSPEND_SECCOMP))) return false;
    this.#suspended.add(tid);
    return true;
  }

  /**
   * Ends every process. Waits until the descendants are gone, and for the root as long as `rootMs`: freeing much memory
   * takes a while, and an image waits for that too before it needs what the old processes had (lower/await-ends.ts).
   * @returns whether all are gone, or wait for their parent to look
   */
  kill(rootMs: number): boolean {
    // Parents come first in the list: from its end, a child is gone before its parent is touched.
    for (const process of [...this.processes].reverse()) {
      if (process.isZombie) continue;
      tryKill(process.pid, SIGKILL);
      const end = performance.now() + (process === this.processes[0] ? rootMs : longestEndMs);
      // A leader is reported only after the other threads of its process.
      const tids = [...process.threads.map(({ tid }) => tid).filter((tid) => tid !== process.pid), process.pid];
      if (!tids.every((tid) => hasEnded(tid, Math.max(1, Math.ceil(end - performance.now()))))) return false;
    }
    this.#held.clear();
    return true;
  }
}

/**
 * Registers of a thread that has just stopped for us. epoll_wait and others return EINTR because of the stop alone:
 * such a thread is set to make the call again. `regs`: what `found` became by the abort of a restartable sequence.
 */
function mendedRegs(pid: number, tid: number, found: Buffer, regs: Buffer): Buffer {
  if (regs !== found) {
    setRegs(tid, regs);
    return regs;
  }
  if (!isSpuriousEintr(regs, 0n)) return regs;
  const status = readStatus(procPath(pid, tid));
  const set = (name: string): bigint => BigInt(`0x${status?.get(name) || "0"}`);
  const deliverable = (set("SigPnd") | set("ShdPnd")) & ~set("SigBlk");
  if (!isSpuriousEintr(regs, deliverable)) return regs;
  const mended = rewound(regs);
  setRegs(tid, mended);
  return mended;
}

/**
 * Whether SIGCONT has been sent since the last stop signal: it waits, because of the trace even where it does nothing, and a stop
 * signal takes it away.
 */
function isContinued({ pid, tid }: FrozenThread): boolean {
  const status = readStatus(procPath(pid, tid));
  return ["SigPnd", "ShdPnd"].some((name) => (BigInt(`0x${status?.get(name) || "0"}`) & continued) !== 0n);
}

function isWorker(pid: number, tid: number): boolean {
  return ((readStat(procPath(pid, tid))?.field(9) ?? 0n) & PF_IO_WORKER) !== 0n;
}

/** `releaseWithRest`, but that a thread which has been killed meanwhile keeps no other from going on. */
function isReleasedWithRest(thread: FrozenThread): boolean {
  try {
    return releaseWithRest(thread);
  } catch {
    return false;
  }
}

/** Lets go of a thread that does not stand still, or was not successfully seen to stop. */
function detachEarly({ pid, tid }: FrozenThread): void {
  for (let attempt = 0; attempt < 8; attempt++) {
    try {
      // Works once it stands still; the trap that our interrupt causes must not leave EINTR behind.
      const found = getRegs(tid);
      mendedRegs(pid, tid, found, abortedSequence(pid, tid, found));
      if (!failed(tryDetach(tid))) return;
    } catch {
      // Not stopped yet.
    }
    tryInterrupt(tid);
    const waited = waitTimeout(tid, waitOption.WALL, 200);
    if (waited.pid === -errno.ECHILD) return;
    if (failed(waited.pid)) continue;
    const stop = decodeWaitStatus(waited.status);
    if (stop.kind !== "stopped") return;
    const isSignal = stop.event === 0 && (stop.signal & 0x80) === 0;
    if (isSignal && !failed(tryDetach(tid, stop.signal))) return;
  }
}

/** Longest wait for the end of a killed process, milliseconds. */
const longestEndMs = 60_000;

/** Waits at most that long for the end of a killed tracee; its memory is free then. */
function hasEnded(tid: number, milliseconds: number): boolean {
  for (;;) {
    const { pid, status } = waitTimeout(tid, waitOption.WALL, milliseconds);
    if (pid === -errno.ETIMEDOUT) return false;
    if (failed(pid)) return true;
    const state = decodeWaitStatus(status);
    if (state.kind === "exited" || state.kind === "killed") return true;
  }
}
