// SPDX-License-Identifier: Apache-2.0
/** Fanotify groups; their marks are set last of all, so that nothing that the restore itself does is told. */
import type { FanotifyMarkRow, ObjectRow } from "../../gen/tables.js";
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { keepMarked, watchedPath } from "../../lower/fds/marks.js";
import { AT_FDCWD, detailOf, type FileSlots } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

/** FAN_MARK_* of linux/fanotify.h. */
const MARK = {
  add: 1,
  dontFollow: 4,
  mount: 0x10,
  ignoredMask: 0x20,
  survModify: 0x40,
  fileSystem: 0x100,
  evictable: 0x200,
  ignore: 0x400,
} as const;
const scopes = { inode: 0, mount: MARK.mount, file_system: MARK.fileSystem } as const;

export const lowering: FileLowering = { open: eachAlone(openGroup), settle: addMarks };

const marksOf = ({ context }: FileSlots, index: number): FanotifyMarkRow[] =>
  context.checkpoint.tables.fanotifyMarks.filter(({ file }) => file === index);

function openGroup(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const { builder } = context;
  const purpose = slots.purposeOf(index);
  const { flags, eventFlags } = detailOf(context.checkpoint.tables.fanotifyGroups, slots.file(index), "fanotifyGroups");
  const slot = builder.slot(`fanotify group ${purpose}`);
  builder.syscall("fanotify_init", [flags, eventFlags], {
    store: slot,
    message: `make a fanotify group ${purpose}`,
    hint: "resume as root",
  });
  context.keepHigh(slot);
  keepMarked(
    slots,
    marksOf(slots, index).map(({ object }) => object),
    purpose,
  );
  return slot;
}

function addMarks(slots: FileSlots, index: number, group: Slot): void {
  const { builder, checkpoint } = slots.context;
  for (const { kind, object, flags, mask, ignoredMask } of marksOf(slots, index)) {
    const target = checkpoint.tables.objects[object] as ObjectRow;
    const message = `mark ${target.path} again ${slots.purposeOf(index)}`;
    const path = watchedPath(slots, object, message);
    const common = MARK.add | scopes[kind] | (target.kind === "symlink" ? MARK.dontFollow : 0);
    const add = (how: number, events: bigint): void => {
      if (events === 0n) return;
      builder.syscall("fanotify_mark", [group, common | how, events, AT_FDCWD, path], { message, hint: `${target.path} must be there` });
    };
    add(flags & MARK.evictable, mask);
    const ignoring = (flags & MARK.ignore) !== 0 ? MARK.ignore : MARK.ignoredMask;
    add(ignoring | (flags & (MARK.survModify | MARK.evictable)), ignoredMask);
  }
}
