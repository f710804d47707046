// SPDX-License-Identifier: Apache-2.0
/** Paths of mounts. */

/** What mountinfo adds to the root of a mount whose directory or file has no name any more. */
export const deletedSuffix = "//deleted";

export function withoutDeleted(root: string): string {
  return root.endsWith(deletedSuffix) ? root.slice(0, -deletedSuffix.length) : root;
}

/** A path as seen from one above it, without a leading slash; empty for that path itself, undefined for one that is not below. */
export function outOf(path: string, above: string): string | undefined {
  if (path === above) return "";
  const prefix = above === "/" ? "/" : `${above}/`;
  return path.startsWith(prefix) ? path.slice(prefix.length) : undefined;
}
