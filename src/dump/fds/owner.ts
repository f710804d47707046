// SPDX-License-Identifier: Apache-2.0
/** Who gets SIGIO: F_SETOWN, F_SETSIG. */
import type { OpenFileRow, OwnerType } from "../../gen/tables.js";
import { failed, fcntlCommand, tryFcntl } from "../../native/index.js";
import { type Description, pidAsSeen } from "./context.js";

const types: readonly OwnerType[] = ["tid", "pid", "pgrp"];

/** The owner fields of a description; empty for none. An owner that is gone gets nothing and is left out. */
export function ownerOf({ fd }: Description): Partial<OpenFileRow> {
  const signal = tryFcntl(fd, fcntlCommand.GETSIG);
  const owner = new Int32Array(2);
  if (failed(tryFcntl(fd, fcntlCommand.GETOWN_EX, owner))) return {};
  const ownerSignal = failed(signal) ? 0 : signal;
  const [type = 0, pid = 0] = owner;
  const seen = pid > 0 ? pidAsSeen(pid) : undefined;
  if (seen === undefined) return { ownerSignal };
  const ids = new Uint32Array(2);
  const hasIds = !failed(tryFcntl(fd, fcntlCommand.GETOWNER_UIDS, ids));
  return {
    ownerSignal,
    ownerType: types[type] ?? "none",
    ownerPid: seen,
    ownerUid: hasIds ? (ids[0] ?? 0) : 0,
    ownerEuid: hasIds ? (ids[1] ?? 0) : 0,
  };
}
