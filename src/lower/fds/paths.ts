// SPDX-License-Identifier: Apache-2.0
/** Files, directories and devices: opened by their path as they were, positions put back. */
import type { ObjectRow, OpenFileRow } from "../../gen/tables.js";
import type { Slot } from "../operands.js";
import { badReference, type FileSlots, openFlags } from "./shared.js";

/** struct stat: st_size at 48, st_mtim at 88. */
const statLength = 144;

/** File systems whose sizes and times mean nothing: proc, sysfs, devpts, cgroup2, debugfs, tracefs. */
const viewFileSystems: ReadonlySet<bigint> = new Set([0x9fa0n, 0x62656572n, 0x1cd1n, 0x63677270n, 0x64626720n, 0x74726163n]);

/** The flags that open(2) takes to make a description like this. */
export function flagsToOpen(file: OpenFileRow, object: ObjectRow): number {
  let flags = file.flags & ~(openFlags.CREAT | openFlags.EXCL | openFlags.TRUNC | openFlags.ASYNC | openFlags.TMPFILE);
  if (object.kind !== "directory") flags &= ~openFlags.DIRECTORY;
  return flags;
}

/** Opens a path-based file (or memfd) and puts its position back. */
export function openPath(slots: FileSlots, index: number): void {
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
  slots.set(index, slot);
}

export function objectOf({ context }: FileSlots, file: OpenFileRow): ObjectRow {
  const object = file.object === null ? undefined : context.checkpoint.tables.objects[file.object];
  if (object === undefined) throw badReference(`objects[${file.object ?? "none"}]`);
  return object;
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
