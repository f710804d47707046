// SPDX-License-Identifier: Apache-2.0
/** Files, directories and devices: opened by their path as they were, positions put back. */
import type { OpenFileRow } from "../../gen/tables.js";
import type { FileLowering, Opened } from "../../lower/fds/kind.js";
import { AT_FDCWD, type FileSlots, flagsToOpen, objectOf, openFlags } from "../../lower/fds/shared.js";
import { SameOpenings } from "../../lower/fds/same-openings.js";
import type { Slot } from "../../lower/operands.js";

/** NSFS_MAGIC */
const namespaceFs = 0x6e736673n;

export const lowering: FileLowering = { open: openPaths, late: { applies: isLate, open: openLate } };

function openPaths(slots: FileSlots, members: readonly number[]): Opened {
  const opened = new Map<number, Slot>();
  const same = new SameOpenings(slots);
  for (let at = 0; at < members.length; at++) {
    const file = members[at] as number;
    if (!same.takes(file)) opened.set(file, openPath(slots, file));
  }
  same.open(opened, (few) => openPath(slots, few));
  return { slots: opened };
}

/** Opens a path-based file (or memfd) and puts its position back. */
export function openPath(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const file = slots.file(index);
  const object = objectOf(slots, file);
  const purpose = slots.purposeOf(index);
  const flags = flagsToOpen(file, object);
  const isPath = (file.flags & openFlags.PATH) !== 0;
  const slot = slots.repeated.open(file.object as number, object, flags, purpose, () => {
    const opened = context.openObject(file.object as number, flags, purpose);
    if (!isPath) context.checkOpened(opened, file.object as number, purpose);
    return opened;
  });
  if (file.pos > 0n && !isPath) {
    context.builder.syscall("lseek", [slot, file.pos, 0], { message: `go to offset ${file.pos} of ${object.path} ${purpose}` });
  }
  return slot;
}

/** Late are what lies in /proc/PID of a process of the tree, and a task's own namespaces. */
function isLate(slots: FileSlots, file: OpenFileRow): boolean {
  if (file.object === null) return false;
  const object = objectOf(slots, file);
  if (object.fsMagic === namespaceFs) return true;
  if (!object.path.startsWith("/proc/")) return false;
  const pid = /^\/proc\/(\d+)(\/|$)/.exec(object.path)?.[1];
  if (pid === undefined) return false;
  const { tasks, threads } = slots.context.checkpoint.tables;
  return tasks.some((task) => task.pid === Number(pid)) || threads.some((thread) => thread.tid === Number(pid));
}

function openLate(slots: FileSlots, file: OpenFileRow, fd: number): Slot {
  const { builder } = slots.context;
  const object = objectOf(slots, file);
  const slot = builder.slot(`${object.path} at fd ${fd}`);
  builder.syscall("openat", [AT_FDCWD, builder.string(object.path), flagsToOpen(file, object) | openFlags.CLOEXEC | openFlags.NOCTTY, 0], {
    store: slot,
    message: `open ${object.path} for fd ${fd}`,
  });
  if (file.pos > 0n && (file.flags & openFlags.PATH) === 0) {
    builder.syscall("lseek", [slot, file.pos, 0], { message: `go to offset ${file.pos} of ${object.path} for fd ${fd}` });
  }
  return slot;
}
