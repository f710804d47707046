// SPDX-License-Identifier: Apache-2.0
/** Interval timers and POSIX timers. Their clocks start here, so these ops come late. */
import type { Checkpoint } from "../model/checkpoint.js";
import { itimerKindValues, type PosixTimerRow } from "../gen/tables.js";
import { PR } from "./constants.js";
import type { Arg } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

const million = 1_000_000n;
const billion = 1_000_000_000n;
const SIGEV_THREAD_ID = 4;

/** Ops of the leader, when all its threads exist. `tidOf` gives a thread's id. */
export function lowerTimers(b: ProgramBuilder, checkpoint: Checkpoint, task: number, tidOf: (tid: number) => Arg): void {
  for (const row of checkpoint.tables.intervalTimers) {
    if (row.task !== task) continue;
    // Expired and not yet delivered: it is armed again when its queued signal is, provided that it has an interval.
    const left = row.valueUs > 0n ? row.valueUs : 1n;
    const value = b.u8s(row.intervalUs / million, row.intervalUs % million, left / million, left % million);
    b.syscall("setitimer", [itimerKindValues[row.which], value, 0], { message: `start interval timer ${row.which}` });
  }
  const timers = checkpoint.tables.posixTimers.filter((row) => row.task === task);
  if (timers.length === 0) return;
  const hint = "keeping timer ids needs Linux 6.15 or newer";
  b.syscall("prctl", [PR.timerCreateRestoreIds, 1, 0, 0, 0], { message: "make POSIX timers with their old ids", hint });
  for (const row of timers) {
    const event = new Uint8Array(64);
    const view = new DataView(event.buffer);
    view.setBigUint64(0, row.sigval, true);
    view.setInt32(8, row.signal, true);
    view.setInt32(12, row.notify, true);
    const sigevent = b.bytes(event);
    if ((row.notify & SIGEV_THREAD_ID) !== 0) b.store4(sigevent.at(16), tidOf(row.notifyTid));
    b.syscall("timer_create", [clockOf(b, row, tidOf), sigevent, b.u4s(row.timerId)], { message: `make POSIX timer ${row.timerId}` });
  }
  b.syscall("prctl", [PR.timerCreateRestoreIds, 0, 0, 0, 0], { message: "end making POSIX timers with their old ids" });
  for (const row of timers) {
    if (row.valueNs <= 0n && row.intervalNs <= 0n) continue;
    const value = row.valueNs > 0n ? row.valueNs : row.intervalNs;
    const setting = b.u8s(row.intervalNs / billion, row.intervalNs % billion, value / billion, value % billion);
    b.syscall("timer_settime", [row.timerId, 0, setting, 0], { message: `start POSIX timer ${row.timerId}` });
  }
}

/** A CPU clock of another thread or process has its id, which may be a new one, in its number: (~id << 3) | kind. */
function clockOf(b: ProgramBuilder, { clock, clockTid, timerId }: PosixTimerRow, tidOf: (tid: number) => Arg): Arg {
  if (clockTid === 0) return clock;
  const number = b.slot(`clock of timer ${timerId}`);
  b.compute(number, "sub", 0xffff_ffff_ffff_ffffn, tidOf(clockTid));
  b.compute(number, "shift_left", number, 3);
  b.compute(number, "or", number, clock & 7);
  return number;
}
