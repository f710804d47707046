// SPDX-License-Identifier: Apache-2.0
/**
 * Files that can be opened only when the processes of the tree exist, by the task that holds them: pidfds, what lies in
 * /proc/PID of a process of the tree, and a task's own namespaces.
 */
import type { OpenFileRow } from "../../gen/tables.js";
import type { Slot } from "../operands.js";
import { AT_FDCWD, type FileSlots, openFlags } from "./shared.js";
import { flagsToOpen, objectOf } from "./paths.js";

const F_SETFD = 2;
/** NSFS_MAGIC */
const namespaceFs = 0x6e736673n;

/** True for a file that waits for the processes of the tree. */
export function isLate(slots: FileSlots, file: OpenFileRow): boolean {
  if (file.kind === "pidfd") return file.detail !== null;
  if (file.kind !== "path" || file.object === null) return false;
  const object = objectOf(slots, file);
  if (object.fsMagic === namespaceFs) return true;
  const pid = /^\/proc\/(\d+)(\/|$)/.exec(object.path)?.[1];
  if (pid === undefined) return false;
  const { tasks, threads } = slots.context.checkpoint.tables;
  return tasks.some((task) => task.pid === Number(pid)) || threads.some((thread) => thread.tid === Number(pid));
}

/** Opens a late file at number `fd` of the current task. */
export function openLate(slots: FileSlots, index: number, fd: number, isCloexec: boolean): void {
  const { builder } = slots.context;
  const file = slots.file(index);
  const slot = file.kind === "pidfd" ? openPidfd(slots, file, fd) : openPathLate(slots, file, fd);
  // The lowest free number may be the very one it is for, with close-on-exec set already.
  const inPlace = builder.label("in place");
  const done = builder.label("done");
  builder.jumpIf(slot, "eq", fd, inPlace);
  builder.syscall("dup3", [slot, fd, isCloexec ? openFlags.CLOEXEC : 0], { message: `put a file at fd ${fd}` });
  builder.syscall("close", [slot]);
  builder.jump(done);
  builder.place(inPlace);
  builder.syscall("fcntl", [fd, F_SETFD, isCloexec ? 1 : 0], { message: `set the flags of fd ${fd}` });
  builder.place(done);
}

function openPidfd({ context }: FileSlots, file: OpenFileRow, fd: number): Slot {
  const { builder, checkpoint } = context;
  const pid = file.detail ?? 0;
  const task = checkpoint.taskIndexOf(pid);
  const slot = builder.slot(`pidfd at fd ${fd}`);
  builder.syscall("pidfd_open", [task === undefined ? pid : context.taskPid(task), file.flags & openFlags.NONBLOCK], {
    store: slot,
    message: `open a pidfd of process ${pid} for fd ${fd}`,
  });
  return slot;
}

function openPathLate(slots: FileSlots, file: OpenFileRow, fd: number): Slot {
  const { builder } = slots.context;
  const object = objectOf(slots, file);
  const slot = builder.slot(`${object.path} at fd ${fd}`);
  builder.syscall("openat", [AT_FDCWD, builder.string(object.path), flagsToOpen(file, object) | openFlags.CLOEXEC | openFlags.NOCTTY, 0], {
    store: slot,
    message: `open ${object.path} for fd ${fd}`,
  });
  if (file.pos > 0n && (file.flags & openFlags.PATH) === 0) {
    builder.syscall("lseek", [slot, file.pos, 0], { message: `go to offset ${file.pos} of ${object.path} for fd ${fd}` });
  }
  return slot;
}
