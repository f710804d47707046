// SPDX-License-Identifier: Apache-2.0
/** What the caller of the image gives: its standard streams. */
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { badReference, type FileSlots } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

export const lowering: FileLowering = {
  open: eachAlone(takeStream),
  streamsNeeded: (slots, file) => [slots.file(file).detail ?? 0, ...slots.holdersOf(file).flatMap(({ fd }) => (fd <= 2 ? [fd] : []))],
  // Standard streams are the caller's of the same number, so that redirections do what they say.
  sourceAt: (slots, file, fd) => (fd <= 2 && (slots.file(file).detail ?? 0) <= 2 ? slots.stream(fd) : undefined),
};

function takeStream(slots: FileSlots, index: number): Slot {
  const number = slots.file(index).detail ?? 0;
  const stream = slots.stream(number);
  if (stream === undefined) throw badReference(`standard stream ${number}`);
  return stream;
}
