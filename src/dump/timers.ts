// SPDX-License-Identifier: Apache-2.0
/** Interval timers and POSIX timers with the time that is left. */
import { intervalTimerRow, type ItimerKind, itimerKindNames, posixTimerRow } from "../gen/tables.js";
import { failed, tryReadSmall } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { innermost, procPath, readStatus } from "./procfs.js";

const second = 1_000_000_000n;

/** setitimer(2) timers that are armed. */
export function collectIntervalTimers(context: DumpContext, process: DumpedProcess): void {
  const out = Buffer.alloc(32);
  for (const [number, which] of itimerKindNames as ReadonlyMap<number, ItimerKind>) {
    if (failed(process.injector().call("getitimer", number, { out }))) continue;
    const intervalUs = out.readBigInt64LE(0) * 1_000_000n + out.readBigInt64LE(8);
    const valueUs = out.readBigInt64LE(16) * 1_000_000n + out.readBigInt64LE(24);
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

/** timer_create(2) timers. */
export function collectPosixTimers(context: DumpContext, process: DumpedProcess): void {
  const text = tryReadSmall(`${procPath(process.pid)}/timers`)?.toString("latin1") ?? "";
  const out = Buffer.alloc(32);
  for (const timer of parseTimers(text)) {
    const injector = process.injector();
    if (failed(injector.call("timer_gettime", timer.id, { out }))) continue;
    const intervalNs = out.readBigInt64LE(0) * second + out.readBigInt64LE(8);
    const valueNs = out.readBigInt64LE(16) * second + out.readBigInt64LE(24);
    const overrun = injector.call("timer_getoverrun", timer.id);
    context.tables.posixTimers.push(
      posixTimerRow({
        task: process.row,
        timerId: timer.id,
        clock: timer.clock,
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

/** /proc gives the thread id in our namespace; the program knows it by the innermost one. */
function tidAsSeen(tid: number): number {
  const status = readStatus(procPath(tid));
  return (status && innermost(status, "NSpid")) ?? tid;
}
