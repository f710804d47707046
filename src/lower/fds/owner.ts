// SPDX-License-Identifier: Apache-2.0
/** Who gets SIGIO: set late, when the processes exist. */
import { type FileSlots, fcntl, openFlags } from "./shared.js";

const ownerTypes = { tid: 0, pid: 1, pgrp: 2 } as const;
const settableFlags = openFlags.APPEND | openFlags.ASYNC | openFlags.DIRECT | openFlags.NOATIME | openFlags.NONBLOCK;

/** F_SETSIG and F_SETOWN_EX through number `fd` of the current task, as the user who had set it. */
export function setOwner(slots: FileSlots, index: number, fd: number): void {
  const { builder, checkpoint } = slots.context;
  const file = slots.file(index);
  if (file.ownerSignal !== 0) builder.syscall("fcntl", [fd, fcntl.SETSIG, file.ownerSignal], { message: `set the signal of fd ${fd}` });
  if (file.ownerType === "none" || file.ownerPid === 0) return;
  const task = file.ownerType === "pid" ? checkpoint.taskIndexOf(file.ownerPid) : undefined;
  const owner = builder.buffer(8);
  builder.store4(owner, ownerTypes[file.ownerType]);
  builder.store4(owner.at(4), task === undefined ? file.ownerPid : slots.context.taskPid(task));
  // The kernel remembers who sets the owner, and later lets signals through as that user's.
  const isOther = file.ownerUid !== 0 || file.ownerEuid !== 0;
  if (isOther) builder.syscall("setresuid", [file.ownerUid, file.ownerEuid, -1], { expect: "any" });
  builder.syscall("fcntl", [fd, fcntl.SETOWN_EX, owner], { message: `set the owner of fd ${fd} to ${file.ownerType} ${file.ownerPid}` });
  if (isOther) builder.syscall("setresuid", [0, 0, -1], { expect: "any" });
}

/** O_ASYNC, after the owner. */
export function setAsync(slots: FileSlots, index: number, fd: number): void {
  const { flags } = slots.file(index);
  if ((flags & openFlags.ASYNC) === 0) return;
  slots.context.builder.syscall("fcntl", [fd, fcntl.SETFL, flags & settableFlags], { message: `set O_ASYNC of fd ${fd}` });
}
