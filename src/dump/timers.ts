// SPDX-License-Identifier: Apache-2.0
/** Interval timers and POSIX timers with the time that is left. */
import { type IntervalTimerRow, intervalTimerRow, type ItimerKind, itimerKindNames, posixTimerRow } from "../gen/tables.js";
import { failed, tryReadSmall } from "../native/index.js";
import type { DumpContext, DumpedProcess, Questioned } from "./context.js";
import { innermost, procPath, readStatus } from "./procfs.js";

/** Parts of a second that times are told in. */
const [microseconds, nanoseconds] = [1_000_000n, 1_000_000_000n];

/** Interval and time left of a struct itimerval or itimerspec: seconds, and parts of one, each. */
const timesOf = (out: Buffer, inSecond: bigint): readonly [bigint, bigint] => [
  out.readBigInt64LE(0) * inSecond + out.readBigInt64LE(8),
  out.readBigInt64LE(16) * inSecond + out.readBigInt64LE(24),
];

/** setitimer(2) timers that are armed. */
export function collectIntervalTimers(context: Pick<DumpContext, "tables">, process: Questioned): void {
  const out = Buffer.alloc(32);
  for (const [number, which] of itimerKindNames as ReadonlyMap<number, ItimerKind>) {
    if (failed(process.injector().call("getitimer", number, { out }))) continue;
    const [intervalUs, valueUs] = timesOf(out, microseconds);
    if (valueUs === 0n && intervalUs === 0n) continue;
    context.tables.intervalTimers.push(intervalTimerRow({ task: process.row, which, valueUs, intervalUs }));
  }
}

/** One entry of /proc/PID/timers. */
interface TimerEntry {
  readonly id: number;
  readonly signal: number;
  readonly sigval: bigint;
  readonly notify: number;
  readonly notifyTid: number;
  readonly clock: number;
}

/** Parses /proc/PID/timers (fs/proc/base.c, show_timer). */
export function parseTimers(text: string): TimerEntry[] {
  return text
    .split(/^ID: /m)
    .slice(1)
    .map((block) => {
      const signal = /^signal: (\d+)\/([0-9a-f]+)/m.exec(block);
      const notify = /^notify: (\w+)\/(\w+)\.(\d+)/m.exec(block);
      const kind = { signal: 0, none: 1, thread: 2 }[notify?.[1] ?? "signal"] ?? 0;
      const toThread = notify?.[2] === "tid";
      return {
        id: parseInt(block, 10),
        signal: Number(signal?.[1] ?? 0),
        sigval: BigInt(`0x${signal?.[2] ?? "0"}`),
        notify: kind | (toThread ? 4 : 0),
        notifyTid: toThread ? Number(notify?.[3] ?? 0) : 0,
        clock: Number(/^ClockID: (-?\d+)/m.exec(block)?.[1] ?? 0),
      };
    });
}

/** Whether a timer has run out between two looks: it has less than nothing left, or more than before. */
const hasEnded = (before: bigint, now: bigint): boolean => before > 0n && (now === 0n || now > before);

/**
 * The timers of a process once more, after its signals. One that has run out in between is also among the signals, perhaps: it would
 * ring twice. Its row is set to what is left now. Returns whether there was one: then the signals are to be looked at again.
 */
export function refreshTimers({ tables }: DumpContext, process: DumpedProcess): boolean {
  const { intervalTimers, posixTimers } = tables;
  const out = Buffer.alloc(32);
  let found = false;
  for (let index = intervalTimers.length - 1; index >= 0; index--) {
    const row = intervalTimers[index] as IntervalTimerRow;
    const number = [...itimerKindNames].find(([, name]) => name === row.which)?.[0];
    if (row.task !== process.row || number === undefined || failed(process.injector().call("getitimer", number, { out }))) continue;
    const [intervalUs, valueUs] = timesOf(out, microseconds);
    if (!hasEnded(row.valueUs, valueUs)) continue;
    intervalTimers.splice(index, 1, ...(valueUs === 0n && intervalUs === 0n ? [] : [{ ...row, valueUs, intervalUs }]));
    found = true;
  }
  for (const [index, row] of posixTimers.entries()) {
    if (row.task !== process.row || failed(process.injector().call("timer_gettime", row.timerId, { out }))) continue;
    const [intervalNs, valueNs] = timesOf(out, nanoseconds);
    if (!hasEnded(row.valueNs, valueNs)) continue;
    posixTimers[index] = { ...row, valueNs, intervalNs };
    found = true;
  }
  return found;
}

/** timer_create(2) timers. */
export function collectPosixTimers(context: DumpContext, process: DumpedProcess): void {
  const text = (process.own?.file("timers") ?? tryReadSmall(`${procPath(process.pid)}/timers`))?.toString("latin1") ?? "";
  const out = Buffer.alloc(32);
  for (const timer of parseTimers(text)) {
    const injector = process.injector();
    const clockTid = ownerOfClock(context, process, timer);
    if (clockTid === undefined || failed(injector.call("timer_gettime", timer.id, { out }))) continue;
    const [intervalNs, valueNs] = timesOf(out, nanoseconds);
    const overrun = injector.call("timer_getoverrun", timer.id);
    context.tables.posixTimers.push(
      posixTimerRow({
        task: process.row,
        timerId: timer.id,
        // Without the id in it: that of the caller.
        clock: timer.clock < 0 ? ownClock | (timer.clock & 7) : timer.clock,
        clockTid,
        notify: timer.notify,
        signal: timer.signal,
        notifyTid: timer.notifyTid === 0 ? 0 : tidAsSeen(timer.notifyTid),
        sigval: timer.sigval,
        valueNs,
        intervalNs,
        overrun: overrun > 0 ? overrun : 0,
      }),
    );
  }
}

/** A CPU clock's number is (~id << 3) | kind (linux/posix-timers.h); an id of 0 is the caller. */
const ownClock = ~0 << 3;
/** The kind's bit of a thread's clock. */
const perThread = 4;

/**
 * Whose CPU clock a timer is on, as the program sees it; 0 for the leader's, its process's, or another clock. undefined
 * where that cannot be told, and the timer is left out.
 */
function ownerOfClock(context: DumpContext, process: DumpedProcess, timer: TimerEntry): number | undefined {
  if (timer.clock >= 0) return 0;
  const named = ~(timer.clock >> 3);
  const isOfThread = (timer.clock & perThread) !== 0;
  const own = context.tables.tasks[process.row]?.pid;
  const holder = `process ${process.pid} (${process.name}): POSIX timer ${timer.id}`;
  if (named !== 0) {
    const isKnown = isOfThread
      ? context.tables.threads.some(({ task, tid }) => task === process.row && tid === named)
      : context.tables.tasks.some(({ pid }) => pid === named);
    if (isKnown) return named === own ? 0 : named;
    context.leaveOut("thread-clock", `${holder} is on the CPU clock of ${named}, which is not in the tree or has ended`);
    return undefined;
  }
  if (!isOfThread || process.frozen.threads.length === 1) return 0;
  // The kernel does not tell whose clock CLOCK_THREAD_CPUTIME_ID was. The time that is left shrinks when the owner works.
  const owner = threadWhoseWorkCounts(process, timer);
  if (owner !== undefined) return owner === process.pid ? 0 : tidAsSeen(owner);
  if (timer.notifyTid !== 0) return timer.notifyTid === process.pid ? 0 : tidAsSeen(timer.notifyTid);
  context.leaveOut("thread-clock", `${holder} is on the CPU clock of one of its threads, and does not tell of which`);
  return undefined;
}

/** The thread (as crimg sees it) that makes the time left shrink; undefined if none does (a timer that is not armed). */
function threadWhoseWorkCounts(process: DumpedProcess, timer: TimerEntry): number | undefined {
  const leader = process.injector();
  const out = Buffer.alloc(32);
  const left = (): bigint => {
    leader.call("timer_gettime", timer.id, { out });
    return timesOf(out, nanoseconds)[1];
  };
  if (left() === 0n) return undefined;
  // Asking is work of the leader.
  const before = left();
  let last = left();
  if (last !== before) return process.pid;
  const others = process.frozen.threads.slice(1).sort((a, b) => Number(b.tid === timer.notifyTid) - Number(a.tid === timer.notifyTid));
  for (const thread of others) {
    const injector = process.injectorFor(thread);
    try {
      injector.call("gettid");
    } finally {
      injector.close();
    }
    const now = left();
    if (now !== last) return thread.tid;
    last = now;
  }
  return undefined;
}

/** /proc gives the thread id in our namespace; the program knows it by the innermost one. */
function tidAsSeen(tid: number): number {
  const status = readStatus(procPath(tid));
  return (status && innermost(status, "NSpid")) ?? tid;
}
