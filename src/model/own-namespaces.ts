// SPDX-License-Identifier: Apache-2.0
/** Namespaces of a tree's own: lookups over `namespaces` and `task_namespaces`. */
import type { NamespaceKind, NamespaceRow, Tables } from "../gen/tables.js";

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

/** A namespace as people name it: `network namespace`. */
export function namespaceName({ kind }: Pick<NamespaceRow, "kind">): string {
  return `${kind} namespace`;
}
