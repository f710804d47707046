// SPDX-License-Identifier: Apache-2.0
/** Signal dispositions and signals that wait. */
import { pendingSignalRow, signalActionRow } from "../gen/tables.js";
import { peekSiginfo } from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";

const SIGKILL = 9;
const SIGSTOP = 19;

/** rt_sigaction of every signal; default ones (all fields zero) get no row. */
export function collectSignalActions(context: DumpContext, process: DumpedProcess): void {
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

/** Queued signals of the process and of each thread. `threadRows` in the order of the frozen threads. */
export function collectPendingSignals(context: DumpContext, process: DumpedProcess, threadRows: readonly number[]): void {
  const { pendingSignals } = context.tables;
  const leader = process.frozen.threads[0];
  if (leader) {
    for (const siginfo of peekSiginfo(leader.tid, true))
      pendingSignals.push(pendingSignalRow({ task: process.row, thread: null, siginfo }));
  }
  process.frozen.threads.forEach((thread, index) => {
    for (const siginfo of peekSiginfo(thread.tid, false)) {
      pendingSignals.push(pendingSignalRow({ task: process.row, thread: threadRows[index] ?? null, siginfo }));
    }
  });
}
