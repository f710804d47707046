// SPDX-License-Identifier: Apache-2.0
/** Signalfds with their masks. */
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { detailOf, type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

export const lowering: FileLowering = { open: eachAlone(openSignalfd) };

function openSignalfd(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const { builder } = context;
  const file = slots.file(index);
  const row = detailOf(context.checkpoint.tables.signalfds, file, "signalfds");
  const purpose = slots.purposeOf(index);
  const slot = builder.slot(`signalfd ${purpose}`);
  builder.syscall("signalfd4", [-1, builder.u8s(row.mask), 8, (file.flags & openFlags.NONBLOCK) | openFlags.CLOEXEC], {
    store: slot,
    message: `make a signalfd ${purpose}`,
  });
  context.keepHigh(slot);
  return slot;
}
