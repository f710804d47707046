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
