// SPDX-License-Identifier: Apache-2.0
/** Room for crimg's own copies of a tree's descriptors. */
import { close, failed, fcntlCommand, tryCall, tryFcntl, tryPrlimit, tryStat } from "../../native/index.js";

/** The kernel's table has room for as many from the start (NR_OPEN_DEFAULT). */
const roomAtFirst = 64;
/** Descriptors that crimg itself has, and as many more. */
const ownDescriptors = 40;

const RLIMIT_NOFILE = 7;

/** Our copies may be more than the usual 1024. */
export function raiseLimit(): void {
  const limit = tryPrlimit(0, RLIMIT_NOFILE);
  if (typeof limit === "number" || limit.soft === limit.hard) return;
  tryCall("prlimit64", 0, RLIMIT_NOFILE, new BigUint64Array([limit.hard, limit.hard]), null);
}

/**
 * Makes crimg's descriptor table as large as copies of a process's descriptors need. Where a process has several threads, as
 * Node has, the kernel waits for a grace period of RCU, milliseconds, each time it doubles the table (expand_fdtable in
 * fs/file.c): better once, and before anything stands still. A process that does not tell how many it has (kernels before
 * 6.2 tell 0) costs nothing.
 */
export function makeRoomForCopies(pid: number): void {
  const stat = tryStat(`/proc/${pid}/fd`);
  const wanted = typeof stat === "number" ? 0 : Number(stat.size) + ownDescriptors;
  if (wanted <= roomAtFirst) return;
  raiseLimit();
  const fd = tryFcntl(0, fcntlCommand.DUPFD_CLOEXEC, wanted);
  if (!failed(fd)) close(fd);
}
