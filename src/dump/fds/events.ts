// SPDX-License-Identifier: Apache-2.0
/** eventfd, timerfd, signalfd, pidfd: what they hold is in fdinfo. */
import { eventfdRow, type OpenFileRow, signalfdRow, timerfdRow } from "../../gen/tables.js";
import { tryCall, tryReadSmall } from "../../native/index.js";
import { type Collecting, type Description, nameOf, pidAsSeen, refuseDescription } from "./context.js";
import { decimalField, hexField, parseFdInfo, timeField } from "./fdinfo.js";

/** An eventfd. A kernel before 6.3 does not say whether it is a semaphore: then it is taken for none. */
export function collectEventfd({ context }: Collecting, { info }: Description): Partial<OpenFileRow> {
  const row = eventfdRow({ count: hexField(info, "eventfd-count"), isSemaphore: Number(decimalField(info, "eventfd-semaphore")) });
  return { kind: "eventfd", detail: context.tables.eventfds.push(row) - 1 };
}

/**
 * A timerfd; `settime flags` is octal. A periodic timer that has expired unread stands still until somebody asks for its
 * time: asking sets it going again in phase, and adds the expirations meanwhile. So it is asked before fdinfo is read.
 */
export function collectTimerfd({ context }: Collecting, description: Description): Partial<OpenFileRow> {
  tryCall("timerfd_gettime", description.fd, Buffer.alloc(32));
  const text = tryReadSmall(`/proc/self/fdinfo/${description.fd}`)?.toString("latin1");
  const info = (text === undefined ? undefined : parseFdInfo(text)) ?? description.info;
  const row = timerfdRow({
    clock: Number(decimalField(info, "clockid")),
    ticks: decimalField(info, "ticks"),
    settimeFlags: parseInt(info.fields.get("settime flags") ?? "0", 8) || 0,
    valueNs: timeField(info, "it_value"),
    intervalNs: timeField(info, "it_interval"),
  });
  return { kind: "timerfd", detail: context.tables.timerfds.push(row) - 1 };
}

/** A signalfd; `sigmask` is the set of signals it takes. */
export function collectSignalfd({ context }: Collecting, { info }: Description): Partial<OpenFileRow> {
  return { kind: "signalfd", detail: context.tables.signalfds.push(signalfdRow({ mask: hexField(info, "sigmask") })) - 1 };
}

/**
 * A pidfd: `Pid` is -1 when the process is gone and reaped; then `object` says which pidfds are of the same process (the
 * inode of pidfs). Else `detail` is the pid as the tasks see it; it must be of the tree, or the pidfd would name a
 * stranger in the resumed world.
 */
export function collectPidfd({ context }: Collecting, description: Description): Partial<OpenFileRow> {
  const { stat, link, fsMagic, holders } = description;
  const pid = Number(description.info.fields.get("Pid") ?? "-1");
  if (pid <= 0) {
    return { kind: "pidfd", object: context.objects.add({ stat, link, fsMagic, fields: { kind: "other" }, holder: nameOf(description) }) };
  }
  if (holders.length === 0) refuseDescription(description, "scm_pidfd", "a pidfd");
  const isInside = context.processes.some((process) => process.pid === pid);
  if (!isInside) refuseDescription(description, "outside_pidfd", `a pidfd of process ${pid}, which is outside the tree`);
  const seen = pidAsSeen(pid);
  if (seen === undefined) refuseDescription(description, "gone_pidfd", `a pidfd of process ${pid}, which has just gone`, "Dump again.");
  return { kind: "pidfd", detail: seen };
}
