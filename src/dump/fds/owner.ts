// SPDX-License-Identifier: Apache-2.0
/** Who gets SIGIO: F_SETOWN, F_SETSIG. */
import { decodeText } from "../../bytes/text.js";
import type { OpenFileRow, OwnerType } from "../../gen/tables.js";
import { failed, fcntlCommand, tryFcntl } from "../../native/index.js";
import type { DumpContext } from "../context.js";
import { type Description, nameOf, pidAsSeen, refuseDescription, stdioNumber } from "./context.js";

/** S_IFMT, S_IFDIR */
const [modeType, modeDirectory] = [0o170000, 0o040000];
const types: readonly OwnerType[] = ["tid", "pid", "pgrp"];

/** The owner fields of a description; empty for none. An owner that is gone gets nothing and is left out. */
export function ownerOf(context: DumpContext, description: Description): Partial<OpenFileRow> {
  const { signal, owner } = description.signals ?? askSignals(description.fd);
  if (owner === undefined) return {};
  const ownerSignal = failed(signal) ? 0 : signal;
  const [type, pid] = owner;
  const seen = pid > 0 ? pidAsSeen(pid) : undefined;
  if (seen === undefined) return { ownerSignal };
  // Of a directory nothing but that has an owner, who is told by a signal; which changes it is about cannot be asked.
  if ((description.stat.mode & modeType) === modeDirectory)
    context.leaveOut("dnotify", `${nameOf(description)}: it asked to be told of changes in ${decodeText(description.link)} (F_NOTIFY)`);
  if (!isOwn(context, description, types[type] ?? "none", pid, seen)) {
    // A terminal, say, whose owner the shell is: the next caller's is another.
    if (stdioNumber(description) !== undefined) return {};
    const who = type === 2 ? "process group" : type === 1 ? "process" : "thread";
    refuseDescription(description, "owner", `its signals go to ${who} ${seen} (F_SETOWN), which is none of those who have it`);
  }
  const ids = new Uint32Array(2);
  const hasIds = !failed(tryFcntl(description.fd, fcntlCommand.GETOWNER_UIDS, ids));
  return {
    ownerSignal,
    ownerType: types[type] ?? "none",
    ownerPid: seen,
    ownerUid: hasIds ? (ids[0] ?? 0) : 0,
    ownerEuid: hasIds ? (ids[1] ?? 0) : 0,
  };
}

function askSignals(fd: number): NonNullable<Description["signals"]> {
  const signal = tryFcntl(fd, fcntlCommand.GETSIG);
  const owner = new Int32Array(2);
  return failed(tryFcntl(fd, fcntlCommand.GETOWN_EX, owner)) ? { signal } : { signal, owner: [owner[0] ?? 0, owner[1] ?? 0] };
}

/** Whether the owner is of the tree, and a thread of a task that has the file: it is set by itself, through its descriptor. */
function isOwn({ processes, tables }: DumpContext, { holders }: Description, type: OwnerType, pid: number, seen: number): boolean {
  if (type === "pgrp") return tables.tasks.some(({ pgid }) => pgid === seen);
  if (processes.some((process) => process.pid === pid)) return true;
  return type === "tid" && holders.some(({ process }) => process.frozen.threads.some(({ tid }) => tid === pid));
}
