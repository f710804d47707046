// SPDX-License-Identifier: Apache-2.0
/** Sections about signals and timers. */
import type { IntervalTimerRow, PendingSignalRow, PosixTimerRow, SignalActionRow, ThreadRow } from "../../gen/tables.js";
import { timerfdCells, timerfdsOf } from "../../kinds/timerfd/show.js";
import type { Block } from "./document.js";
import { actionFlagNames, clockName, durationText, signalName, signalSetNames } from "./names.js";
import { type Scope, rowsOfTasks, taskTitle } from "./scope.js";
import type { Section } from "./section-tasks.js";

function handlerText(handler: bigint): string {
  if (handler === 0n) return "default";
  return handler === 1n ? "ignore" : `0x${handler.toString(16)}`;
}

/** siginfo_t begins with si_signo, si_errno, si_code (s4 each). */
function siginfoText(siginfo: Uint8Array): string {
  if (siginfo.length < 12) return "siginfo too short";
  const view = Buffer.from(siginfo.buffer, siginfo.byteOffset, siginfo.byteLength);
  return `${signalName(view.readInt32LE(0))} code ${view.readInt32LE(8)}`;
}

/** Actions that differ from the default, masks, and what is queued. */
export function signals(scope: Scope): Section {
  const { checkpoint } = scope;
  const { tables } = checkpoint;
  const actions = rowsOfTasks(tables.signalActions, scope);
  const pending = rowsOfTasks(tables.pendingSignals, scope);
  const threads = rowsOfTasks(tables.threads, scope);
  const blocks: Block[] = [];
  for (const task of scope.tasks) {
    const own = actions.map((index) => tables.signalActions[index] as SignalActionRow).filter((row) => row.task === task);
    const rows = own
      .filter((row) => row.handler !== 0n || row.flags !== 0n)
      .map((row) => [signalName(row.signal), handlerText(row.handler), actionFlagNames(row.flags), signalSetNames(row.mask)]);
    blocks.push({
      heading: `${taskTitle(scope, task)}: actions`,
      ...(rows.length > 0
        ? { columns: [{ title: "SIGNAL" }, { title: "HANDLER" }, { title: "FLAGS" }, { title: "MASK" }], rows }
        : { lines: ["all default"] }),
    });
    const masks = checkpoint.threadsOf(task).map((index) => tables.threads[index] as ThreadRow);
    const queued = pending.map((index) => tables.pendingSignals[index] as PendingSignalRow).filter((row) => row.task === task);
    blocks.push({
      heading: `${taskTitle(scope, task)}: masks and queues`,
      lines: [
        ...masks.map((thread) => {
          const alternate =
            (thread.altstackFlags & 2) === 0 && thread.altstackSize > 0n
              ? `, alternate stack 0x${thread.altstackSp.toString(16)} (${thread.altstackSize})`
              : "";
          return `thread ${thread.tid} blocks ${signalSetNames(thread.sigMask)}${alternate}`;
        }),
        ...queued.map((row) => {
          const target = row.thread === null ? "the process" : `thread ${tables.threads[row.thread]?.tid ?? "?"}`;
          return `${siginfoText(row.siginfo)} waits for ${target}`;
        }),
      ],
    });
  }
  return { blocks, selected: { signalActions: actions, pendingSignals: pending, threads } };
}

/** Interval timers, POSIX timers and timerfds. */
export function timers(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const interval = rowsOfTasks(tables.intervalTimers, scope);
  const posix = rowsOfTasks(tables.posixTimers, scope);
  const timerfds = timerfdsOf(scope);
  const rows: string[][] = [
    ...interval.map((index) => {
      const row = tables.intervalTimers[index] as IntervalTimerRow;
      const pid = String(tables.tasks[row.task]?.pid ?? "?");
      return [
        pid,
        `interval ${row.which}`,
        row.which === "real" ? "realtime" : "cpu",
        durationText(row.valueUs * 1000n),
        durationText(row.intervalUs * 1000n),
        "",
      ];
    }),
    ...posix.map((index) => {
      const row = tables.posixTimers[index] as PosixTimerRow;
      const pid = String(tables.tasks[row.task]?.pid ?? "?");
      const how = row.notify === 1 ? "no notice" : `${signalName(row.signal)}${row.notifyTid === 0 ? "" : ` to thread ${row.notifyTid}`}`;
      return [
        pid,
        `posix ${row.timerId}`,
        clockName(row.clock),
        durationText(row.valueNs),
        durationText(row.intervalNs),
        `${how}${row.overrun > 0 ? `, overrun ${row.overrun}` : ""}`,
      ];
    }),
    ...timerfds.map((detail) => timerfdCells(scope, detail)),
  ];
  const columns = [
    { title: "PID", align: "right" },
    { title: "TIMER" },
    { title: "CLOCK" },
    { title: "LEFT", align: "right" },
    { title: "PERIOD", align: "right" },
    { title: "" },
  ] as const;
  return {
    blocks: [rows.length > 0 ? { columns, rows } : { lines: ["no timers"] }],
    selected: { intervalTimers: interval, posixTimers: posix, timerfds },
  };
}
