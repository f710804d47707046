// SPDX-License-Identifier: Apache-2.0
/**
 * The last steps: every thread says that it is ready and waits; the first process then takes each by ptrace, lets one
 * thread of each address space unmap the hole (it stops at the exit of that system call, before any instruction of
 * what is gone), gives registers, extended state and signal mask, and lets go. Nothing of the restore is left.
 *
 * Where ptrace is not possible (the image itself runs under strace -f, or a security module forbids it), the threads
 * leave by rt_sigreturn, and the hole stays mapped.
 */
import { ERRNO, NT_X86_XSTATE, PR, PTRACE, SIG, WAIT } from "./constants.js";
import type { DeviceLowering } from "./devices.js";
import type { Lowering } from "./lowering.js";
import { endRehearsal } from "./rehearsal.js";
import { type Arg, type DataRef, type Label, rowId, type Slot } from "./operands.js";
import { hasTaskStates, setTaskStates, setThreadStates } from "./state-setter.js";
import { usesTiles } from "./tiles.js";
import { isRestarting, putUserRegs } from "./registers.js";
import { optionSlotValues } from "../gen/restore-program.js";
import { gpregs } from "../gen/tables.js";
import { nr } from "../linux/syscall-numbers.js";

/** No CPU's xstate is larger; the kernel takes what it needs (PTRACE_SETREGSET clips to its own size). */
const xstateRoom = 16384;
/** Stop of a seized thread: PTRACE_EVENT_STOP with SIGTRAP (the low byte says "stopped"). */
const stoppedByte = 0x7f;
const user64 = { cs: 0x33n, ss: 0x2bn, flags: 0x202n };

/** Ops of a thread: ready, then gone. `isRestarting`: rt_sigreturn restarts nothing, so the call is made again. */
export function lowerRelease(l: Lowering, index: number): void {
  const b = l.builder;
  const thread = l.thread(index);
  b.count(l.ready);
  if (l.checkpoint.threadsOf(thread.task)[0] === index && hasTaskStates(l, "last", thread.task)) {
    b.wait(l.seized, 1);
    setTaskStates(l, "last", thread.task);
    b.count(l.settled);
  }
  b.wait(l.go, 1);
  const altstack = b.u8s(thread.altstackSp, thread.altstackFlags, thread.altstackSize);
  b.op("leave", [l.userRegs(index), altstack, b.u8s(thread.sigMask), l.xstates.of(index) ?? 0, isRestarting(thread.regs) ? 1 : 0]);
}

/** Ops of the first process: takes every thread and lets all go. Continues at `done`. */
export function lowerSupervision(l: Lowering, codeSyscallOffset: bigint, done: Label, devices?: DeviceLowering): void {
  const b = l.builder;
  const threads = l.checkpoint.tables.threads.map((_, index) => index).filter((index) => l.task(l.thread(index).task).state !== "zombie");
  const leaders = new Set(
    l.checkpoint.tables.tasks.map((_, task) => l.checkpoint.threadsOf(task)[0]).filter((index) => index !== undefined),
  );
  const cannotTrace = b.label("cannot trace");
  const numSettled = l.checkpoint.tables.tasks.filter((row, task) => row.state !== "zombie" && hasTaskStates(l, "last", task)).length;
  // From namespaces of the tree's own the process outside is told, which tells those who wait.
  const tell = (): void => (l.own === undefined ? tellRunning(l) : b.count(l.supervised));
  const status = b.buffer(8);
  const tid = (index: number) => l.threadShared(index).u4;
  // In ops for rows.
  const name = (index: number) => `thread ${rowId} of ${l.taskName(l.thread(index).task)}`;
  const tidOf = (index: number) => l.thread(index).tid;
  const stop = (index: number): void => {
    b.syscall("wait4", [tid(index), status, WAIT.wall, 0], { message: `wait for ${name(index)} to stop` });
    const stopped = b.slot("is stopped");
    b.compute(stopped, "and", status.u4, 0xff);
    const ok = b.label("stopped");
    b.jumpIf(stopped, "eq", stoppedByte, ok);
    b.fail(`${name(index)} died before it ran`, "there may not be enough memory");
    b.place(ok);
  };
  l.seccomp?.trace();
  b.wait(l.ready, threads.length);
  endRehearsal(l, l.rehearsed);
  const untraced = threads.filter((index) => l.seccomp?.isTraced(index) !== true);
  const [first] = untraced;
  const mayFail = untraced.length === threads.length && first !== undefined;
  if (mayFail) b.syscall("ptrace", [PTRACE.seize, tid(first), 0, 0], { orElse: cannotTrace });
  b.forEach(untraced.slice(mayFail ? 1 : 0), tidOf, (index) =>
    b.syscall("ptrace", [PTRACE.seize, tid(index), 0, 0], { message: `take hold of ${name(index)}` }),
  );
  b.count(l.seized);
  if (numSettled > 0) b.wait(l.settled, numSettled);
  b.forEach(threads, tidOf, (index) => b.syscall("ptrace", [PTRACE.interrupt, tid(index), 0, 0], { message: `stop ${name(index)}` }));
  b.forEach(threads, tidOf, stop);

  // Every thread is stopped, so no thread is in the hole of an address space that loses it.
  const unmap = putUserRegs(b, gpregs({ ...user64, ax: BigInt(nr.munmap), origAx: 0xffff_ffff_ffff_ffffn }));
  b.pointer(unmap.at(14 * 8), { hole: 0n }); // di
  b.pointer(unmap.at(13 * 8), "hole_size"); // si
  b.pointer(unmap.at(16 * 8), { hole: codeSyscallOffset }); // ip
  const runCall = (index: number, registers: DataRef, call: string): void => {
    b.syscall("ptrace", [PTRACE.setregs, tid(index), 0, registers], { message: `make ${name(index)} call ${call}` });
    for (const when of ["entry", "exit"]) {
      b.syscall("ptrace", [PTRACE.syscall, tid(index), 0, 0], { message: `run ${name(index)} to the ${when} of ${call}` });
      stop(index);
    }
    // Once more into the kernel's signal code, which is where interrupted system calls are restarted.
    b.syscall("ptrace", [PTRACE.interrupt, tid(index), 0, 0], { message: `stop ${name(index)}` });
    b.syscall("ptrace", [PTRACE.cont, tid(index), 0, 0], { message: `run ${name(index)} out of ${call}` });
    stop(index);
  };
  const { tileCode } = l;
  if (tileCode !== undefined) {
    const users = threads.filter((index) => usesTiles(l.thread(index).xstate));
    b.forEach(users, tidOf, (index) => runCall(index, tileCode.registers, "getpid, after it has used a tile"));
  }
  b.forEach(
    threads.filter((index) => leaders.has(index)),
    tidOf,
    (index) => runCall(index, unmap, "munmap of the hole"),
  );
  const scratch = b.buffer(xstateRoom, 64);
  const vector = b.u8s(scratch, xstateRoom);
  b.forEach(threads, tidOf, (index) => giveState(l, index, { scratch, vector }));
  devices?.bringBack(true);
  l.lasting.end();
  const alreadyFree = new Set(devices?.threads);
  b.about("", () => {
    for (const index of threads) {
      const { task } = l.thread(index);
      if (leaders.has(index)) lowerStop(l, task);
    }
    letGo(
      l,
      threads.filter((index) => !alreadyFree.has(index)),
      status,
    );
  });
  l.lasting.close();
  tell();
  b.jump(done);

  b.place(cannotTrace);
  b.print("cannot trace the restored processes (is this running under strace?): some memory of the restore stays mapped in them");
  b.count(l.seized);
  if (numSettled > 0) b.wait(l.settled, numSettled);
  l.lasting.end();
  for (const [task, row] of l.checkpoint.tables.tasks.entries()) if (row.state !== "zombie") lowerStop(l, task);
  tell();
  b.count(l.go);
  l.lasting.close();
  devices?.bringBack(false);
  b.jump(done);
}

/**
 * Who is let go first may end the others at once (exit_group, execve, kill): then there is nobody to detach, and a traced
 * thread that has died is gone only when its tracer has waited for it. The leaders come last, as they end when the other
 * threads are gone; that of the root is our own child, and how it ends is for whoever waits for the program.
 */
function letGo(l: Lowering, threads: readonly number[], status: DataRef): void {
  const b = l.builder;
  const root = l.checkpoint.tables.checkpoint[0]?.rootTask ?? 0;
  const isLeader = (index: number): boolean => l.checkpoint.threadsOf(l.thread(index).task)[0] === index;
  const tidOf = (index: number): number => l.thread(index).tid;
  const leaders = threads.filter(isLeader);
  const results = leaders.length === 0 ? undefined : b.buffer(8 * leaders.length);
  const resultOf = new Map(leaders.flatMap((index, position) => (results === undefined ? [] : [[index, results.at(8 * position)]])));
  b.forEach(leaders, tidOf, (index) => {
    const result = detach(index);
    const kept = resultOf.get(index);
    if (kept !== undefined) b.store8(kept, result);
  });
  b.forEach(
    threads.filter((index) => !isLeader(index)),
    tidOf,
    (index) => ifDead(detach(index), index),
  );
  b.forEach(
    leaders.filter((index) => l.thread(index).task !== root),
    tidOf,
    (index) => ifDead(resultOf.get(index)?.u8 ?? 0, index),
  );

  function detach(index: number): Slot {
    const result = b.slot("result of letting it go");
    b.syscall("ptrace", [PTRACE.detach, l.threadShared(index).u4, 0, 0], {
      store: result,
      expect: [0, -ERRNO.srch],
      message: `let thread ${rowId} of ${l.taskName(l.thread(index).task)} go`,
    });
    return result;
  }

  function ifDead(result: Arg, index: number): void {
    const alive = b.label("went");
    b.jumpIf(result, "eq", 0, alive);
    b.syscall("wait4", [l.threadShared(index).u4, status, WAIT.wall, 0], { expect: "any" });
    b.place(alive);
  }
}

/**
 * The tree runs. An init goes on after a waiter that leaves, and ends with one that is killed; it must know which before the
 * waiter is told.
 */
export function tellRunning(l: Lowering): void {
  const b = l.builder;
  const keepWaiter = b.label("the waiter stays, or there is none");
  const detach = b.slots[optionSlotValues.detach];
  if (detach === undefined) throw new Error("no slot for --detach");
  b.jumpIf(l.isNamespaced, "eq", 0, keepWaiter);
  b.jumpIf(detach, "eq", 0, keepWaiter);
  b.syscall("prctl", [PR.setPdeathsig, 0, 0, 0, 0]);
  b.place(keepWaiter);
  b.count(l.running);
}

/** The signal that stopped a task; any other than a stop signal would do something else now. */
function stopSignalOf(l: Lowering, task: number): number {
  const { stopSignal } = l.task(task);
  const handled = l.checkpoint.tables.signalActions.some((row) => row.task === task && row.signal === stopSignal && row.handler !== 0n);
  const isStop = stopSignal === SIG.tstp || stopSignal === SIG.ttin || stopSignal === SIG.ttou;
  // Blocked, it would wait; handled, it would not stop.
  const blocked = l.checkpoint.threadsOf(task).some((index) => (l.thread(index).sigMask & (1n << BigInt(stopSignal - 1))) !== 0n);
  return isStop && !handled && !blocked && !isOrphaned(l, task) ? stopSignal : SIG.stop;
}

/** The kernel lets terminal stop signals do nothing in a group that nobody in the session, outside it, is a parent of. */
function isOrphaned(l: Lowering, task: number): boolean {
  const { tasks } = l.checkpoint.tables;
  const { pgid, sid } = l.task(task);
  return !tasks.some((row) => {
    const parent = row.parent === null ? undefined : tasks[row.parent];
    return row.pgid === pgid && parent !== undefined && parent.pgid !== pgid && parent.sid === sid;
  });
}

/** Stops a process that was stopped, or to any with --leave-stopped. */
function lowerStop(l: Lowering, task: number): void {
  const b = l.builder;
  const runs = b.label("runs on");
  const wasStopped = l.task(task).state === "stopped";
  const option = b.slots[optionSlotValues.leave_stopped];
  if (!wasStopped && option !== undefined) b.jumpIf(option, "eq", 0, runs);
  b.syscall("kill", [l.taskPid(task), wasStopped ? stopSignalOf(l, task) : SIG.stop], {
    message: `stop ${l.taskName(task)}${wasStopped ? ", as it was" : ""}`,
  });
  b.place(runs);
}

interface XstateRoom {
  readonly scratch: DataRef;
  readonly vector: DataRef;
}

function giveState(l: Lowering, index: number, room: XstateRoom): void {
  const b = l.builder;
  const thread = l.thread(index);
  const tid = l.threadShared(index).u4;
  const name = `thread ${rowId} of ${l.taskName(thread.task)}`;
  const xstate = l.xstates.of(index);
  if (xstate !== undefined) {
    b.copy(room.scratch, xstate, l.xstates.room);
    b.syscall("ptrace", [PTRACE.setregset, tid, NT_X86_XSTATE, room.vector], {
      message: `give ${name} its extended registers`,
      hint: "the processor may lack a feature that the program used",
    });
    b.store8(room.vector.at(8), xstateRoom);
  }
  b.syscall("ptrace", [PTRACE.setsigmask, tid, 8, b.u8s(thread.sigMask)], { message: `give ${name} its signal mask` });
  setThreadStates(l, "traced", index);
  b.syscall("ptrace", [PTRACE.setregs, tid, 0, l.userRegs(index)], { message: `give ${name} its registers` });
}
