// SPDX-License-Identifier: Apache-2.0
/** Pidfds: those of processes of the tree are opened when these exist, those of dead ones come from a process that ends. */
import type { OpenFileRow } from "../../gen/tables.js";
import type { FileLowering } from "../../lower/fds/kind.js";
import { type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";
import { openDeadPidfds } from "./lower-dead.js";

export const lowering: FileLowering = {
  open: (slots, members) => ({ slots: openDeadPidfds(slots, members) }),
  late: { applies: (_slots, file) => file.detail !== null, open: openLate },
};

function openLate({ context }: FileSlots, file: OpenFileRow, fd: number): Slot {
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
