// SPDX-License-Identifier: Apache-2.0
/** What has no name any more. */
import type { ObjectKind, ObjectRow } from "../../../src/gen/tables.js";

const makeable: ReadonlySet<ObjectKind> = new Set(["directory", "char_device", "block_device", "fifo", "symlink"]);

/** True for what has no name any more and is described by a ghost's image. */
export function isRemoved(object: ObjectRow | undefined): boolean {
  return object !== undefined && (object.kind === "ghost" || (object.nlink === 0 && makeable.has(object.kind)));
}
