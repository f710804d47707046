// SPDX-License-Identifier: Apache-2.0
/** Namespaces of a tree's own: lookups over `namespaces` and `task_namespaces`. */
import type { MountRow, NamespaceKind, Tables } from "../gen/tables.js";

/** By kind, the row of the namespace that a task lives in, of those that are the tree's own. */
export type NamespaceSet = Partial<Readonly<Record<NamespaceKind, number>>>;

type NamespaceTables = Pick<Tables, "namespaces" | "taskNamespaces">;

/** Those of one task. */
export function namespacesOf({ namespaces, taskNamespaces }: NamespaceTables, task: number): NamespaceSet {
  const found: Partial<Record<NamespaceKind, number>> = {};
  for (const row of taskNamespaces) {
    const kind = row.task === task ? namespaces[row.namespace]?.kind : undefined;
    if (kind !== undefined) found[kind] = row.namespace;
  }
  return found;
}

/** Kinds of which processes of one tree may live in several. */
export const severalKinds: ReadonlySet<NamespaceKind> = new Set(["mount", "uts"]);

/** Kinds in which two processes of a tree do not share a namespace; `isMade`: a resume makes both. */
export function differentKinds(one: NamespaceSet, other: NamespaceSet): { readonly kind: NamespaceKind; readonly isMade: boolean }[] {
  const kinds = new Set([...Object.keys(one), ...Object.keys(other)]) as Set<NamespaceKind>;
  return [...kinds]
    .filter((kind) => one[kind] !== other[kind])
    .map((kind) => ({ kind, isMade: severalKinds.has(kind) && one[kind] !== undefined && other[kind] !== undefined }));
}

/** The row of the mount that one is a part of, which is itself no part of another; undefined if there is none. */
export function sourceOfMount(mounts: readonly MountRow[], row: number): number | undefined {
  let at: number | null | undefined = row;
  for (let steps = 0; at !== null && at !== undefined && steps <= mounts.length; steps++) {
    const next: number | null | undefined = mounts[at]?.sameAs;
    if (next === null) return at;
    at = next;
  }
  return undefined;
}

/** What a container engine mounts over files of the root; without them those are there. */
export const engineFiles: ReadonlySet<string> = new Set([
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/run/.containerenv",
  "/run/secrets",
]);

/** Whether a resume can do without a mount that nobody gives: what it covers is there then, and nothing is less confined. */
export function isOptionalMount({ point, fsType }: Pick<MountRow, "point" | "fsType">): boolean {
  return engineFiles.has(point) || fsType.startsWith("cgroup");
}
