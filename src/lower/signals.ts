// SPDX-License-Identifier: Apache-2.0
/** Signal actions and queued signals. Everything is blocked while these ops run, so nothing is delivered. */
import type { Checkpoint } from "../model/checkpoint.js";
import { SIG, sigsetSize } from "./constants.js";
import type { Arg } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

const lastSignal = 64;

/** Gives every signal its default action, as the first process may have been started with some ignored. */
export function resetSignalActions(b: ProgramBuilder): void {
  const byDefault = b.u8s(0, 0, 0, 0);
  for (let signal = 1; signal <= lastSignal; signal++) {
    if (signal === SIG.kill || signal === SIG.stop) continue;
    b.syscall("rt_sigaction", [signal, byDefault, 0, sigsetSize], { message: `reset the action of signal ${signal}` });
  }
}

/**
 * Actions of a task. SIGCHLD from helpers and zombies that ended during the restore is dropped first: giving a signal
 * a default action that ignores it empties its queue.
 */
export function lowerSignalActions(b: ProgramBuilder, checkpoint: Checkpoint, task: number): void {
  b.syscall("rt_sigaction", [SIG.chld, b.u8s(0, 0, 0, 0), 0, sigsetSize], { message: "drop what is queued of SIGCHLD" });
  for (const row of checkpoint.tables.signalActions) {
    if (row.task !== task || row.signal === SIG.kill || row.signal === SIG.stop) continue;
    const action = b.u8s(row.handler, row.flags, row.restorer, row.mask);
    b.syscall("rt_sigaction", [row.signal, action, 0, sigsetSize], { message: `set the action of signal ${row.signal}` });
  }
}

/**
 * Queues signals; the kernel lets a thread send itself any siginfo. `thread` undefined: those of the whole process,
 * sent by its leader.
 */
export function lowerPendingSignals(
  b: ProgramBuilder,
  checkpoint: Checkpoint,
  task: number,
  thread: number | undefined,
  pid: Arg,
  tid: Arg,
): void {
  for (const row of checkpoint.tables.pendingSignals) {
    if (row.task !== task || row.siginfo.length < 4 || row.thread !== (thread ?? null)) continue;
    const signal = new DataView(row.siginfo.buffer, row.siginfo.byteOffset).getInt32(0, true);
    const siginfo = b.bytes(row.siginfo);
    const options = { message: `queue signal ${signal}`, hint: "raise the limit on queued signals (ulimit -i)" };
    if (thread === undefined) b.syscall("rt_sigqueueinfo", [pid, signal, siginfo], options);
    else b.syscall("rt_tgsigqueueinfo", [pid, tid, signal, siginfo], options);
  }
}
