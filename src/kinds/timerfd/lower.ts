// SPDX-License-Identifier: Apache-2.0
/** Timerfds: made early, armed late, so that the restore's own time does not count. */
import type { TimerfdRow } from "../../gen/tables.js";
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { detailOf, type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Arg, DataRef, Slot } from "../../lower/operands.js";

const TFD_TIMER_ABSTIME = 1;
/** _IOW('T', 0, __u64); needs a kernel with CONFIG_CHECKPOINT_RESTORE. */
const TFD_IOC_SET_TICKS = 0x40085400;
const second = 1_000_000_000n;

export const lowering: FileLowering = { open: eachAlone(openTimerfd), finish: armTimerfd };

/** A timerfd, not armed yet. */
function openTimerfd(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const file = slots.file(index);
  const row = detailOf(context.checkpoint.tables.timerfds, file, "timerfds");
  const purpose = slots.purposeOf(index);
  const slot = context.builder.slot(`timerfd ${purpose}`);
  context.builder.syscall("timerfd_create", [row.clock, (file.flags & openFlags.NONBLOCK) | openFlags.CLOEXEC], {
    store: slot,
    message: `make a timerfd ${purpose}`,
  });
  context.keepHigh(slot);
  return slot;
}

/** Arms a timerfd that the current task has at `fd`. */
function armTimerfd(slots: FileSlots, index: number, fd: Arg): void {
  const { builder, checkpoint } = slots.context;
  const row = detailOf(checkpoint.tables.timerfds, slots.file(index), "timerfds");
  const message = `arm a timerfd ${slots.purposeOf(index)}`;
  // A periodic one that has expired unread is armed all the same: 0 would disarm it for ever.
  const value = row.valueNs === 0n && row.intervalNs > 0n && row.ticks > 0n ? 1n : row.valueNs;
  if (value > 0n || row.settimeFlags !== 0) {
    const spec = builder.u8s(row.intervalNs / second, row.intervalNs % second, value / second, value % second);
    const isAbsolute = (row.settimeFlags & TFD_TIMER_ABSTIME) !== 0 && value > 0n;
    if (isAbsolute) addNow(slots, row, spec.at(16));
    builder.syscall("timerfd_settime", [fd, row.settimeFlags, spec, 0], { message });
  }
  if (row.ticks > 0n) {
    builder.syscall("ioctl", [fd, TFD_IOC_SET_TICKS, builder.u8s(row.ticks)], {
      message: `set the expirations of a timerfd ${slots.purposeOf(index)}`,
      hint: "this needs a kernel with CONFIG_CHECKPOINT_RESTORE",
    });
  }
}

/** Makes the time left an absolute one: the clock's time now is added to the timespec at `spec`. */
function addNow(slots: FileSlots, row: TimerfdRow, spec: DataRef): void {
  const { builder } = slots.context;
  const now = builder.buffer(16);
  // The alarm clocks (8, 9) are read as CLOCK_REALTIME and CLOCK_BOOTTIME.
  const clock = row.clock === 8 ? 0 : row.clock === 9 ? 7 : row.clock;
  builder.syscall("clock_gettime", [clock, now], { message: "read the clock" });
  const seconds: Slot = builder.slot("seconds of a timer");
  const nanoseconds: Slot = builder.slot("nanoseconds of a timer");
  builder.compute(seconds, "add", spec.u8, now.u8);
  builder.compute(nanoseconds, "add", spec.at(8).u8, now.at(8).u8);
  const noCarry = builder.label("no carry");
  builder.jumpIf(nanoseconds, "lt", second, noCarry);
  builder.compute(nanoseconds, "sub", nanoseconds, second);
  builder.compute(seconds, "add", seconds, 1);
  builder.place(noCarry);
  builder.store8(spec, seconds);
  builder.store8(spec.at(8), nanoseconds);
}
