// SPDX-License-Identifier: Apache-2.0
/**
 * What the areas of a process become in the model. The formats name a file for an area at most by a path that may be
 * gone; where all pages of such an area are stored, it needs no file and becomes memory of its own.
 */
import { CrimgError } from "../errors/crimg-error.js";
import type { VmaEntry } from "../gen/ckpt-elf-v1.js";
import type { VmaKind } from "../gen/tables.js";
import { rangesOf } from "./stored-pages.js";
import { kindOfEntry } from "./vma.js";

/** What the kernel appends to the path of a file whose name is gone. */
export const deletedSuffix = " (deleted)";

/** An area with its place in the model. */
export interface ClassifiedArea {
  readonly kind: VmaKind;
  /** Path of its file; undefined if it maps none, or none that is known. */
  readonly path: string | undefined;
}

export interface AreaPages {
  readonly va: bigint;
  readonly length: bigint;
}

/**
 * Classifies areas.
 * @param pages all stored pages of the process
 * @param pathOf the file that an area maps, if it is known
 * @throws CrimgError `pages.file` for an area of a shared file of which only some pages are stored
 */
export function classifyAreas(
  entries: readonly VmaEntry[],
  pages: readonly AreaPages[],
  pathOf: (entry: VmaEntry) => string | undefined,
  place: { readonly source: string; readonly format: string },
): ClassifiedArea[] {
  const stored = rangesOf([...pages].sort((a, b) => (a.va < b.va ? -1 : a.va > b.va ? 1 : 0)));
  return entries.map((entry, index) => {
    const kind = kindOfEntry(entry);
    if (kind !== "file_private" && kind !== "file_shared") return { kind, path: undefined };
    const path = pathOf(entry);
    const overlap = storedIn(stored, entry);
    if (kind === "file_shared") {
      if (overlap === "none") return { kind, path };
      // The original tool stores none of these pages. A writer that stores all of them does not need the file.
      if (overlap === "all") return { kind: "anon_shared", path: undefined };
      const range = `0x${entry.start.toString(16)}-0x${entry.end.toString(16)}`;
      throw new CrimgError("pages.file", `of ${range}, which shares a file, either all pages or none must be stored`, {
        ...place,
        path: `vmas[${index}]`,
      });
    }
    const isGone = path === undefined || path.endsWith(deletedSuffix);
    return isGone && overlap === "all" ? { kind: "anon_private", path: undefined } : { kind, path };
  });
}

/** Whether all, some or no pages of an area are in sorted, joined ranges. */
function storedIn(ranges: readonly AreaPages[], { start, end }: VmaEntry): "all" | "some" | "none" {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle];
    if (range && range.va + range.length > start) high = middle;
    else low = middle + 1;
  }
  const range = ranges[low];
  if (!range || range.va >= end) return "none";
  return range.va <= start && range.va + range.length >= end ? "all" : "some";
}
