// SPDX-License-Identifier: Apache-2.0
/** Signal dispositions and signals that wait. */
import { pendingSignalRow, signalActionRow } from "../gen/tables.js";
import { peekSiginfo, QuestionList } from "../native/index.js";
import type { DumpContext, DumpedProcess, Questioned } from "./context.js";
import type { FrozenThread } from "./freeze.js";
import { refreshTimers } from "./timers.js";

const SIGKILL = 9;
const SIGSTOP = 19;

/** rt_sigaction of every signal; default ones (all fields zero) get no row. */
export function collectSignalActions(context: Pick<DumpContext, "tables">, process: Questioned): void {
  const injector = process.injector();
  const out = Buffer.alloc(32);
  for (let signal = 1; signal <= 64; signal++) {
    if (signal === SIGKILL || signal === SIGSTOP) continue;
    if (injector.call("rt_sigaction", signal, 0, { out }, 8) !== 0) continue;
    const [handler, flags, restorer, mask] = [0, 8, 16, 24].map((at) => out.readBigUInt64LE(at)) as [bigint, bigint, bigint, bigint];
    if ((handler | flags | restorer | mask) === 0n) continue;
    context.tables.signalActions.push(signalActionRow({ task: process.row, signal, handler, flags, restorer, mask }));
  }
}

/** Whether a thread has a signal in its own queue: struct ptrace_peeksiginfo_args, and room for one. */
const queued = new QuestionList([
  { call: "ptrace", args: [0x4209, { id: 1 }, { in: new Uint8Array(new BigUint64Array([0n, 1n << 32n]).buffer) }, { room: 128 }] },
]);

/** Whether any of these threads has a signal in its own queue. */
export function haveQueuedSignals(threads: readonly FrozenThread[]): boolean {
  const waiting = queued.ask(Int32Array.from(threads.flatMap(({ pid, tid }) => [pid, tid])));
  return threads.some((_, row) => waiting.result(row, 0) !== 0);
}

/** Looks at timers and signals, at most: with a timer of microseconds there would be no end. */
const mostLooks = 16;

/** Signals that wait, and the timers of the process as they were then; these have been collected. `threadRows`: see below. */
export function collectSignalsOfMoment(context: DumpContext, process: DumpedProcess, threadRows: readonly number[]): void {
  const { pendingSignals } = context.tables;
  const before = pendingSignals.length;
  for (let look = 0; look < mostLooks; look++) {
    pendingSignals.splice(before);
    collectPendingSignals(context, process, threadRows);
    if (!refreshTimers(context, process)) return;
  }
}

/** Queued signals of the process and of each thread. `threadRows` in the order of the frozen threads. */
function collectPendingSignals(context: DumpContext, process: DumpedProcess, threadRows: readonly number[]): void {
  const { pendingSignals } = context.tables;
  const leader = process.frozen.threads[0];
  if (leader) {
    for (const siginfo of peekSiginfo(leader.tid, true))
      pendingSignals.push(pendingSignalRow({ task: process.row, thread: null, siginfo }));
  }
  const threads = process.frozen.threads;
  const waiting = queued.ask(Int32Array.from(threads.flatMap(({ pid, tid }) => [pid, tid])));
  threads.forEach((thread, index) => {
    // Most have none.
    if (waiting.result(index, 0) === 0) return;
    for (const siginfo of peekSiginfo(thread.tid, false)) {
      pendingSignals.push(pendingSignalRow({ task: process.row, thread: threadRows[index] ?? null, siginfo }));
    }
  });
}
