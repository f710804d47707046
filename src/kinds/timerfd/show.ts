// SPDX-License-Identifier: Apache-2.0
/** Timerfds: a row in the list of descriptors, and one in the section of timers. */
import type { TimerfdRow } from "../../gen/tables.js";
import { detailsOf } from "../../ops/show/held-files.js";
import { clockName, durationText } from "../../ops/show/names.js";
import type { Scope } from "../../ops/show/scope.js";
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: () => "timerfd",
};

/** Rows of `timerfds` that the processes in question hold. */
export function timerfdsOf(scope: Scope): number[] {
  return detailsOf(scope, "timerfd").filter((detail) => detail < scope.checkpoint.tables.timerfds.length);
}

/** Owner, name, clock, time left, period, and what else there is to say of a timerfd. */
export function timerfdCells({ checkpoint }: Scope, detail: number): string[] {
  const row = checkpoint.tables.timerfds[detail] as TimerfdRow;
  return [
    "-",
    `timerfd #${detail}`,
    clockName(row.clock),
    durationText(row.valueNs),
    durationText(row.intervalNs),
    row.ticks > 0n ? `${row.ticks} unread` : "",
  ];
}
