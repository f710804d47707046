// SPDX-License-Identifier: Apache-2.0
/** What inotify watches and fanotify marks name: a path, or through /proc what has no name and is kept open for it. */
import { CrimgError } from "../../errors/crimg-error.js";
import type { ObjectRow } from "../../gen/tables.js";
import type { Arg } from "../operands.js";
import { isRemoved } from "./removed.js";
import { badReference, type FileSlots, openFlags } from "./shared.js";

/** Whether an object can only be reached through a descriptor. */
export function isNameless(object: ObjectRow): boolean {
  return object.kind === "ghost" || object.kind === "memfd" || isRemoved(object) || object.bundled === 1;
}

/** Ops of the first process, before any fork: what the marks of a file name and has no name is opened, and stays open. */
export function keepMarked(slots: FileSlots, objects: readonly number[], purpose: string): void {
  const { context } = slots;
  for (const index of new Set(objects)) {
    const object = context.checkpoint.tables.objects[index];
    if (object === undefined) throw badReference(`objects[${index}]`);
    if (isNameless(object)) context.keepLast(context.openObject(index, openFlags.PATH, purpose), index);
  }
}

/** The path (an address) by which the first process finds an object at the very end. */
export function watchedPath({ context }: FileSlots, index: number, message: string): Arg {
  const { builder, checkpoint } = context;
  const object = checkpoint.tables.objects[index];
  if (object === undefined) throw badReference(`objects[${index}]`);
  const kept = context.lastOf(index);
  if (kept !== undefined) {
    const path = builder.buffer(40);
    builder.format(path, "/proc/self/fd/", kept);
    return path;
  }
  if (!object.path.startsWith("/")) {
    throw new CrimgError("lower.watch", `cannot ${message}: inode ${object.ino} has no path`, {
      path: `objects[${index}]`,
      hint: "Convert the image where the watched file is, or leave the watch out (--ignore descriptor at the dump)",
    });
  }
  return builder.string(object.linkTarget !== "" && object.kind === "file" ? object.linkTarget : object.path);
}
