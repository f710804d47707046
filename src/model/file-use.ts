// SPDX-License-Identifier: Apache-2.0
/** What a tree does with a file that it has open, which decides what may have happened to the file since. */
import { openFlags } from "../linux/open-flags.js";
import type { Tables } from "../gen/tables.js";

/** F_GETFL bits (asm-generic/fcntl.h). */
const { ACCMODE: accessMode, WRONLY: writeOnly, APPEND: append, PATH: pathOnly } = openFlags;

/** read: nobody of the tree writes it; appended: all only write at its end; written: anything else. */
export type FileUse = "read" | "appended" | "written";

/** How the open files of an `objects` row are used; "read" also where there are none. */
export function useOfFile({ files }: Pick<Tables, "files">, object: number): FileUse {
  const flags = files.filter((file) => file.object === object && (file.flags & pathOnly) === 0).map((file) => file.flags);
  const isAppending = (one: number): boolean => (one & accessMode) === writeOnly && (one & append) !== 0;
  if (flags.length > 0 && flags.every(isAppending)) return "appended";
  return flags.some((one) => (one & accessMode) !== 0) ? "written" : "read";
}
