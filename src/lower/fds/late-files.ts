// SPDX-License-Identifier: Apache-2.0
/** Files that can be opened only when the processes of the tree exist, by the task that holds them. */
import type { LateOpening } from "./kind.js";
import { type FileSlots, openFlags } from "./shared.js";

const F_SETFD = 2;

/** Opens a late file at number `fd` of the current task. */
export function openLate(slots: FileSlots, late: LateOpening, index: number, fd: number, isCloexec: boolean): void {
  const { builder } = slots.context;
  const slot = late.open(slots, slots.file(index), fd);
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
