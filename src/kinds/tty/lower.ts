// SPDX-License-Identifier: Apache-2.0
/** Terminals that are none of the standard streams themselves: the caller's terminal, opened once more. */
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { badReference, type FileSlots, reopen } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

export const lowering: FileLowering = {
  open: eachAlone(reopenTerminal),
  streamsNeeded: (slots, file) => [slots.file(file).detail ?? 0],
};

function reopenTerminal(slots: FileSlots, index: number): Slot {
  const { detail, flags } = slots.file(index);
  const stream = slots.stream(detail ?? 0);
  if (stream === undefined) throw badReference(`standard stream ${detail ?? 0}`);
  return reopen(slots.context, stream, flags, "the terminal", slots.purposeOf(index));
}
