// SPDX-License-Identifier: Apache-2.0
/**
 * Inotify instances: made with their waiting events; their watches are added last of all, so that nothing that the restore
 * itself opens or closes is told.
 */
import type { ObjectRow } from "../../gen/tables.js";
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { keepMarked, watchedPath } from "../../lower/fds/marks.js";
import { type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";
import { IN } from "../../model/inotify-plan.js";
import { INOTIFY_IOC_SETNEXTWD, putEvents } from "./lower-events.js";

export const lowering: FileLowering = { open: eachAlone(openInotify), settle: addWatches };

function openInotify(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const { builder } = context;
  const file = slots.file(index);
  const purpose = slots.purposeOf(index);
  const slot = builder.slot(`inotify instance ${purpose}`);
  builder.syscall("inotify_init1", [openFlags.CLOEXEC | (file.flags & openFlags.NONBLOCK)], {
    store: slot,
    message: `make an inotify instance ${purpose}`,
    hint: "more may be allowed by sysctl fs.inotify.max_user_instances",
  });
  context.keepHigh(slot);
  const watches = context.checkpoint.tables.inotifyWatches.filter((row) => row.file === index);
  keepMarked(
    slots,
    watches.map(({ object }) => object),
    purpose,
  );
  const events = context.checkpoint.tables.inotifyEvents.filter((row) => row.file === index);
  if (events.length > 0) putEvents(context, slot, events, nextNumber(slots, index), purpose);
  return slot;
}

/** The number that the program's next watch gets at least: above all that it knows of. */
function nextNumber({ context }: FileSlots, index: number): number {
  const { inotifyWatches, inotifyEvents } = context.checkpoint.tables;
  return [...inotifyWatches, ...inotifyEvents].reduce((next, { file, wd }) => (file === index ? Math.max(next, wd + 1) : next), 1);
}

function addWatches(slots: FileSlots, index: number, instance: Slot): void {
  const { builder, checkpoint } = slots.context;
  const { inotifyWatches, objects } = checkpoint.tables;
  const purpose = slots.purposeOf(index);
  const rows = inotifyWatches.filter(({ file }) => file === index).sort((a, b) => a.wd - b.wd);
  for (const { wd, mask, object } of rows) {
    const target = objects[object] as ObjectRow;
    const message = `watch ${target.path} again (wd ${wd}) ${purpose}`;
    const path = watchedPath(slots, object, message);
    builder.syscall("ioctl", [instance, INOTIFY_IOC_SETNEXTWD, wd], { message: `choose watch descriptor ${wd} ${purpose}` });
    builder.syscall("inotify_add_watch", [instance, path, (mask | (target.kind === "symlink" ? IN.dontFollow : 0)) >>> 0], {
      expect: wd,
      message,
      hint: `${target.path} must be there as it was at the dump; more watches may be allowed by sysctl fs.inotify.max_user_watches`,
    });
  }
  builder.syscall("ioctl", [instance, INOTIFY_IOC_SETNEXTWD, nextNumber(slots, index)], { message: `choose the next watch ${purpose}` });
}
