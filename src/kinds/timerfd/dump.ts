// SPDX-License-Identifier: Apache-2.0
/** Timerfds: what they hold is in fdinfo. */
import type { Collecting, Description } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import { decimalField, parseFdInfo, timeField } from "../../dump/fds/fdinfo.js";
import { eachAlone, type FileDump, type FileFields } from "../../dump/fds/kind.js";
import { timerfdRow } from "../../gen/tables.js";
import { tryCall, tryReadSmall } from "../../native/index.js";

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[timerfd]",
  collector: eachAlone(collectTimerfd),
};

/**
 * `settime flags` is octal. A periodic timer that has expired unread stands still until somebody asks for its time:
 * asking sets it going again in phase, and adds the expirations meanwhile. So it is asked before fdinfo is read.
 */
function collectTimerfd({ context }: Collecting, description: Description): FileFields {
  const time = Buffer.alloc(32);
  tryCall("timerfd_gettime", description.fd, time);
  const text = tryReadSmall(`/proc/self/fdinfo/${description.fd}`)?.toString("latin1");
  const info = (text === undefined ? undefined : parseFdInfo(text)) ?? description.info;
  const row = timerfdRow({
    clock: Number(decimalField(info, "clockid")),
    ticks: decimalField(info, "ticks"),
    settimeFlags: parseInt(info.fields.get("settime flags") ?? "0", 8) || 0,
    // Not what fdinfo says, which is 0 once more if the period is shorter than the time between the two.
    valueNs: timespecAt(time, 16) || timeField(info, "it_value"),
    intervalNs: timeField(info, "it_interval"),
  });
  return { kind: "timerfd", detail: context.tables.timerfds.push(row) - 1 };
}

/** A struct timespec as nanoseconds. */
function timespecAt(bytes: Buffer, at: number): bigint {
  return bytes.readBigInt64LE(at) * 1_000_000_000n + bytes.readBigInt64LE(at + 8);
}
