// SPDX-License-Identifier: Apache-2.0
/** What a resume has to know of the namespaces that are the tree's own. Pure. */
import { CrimgError } from "../../errors/crimg-error.js";
import type { IdMapRow, NamespaceKind, NamespaceRow, Tables } from "../../gen/tables.js";
import { differentKinds, type NamespaceSet, namespacesOf } from "../../model/own-namespaces.js";
import { CLONE } from "../constants.js";

export interface OwnNamespacesPlan {
  readonly set: NamespaceSet;
  readonly hasPids: boolean;
  /** Kinds of which the tree has several. */
  readonly several: ReadonlySet<NamespaceKind>;
  readonly user?: {
    readonly row: NamespaceRow;
    readonly maps: readonly IdMapRow[];
    /** `ordinary`: a map of one user and one group, which an ordinary user may write. */
    readonly isSingle: boolean;
  };
  /** unshare(2) flags of those that belong to a user namespace outside, and of those of the tree's own. */
  readonly outerFlags: number;
  readonly innerFlags: number;
}

const unshareFlags: Readonly<Record<NamespaceKind, number>> = {
  user: 0,
  // Made by the fork of the first process in it.
  pid: 0,
  mount: CLONE.newns,
  network: CLONE.newnet,
  ipc: CLONE.newipc,
  uts: CLONE.newuts,
  cgroup: CLONE.newcgroup,
};

/** Undefined if the tree lives in the namespaces of whoever resumes it. @throws CrimgError `lower.namespaces` */
export function planOwnNamespaces(tables: Tables, root: number): OwnNamespacesPlan | undefined {
  if (tables.namespaces.length === 0 || tables.taskNamespaces.length === 0) return undefined;
  const set = namespacesOf(tables, root);
  const several = new Set<NamespaceKind>();
  tables.tasks.forEach((row, task) => {
    if (row.state === "zombie") return;
    for (const { kind, isMade } of differentKinds(set, namespacesOf(tables, task))) {
      if (isMade) several.add(kind);
      else
        throw new CrimgError("lower.namespaces", `task ${row.pid} lives in another ${kind} namespace than the root of the tree`, {
          path: `tasks[${task}]`,
        });
    }
  });
  const rowOf = (index: number): NamespaceRow => {
    const row = tables.namespaces[index];
    if (row === undefined) throw new CrimgError("lower.reference", `there is no namespace ${index}`, { path: `namespaces[${index}]` });
    return row;
  };
  let [outerFlags, innerFlags] = [0, 0];
  for (const index of Object.values(set)) {
    const { kind, owner } = rowOf(index);
    if (owner === null) outerFlags |= unshareFlags[kind];
    else innerFlags |= unshareFlags[kind];
  }
  const rootTask = tables.tasks[root];
  if (set.pid !== undefined && rootTask?.pid !== 1) {
    throw new CrimgError("lower.namespaces", `the root of the tree is process ${rootTask?.pid} of its own pid namespace, not its first`, {
      path: `tasks[${root}].pid`,
    });
  }
  if (set.user === undefined) return { set, several, hasPids: set.pid !== undefined, outerFlags: outerFlags | innerFlags, innerFlags: 0 };
  const maps = tables.idMaps.filter(({ namespace }) => namespace === set.user);
  const isSingle = (["uid", "gid"] as const).every((kind) => {
    const lines = maps.filter((row) => row.kind === kind);
    return lines.length === 1 && lines[0]?.count === 1;
  });
  return { set, several, hasPids: set.pid !== undefined, user: { row: rowOf(set.user), maps, isSingle }, outerFlags, innerFlags };
}
