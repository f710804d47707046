// SPDX-License-Identifier: Apache-2.0
/** Files, directories and devices: opened by their path as they were, positions put back. */
import type { ObjectRow, OpenFileRow } from "../../gen/tables.js";
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { AT_FDCWD, type FileSlots, flagsToOpen, objectOf, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

/** struct stat: st_size at 48, st_mtim at 88. */
const statLength = 144;

/** File systems whose sizes and times mean nothing: proc, sysfs, devpts, cgroup2, debugfs, tracefs. */
const viewFileSystems: ReadonlySet<bigint> = new Set([0x9fa0n, 0x62656572n, 0x1cd1n, 0x63677270n, 0x64626720n, 0x74726163n]);

/** NSFS_MAGIC */
const namespaceFs = 0x6e736673n;

export const lowering: FileLowering = { open: eachAlone(openPath), late: { applies: isLate, open: openLate } };

/** Opens a path-based file (or memfd) and puts its position back. */
export function openPath(slots: FileSlots, index: number): Slot {
  const { context } = slots;
  const file = slots.file(index);
  const object = objectOf(slots, file);
  const purpose = slots.purposeOf(index);
  const flags = flagsToOpen(file, object);
  const slot = context.openObject(file.object as number, flags, purpose);
  const isPath = (file.flags & openFlags.PATH) !== 0;
  if (object.kind === "file" && !isPath) checkFile(slots, index, file, object, slot, purpose);
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

/**
 * A file may have grown (a log that others write), never shrunk. One that nobody of the tree writes and that has the
 * same size must have the same modification time.
 */
function checkFile(slots: FileSlots, _index: number, file: OpenFileRow, object: ObjectRow, slot: Slot, purpose: string): void {
  if (object.size === 0n || viewFileSystems.has(object.fsMagic)) return;
  const { builder, checkpoint } = slots.context;
  const stat = builder.buffer(statLength);
  const longEnough = builder.label("long enough");
  const hint = "put the file back as it was";
  builder.syscall("fstat", [slot, stat], { message: `examine ${object.path} ${purpose}` });
  builder.jumpIf(stat.at(48).u8, "ge", object.size, longEnough);
  builder.fail(`${object.path} ${purpose} is shorter than at the dump (${object.size} bytes)`, hint);
  builder.place(longEnough);
  const isWritten = checkpoint.tables.files.some(
    (other) => other.object === file.object && (other.flags & openFlags.PATH) === 0 && (other.flags & openFlags.ACCMODE) !== 0,
  );
  if (isWritten || object.mtimeNs === 0n) return;
  const second = 1_000_000_000n;
  const grown = builder.label("grown");
  builder.jumpIf(stat.at(48).u8, "ne", object.size, grown);
  builder.compare(stat.at(88), builder.u8s(object.mtimeNs / second, object.mtimeNs % second), 16, {
    message: `${object.path} ${purpose} has been changed since the dump`,
    hint,
  });
  builder.place(grown);
}
