// SPDX-License-Identifier: Apache-2.0
/** Room for crimg's own copies of a tree's descriptors. */
import { CallBatch, close, DescriptorOrder, failed, fcntlCommand, tryCall, tryPrlimit, tryStat } from "../../native/index.js";

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

/** Descriptors from which on their order is worth finding beforehand, and how many take too much memory for that. */
const [manyDescriptors, tooMany] = [96, 1 << 15];

/**
 * What is done about the descriptors of a process before it stands still, on threads that nobody waits for: room for copies, and
 * where there are many, their order.
 */
export function prepareForDescriptors(pid: number): DescriptorOrder | undefined {
  const stat = tryStat(`/proc/${pid}/fd`);
  const count = typeof stat === "number" ? 0 : Number(stat.size);
  makeRoomForCopies(count);
  return count < manyDescriptors || count > tooMany ? undefined : new DescriptorOrder(pid, count);
}

/**
 * Descriptors from which on practice (ops/dump/warm-up.ts) costs a dump more than the program gains by it: of the time that it stands
 * still next to all is spent in the kernel then.
 */
const tooManyToPractise = 512;

export function areMany(order: DescriptorOrder | undefined): boolean {
  return order !== undefined && order.count >= tooManyToPractise;
}

/**
 * Begins to make crimg's descriptor table as large as copies of a process's descriptors may need. Where a process has several
 * threads, as Node has, the kernel waits for a grace period of RCU, milliseconds, each time it doubles the table
 * (expand_fdtable in fs/file.c): better once, before anything stands still, and on a thread that nobody waits for. Plain files
 * need no copies; who needs the room before it is there waits in the kernel. (Kernels before 6.2 tell of every process that it
 * has none.)
 */
function makeRoomForCopies(count: number): void {
  const wanted = count === 0 ? 0 : count + ownDescriptors;
  if (wanted <= roomAtFirst || wanted <= roomMade) return;
  raiseLimit();
  roomMade = wanted;
  const batch = new CallBatch(2);
  batch.add(wanted, "fcntl", 0, fcntlCommand.DUPFD_CLOEXEC, wanted);
  batch.add(0, "close", wanted);
  void batch.run().then(() => {
    if (batch.done === 0 && !failed(batch.result)) close(batch.result);
  });
}

let roomMade = 0;
