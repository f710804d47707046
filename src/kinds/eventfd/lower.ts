// SPDX-License-Identifier: Apache-2.0
/** Eventfds with their counts. */
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { detailOf, type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

const EFD_SEMAPHORE = 1;

export const lowering: FileLowering = { open: eachAlone(openEventfd) };

function openEventfd(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const { builder } = context;
  const file = slots.file(index);
  const row = detailOf(context.checkpoint.tables.eventfds, file, "eventfds");
  const purpose = slots.purposeOf(index);
  const slot = builder.slot(`eventfd ${purpose}`);
  builder.syscall("eventfd2", [0, (row.isSemaphore !== 0 ? EFD_SEMAPHORE : 0) | (file.flags & openFlags.NONBLOCK) | openFlags.CLOEXEC], {
    store: slot,
    message: `make an eventfd ${purpose}`,
  });
  context.keepHigh(slot);
  // eventfd2 takes 32 bits only
  if (row.count > 0n) builder.syscall("write", [slot, builder.u8s(row.count), 8], { expect: 8, message: `set an eventfd ${purpose}` });
  return slot;
}
