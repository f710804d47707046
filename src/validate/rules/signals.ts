// SPDX-License-Identifier: Apache-2.0
/** Rules about signals and timers. */
import type { Problem } from "../finding.js";
import { type ModelRule, hex, modelRule, taskName, vmaAt } from "../model-context.js";

const sigKill = 9;
const sigStop = 19;
const unblockable = (1n << BigInt(sigKill - 1)) | (1n << BigInt(sigStop - 1));
const siginfoBytes = 128;

const isSignal = (signal: number): boolean => signal >= 1 && signal <= 64;

export const signalRules: readonly ModelRule[] = [
  modelRule(
    { code: "signal.number", facet: "signals", summary: "Signal actions are for signals 1 to 64.", spec: "SPEC 5.6" },
    function* ({ tables }) {
      for (const [row, { signal }] of tables.signalActions.entries()) {
        if (!isSignal(signal))
          yield {
            message: "there is no such signal",
            at: { table: "signalActions", row, field: "signal" },
            expected: "1 to 64",
            actual: String(signal),
          };
      }
    },
  ),
  modelRule(
    { code: "signal.action-twice", facet: "signals", summary: "A process has one action for a signal.", spec: "SPEC 5.6" },
    function* (context) {
      const seen = new Set<string>();
      for (const [row, { task, signal }] of context.tables.signalActions.entries()) {
        if (seen.has(`${task} ${signal}`))
          yield {
            message: `${taskName(context, task)} has two actions for signal ${signal}`,
            at: { table: "signalActions", row, field: "signal" },
            actual: String(signal),
          };
        seen.add(`${task} ${signal}`);
      }
    },
  ),
  modelRule(
    { code: "signal.kill-stop", facet: "signals", summary: "SIGKILL and SIGSTOP have the default action.", spec: "sigaction(2)" },
    function* ({ tables }) {
      for (const [row, { signal, handler }] of tables.signalActions.entries()) {
        if ((signal === sigKill || signal === sigStop) && handler !== 0n) {
          yield {
            message: `signal ${signal} cannot be caught or ignored`,
            at: { table: "signalActions", row, field: "handler" },
            expected: "0x0",
            actual: hex(handler),
          };
        }
      }
    },
  ),
  modelRule(
    { code: "signal.handler", severity: "warning", facet: "signals", summary: "Handlers lie in executable memory.", spec: "SPEC 5.6" },
    function* (context) {
      for (const [row, { task, signal, handler }] of context.tables.signalActions.entries()) {
        const mm = context.tables.tasks[task]?.mm ?? null;
        if (handler <= 1n || mm === null) continue;
        const vma = vmaAt(context, mm, handler);
        if (vma !== undefined && (vma.prot & 4) !== 0) continue;
        yield {
          message:
            `the handler of ${taskName(context, task)} for signal ${signal} lies in ` +
            `${vma === undefined ? "no mapping" : "memory that is not executable"}`,
          at: { table: "signalActions", row, field: "handler" },
          actual: hex(handler),
        };
      }
    },
  ),
  modelRule(
    {
      code: "signal.mask",
      severity: "warning",
      facet: "signals",
      summary: "SIGKILL and SIGSTOP are not blocked: the kernel takes them out of every mask.",
      spec: "sigprocmask(2)",
    },
    function* ({ tables }) {
      for (const [row, { sigMask }] of tables.threads.entries()) {
        if ((sigMask & unblockable) !== 0n)
          yield { message: "the mask blocks SIGKILL or SIGSTOP", at: { table: "threads", row, field: "sig_mask" }, actual: hex(sigMask) };
      }
    },
  ),
  modelRule(
    {
      code: "signal.siginfo",
      facet: "signals",
      summary: "A queued signal has a siginfo of 128 bytes that names a signal.",
      spec: "SPEC 5.7",
    },
    function* ({ tables }): Generator<Problem> {
      for (const [row, { siginfo }] of tables.pendingSignals.entries()) {
        const at = { table: "pendingSignals", row, field: "siginfo" } as const;
        if (siginfo.length !== siginfoBytes) {
          yield { message: "the siginfo has the wrong length", at, expected: "128 bytes", actual: `${siginfo.length} bytes` };
          continue;
        }
        const signal = Buffer.from(siginfo.buffer, siginfo.byteOffset, 4).readInt32LE(0);
        if (!isSignal(signal)) yield { message: "the siginfo names no signal", at, expected: "si_signo 1 to 64", actual: String(signal) };
      }
    },
  ),
  modelRule(
    {
      code: "signal.pending-thread",
      facet: "signals",
      summary: "A signal queued for a thread is queued for one of that process.",
      spec: "SPEC 5.7",
    },
    function* (context) {
      for (const [row, { task, thread }] of context.tables.pendingSignals.entries()) {
        const target = thread === null ? undefined : context.tables.threads[thread];
        if (target === undefined || target.task === task) continue;
        yield {
          message: `thread ${target.tid} does not belong to ${taskName(context, task)}`,
          at: { table: "pendingSignals", row, field: "thread" },
        };
      }
    },
  ),
  modelRule(
    {
      code: "signal.altstack",
      severity: "warning",
      facet: "signals",
      summary: "An alternate stack lies in writable memory.",
      spec: "sigaltstack(2)",
    },
    function* (context) {
      const { tables } = context;
      for (const [row, thread] of tables.threads.entries()) {
        const mm = tables.tasks[thread.task]?.mm ?? null;
        if ((thread.altstackFlags & 2) !== 0 || thread.altstackSize === 0n || mm === null) continue;
        const vma = vmaAt(context, mm, thread.altstackSp);
        if (vma !== undefined && (vma.prot & 2) !== 0) continue;
        yield {
          message: `the alternate stack of thread ${thread.tid} lies in no writable mapping`,
          at: { table: "threads", row, field: "altstack_sp" },
          actual: hex(thread.altstackSp),
        };
      }
    },
  ),
  modelRule(
    { code: "timer.id-twice", facet: "timers", summary: "A process has each POSIX timer id once.", spec: "SPEC 5.9" },
    function* (context) {
      const seen = new Set<string>();
      for (const [row, { task, timerId }] of context.tables.posixTimers.entries()) {
        if (seen.has(`${task} ${timerId}`))
          yield {
            message: `${taskName(context, task)} has two timers ${timerId}`,
            at: { table: "posixTimers", row, field: "timer_id" },
            actual: String(timerId),
          };
        seen.add(`${task} ${timerId}`);
      }
    },
  ),
  modelRule(
    {
      code: "timer.target",
      facet: "timers",
      summary: "A timer that notifies a thread names one of its process, and a signal.",
      spec: "timer_create(2)",
    },
    function* (context) {
      const { checkpoint, tables } = context;
      for (const [row, timer] of tables.posixTimers.entries()) {
        if (timer.notify === 1) continue;
        if (!isSignal(timer.signal))
          yield {
            message: `timer ${timer.timerId} sends no signal`,
            at: { table: "posixTimers", row, field: "signal" },
            expected: "1 to 64",
            actual: String(timer.signal),
          };
        const tids = checkpoint.threadsOf(timer.task).map((index) => tables.threads[index]?.tid);
        if ((timer.notify & 4) !== 0 && !tids.includes(timer.notifyTid)) {
          yield {
            message: `timer ${timer.timerId} of ${taskName(context, timer.task)} notifies a thread that it does not have`,
            at: { table: "posixTimers", row, field: "notify_tid" },
            expected: tids.join(", "),
            actual: String(timer.notifyTid),
          };
        }
      }
    },
  ),
  modelRule(
    { code: "timer.negative", facet: "timers", summary: "Times left and periods are not negative.", spec: "SPEC 5.9, 5.18" },
    function* ({ tables }) {
      for (const table of ["posixTimers", "timerfds"] as const) {
        for (const [row, timer] of tables[table].entries()) {
          if (timer.valueNs < 0n)
            yield { message: "the time left is negative", at: { table, row, field: "value_ns" }, actual: String(timer.valueNs) };
          if (timer.intervalNs < 0n)
            yield { message: "the period is negative", at: { table, row, field: "interval_ns" }, actual: String(timer.intervalNs) };
        }
      }
    },
  ),
  modelRule(
    { code: "timer.interval-twice", facet: "timers", summary: "A process has one interval timer of a kind.", spec: "setitimer(2)" },
    function* (context) {
      const seen = new Set<string>();
      for (const [row, { task, which }] of context.tables.intervalTimers.entries()) {
        if (seen.has(`${task} ${which}`))
          yield {
            message: `${taskName(context, task)} has two ${which} timers`,
            at: { table: "intervalTimers", row, field: "which" },
            actual: which,
          };
        seen.add(`${task} ${which}`);
      }
    },
  ),
];
