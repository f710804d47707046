// SPDX-License-Identifier: Apache-2.0
/** Where on this machine the files lie that a tree with a root directory of its own knows by paths of its own. */
import type { MountEntryRow, MountRow, Tables } from "../gen/tables.js";
import { outOf } from "./mount-paths.js";

/** The root mount of the tree's own, if it has one: not the machine's. */
export function ownRootMount({ mounts, namespaces }: Pick<Tables, "mounts" | "namespaces">): number | undefined {
  const row = mounts.findIndex(({ parent, origin }) => parent === null && (origin === "rootfs" || origin === "made"));
  return row < 0 || namespaces.length === 0 ? undefined : row;
}

/** The mount that a path of the tree leads to: the last one at the longest point. */
export function mountOfPath(mounts: readonly MountRow[], path: string): number | undefined {
  let found: number | undefined;
  mounts.forEach(({ point, origin }, row) => {
    const leads = outOf(path, point) !== undefined;
    const isLonger = found === undefined || point.length >= (mounts[found]?.point.length ?? 0);
    if (origin !== "removed" && leads && isLonger) found = row;
  });
  return found;
}

/** What a container removed of its image (Documentation/filesystems/overlayfs.rst). */
export function isWhiteout({ mode, rdevMajor, rdevMinor }: MountEntryRow): boolean {
  return (mode & 0o170000) === 0o020000 && rdevMajor === 0 && rdevMinor === 0;
}

type RootTables = Pick<Tables, "mounts" | "namespaces" | "mountEntries">;

/**
 * The path on this machine of a file that the tree calls `path`: the same, but for a tree with a root of its own. Undefined
 * where it is in no directory that is known here: what lies at that path on the machine is another file.
 */
export function placeOf(tables: RootTables, path: string): string | undefined {
  if (ownRootMount(tables) === undefined) return path;
  const row = mountOfPath(tables.mounts, path);
  const mount = row === undefined ? undefined : tables.mounts[row];
  if (mount === undefined || mount.source === "" || mount.sameAs !== null) return undefined;
  if (mount.origin !== "rootfs" && mount.origin !== "external" && mount.origin !== "bind") return undefined;
  const rest = outOf(path, mount.point) ?? "";
  // What the layer over the directory has is in the image.
  if (tables.mountEntries.some((entry) => entry.mount === row && entry.path === rest)) return undefined;
  return rest === "" ? mount.source : `${mount.source === "/" ? "" : mount.source}/${rest}`;
}
