// SPDX-License-Identifier: Apache-2.0
/** Locks and leases are taken at last: closing any descriptor of a file would end a process's posix locks on it. */
import type { FileLockRow } from "../../gen/tables.js";
import { SIG, sigsetSize } from "../constants.js";
import type { Arg } from "../operands.js";
import { AT_FDCWD, errno, type FileSlots, openFlags } from "./shared.js";

const F_SETLK = 6;
const F_OFD_SETLK = 37;
const F_SETLEASE = 1024;
const LOCK_NB = 4;
const SIG_IGN = 1;
const types = { read: 0, write: 1, unlock: 2 } as const;
const flockOperations = { read: 1, write: 2, unlock: 8 } as const;
const hint = "another process has it now: end that first";

/** The locks that a task takes: its own, and those of open files that it is the first to hold. */
export function takeLocks(slots: FileSlots, task: number): void {
  for (const lock of slots.context.checkpoint.tables.fileLocks) {
    const holders = slots.holdersOf(lock.file);
    const holder = lock.task === null ? holders[0] : holders.find((one) => one.task === lock.task);
    // In a rehearsal the program that was dumped has them still.
    if (holder?.task === task && lock.kind !== "lease") slots.context.builder.outside(() => takeLock(slots, lock, holder.fd));
  }
}

function takeLock(slots: FileSlots, lock: FileLockRow, fd: number): void {
  const { builder: b } = slots.context;
  const message = `take the ${lock.type} lock (${lock.kind}) of ${pathOf(slots, lock)} at fd ${fd} again`;
  if (lock.kind === "flock") {
    b.syscall("flock", [fd, flockOperations[lock.type] | LOCK_NB], { message, hint });
    return;
  }
  // struct flock: l_type and l_whence, two bytes each, then l_start, l_len, l_pid
  const request = b.u8s(types[lock.type], lock.start, lock.length, 0);
  b.syscall("fcntl", [fd, lock.kind === "posix" ? F_SETLK : F_OFD_SETLK, request], { message, hint });
}

/** Takes the lease on an open file, if there is one, through number `fd`. Before the owner is set: a lease sets it. */
export function takeLease(slots: FileSlots, file: number, fd: Arg): void {
  const lease = slots.context.checkpoint.tables.fileLocks.find((lock) => lock.file === file && lock.kind === "lease");
  if (lease !== undefined) slots.context.builder.outside(() => takeOneLease(slots, lease, fd));
}

function takeOneLease(slots: FileSlots, lease: FileLockRow, fd: Arg): void {
  const { builder: b } = slots.context;
  const message = `take the ${lease.type} lease of ${pathOf(slots, lease)} at fd ${fd} again`;
  b.syscall("fcntl", [fd, F_SETLEASE, types[lease.type]], { message, hint: "another process has the file open now: end that first" });
  if (lease.target === lease.type) return;
  // Somebody had opened the file, and the kernel had asked the holder to give in. Such an opening asks again.
  const path = b.buffer(40);
  b.format(path, "/proc/self/fd/", fd);
  const flags = (lease.target === "read" ? 0 : openFlags.WRONLY) | openFlags.NONBLOCK | openFlags.CLOEXEC;
  b.syscall("openat", [AT_FDCWD, path, flags, 0], { expect: -errno.EAGAIN, message: `begin to break the lease at fd ${fd}` });
  // The program has had the signal already; setting SIG_IGN forgets this one.
  b.syscall("rt_sigaction", [SIG.io, b.u8s(SIG_IGN, 0, 0, 0), 0, sigsetSize]);
  b.syscall("rt_sigaction", [SIG.io, b.u8s(0, 0, 0, 0), 0, sigsetSize]);
}

function pathOf({ context }: FileSlots, lock: FileLockRow): string {
  const { files, objects } = context.checkpoint.tables;
  const object = files[lock.file]?.object;
  return (object == null ? undefined : objects[object]?.path) ?? "a file";
}
