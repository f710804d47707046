// SPDX-License-Identifier: Apache-2.0
/** Who gets SIGIO: set late, when the processes exist. */
import type { OpenFileRow } from "../../gen/tables.js";
import { PR } from "../constants.js";
import type { Arg } from "../operands.js";
import { type FileSlots, fcntl, openFlags } from "./shared.js";

const ownerTypes = { tid: 0, pid: 1, pgrp: 2 } as const;
const settableFlags = openFlags.APPEND | openFlags.ASYNC | openFlags.DIRECT | openFlags.NOATIME | openFlags.NONBLOCK;

/**
 * F_SETSIG and F_SETOWN_EX through number `fd` of the current task, as the user who had set it. An owner that is a thread
 * does not exist yet, unless it is the leader: `setThreadOwner` does it then.
 */
export function setOwner(slots: FileSlots, index: number, fd: number): void {
  const { builder, checkpoint } = slots.context;
  const file = slots.file(index);
  if (file.ownerSignal !== 0) builder.syscall("fcntl", [fd, fcntl.SETSIG, file.ownerSignal], { message: `set the signal of fd ${fd}` });
  if (file.ownerType === "none" || file.ownerPid === 0) return;
  const task = file.ownerType === "pgrp" ? undefined : checkpoint.taskIndexOf(file.ownerPid);
  if (file.ownerType === "tid" && task === undefined) return;
  setOwnerTo(slots, file, fd, task === undefined ? file.ownerPid : slots.context.taskPid(task));
}

/** F_SETOWN_EX of the files that belong to a thread other than its leader, by the thread itself. */
export function setThreadOwner(slots: FileSlots, thread: number): void {
  const { checkpoint } = slots.context;
  const { threads, files } = checkpoint.tables;
  const row = threads[thread];
  if (row === undefined || checkpoint.taskIndexOf(row.tid) !== undefined) return;
  files.forEach((file, index) => {
    if (file.ownerType !== "tid" || file.ownerPid !== row.tid) return;
    const holder = slots.holdersOf(index).find(({ task }) => task === row.task);
    if (holder) setOwnerTo(slots, file, holder.fd, slots.context.threadId(thread));
  });
}

function setOwnerTo({ context }: FileSlots, file: OpenFileRow, fd: number, id: Arg): void {
  const { builder } = context;
  if (file.ownerType === "none") return;
  const owner = builder.buffer(8);
  builder.store4(owner, ownerTypes[file.ownerType]);
  builder.store4(owner.at(4), id);
  // The kernel remembers who sets the owner, and later lets signals through as that user's.
  const isOther = file.ownerUid !== 0 || file.ownerEuid !== 0;
  if (isOther) builder.syscall("setresuid", [file.ownerUid, file.ownerEuid, -1], { expect: "any" });
  builder.syscall("fcntl", [fd, fcntl.SETOWN_EX, owner], { message: `set the owner of fd ${fd} to ${file.ownerType} ${file.ownerPid}` });
  if (isOther) {
    builder.syscall("setresuid", [0, 0, -1], { expect: "any" });
    builder.syscall("prctl", [PR.setDumpable, 1, 0, 0, 0], { expect: "any" });
  }
}

/** O_ASYNC, after the owner. */
export function setAsync(slots: FileSlots, index: number, fd: number): void {
  const { flags } = slots.file(index);
  if ((flags & openFlags.ASYNC) === 0) return;
  slots.context.builder.syscall("fcntl", [fd, fcntl.SETFL, flags & settableFlags], { message: `set O_ASYNC of fd ${fd}` });
}
