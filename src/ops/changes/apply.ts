// SPDX-License-Identifier: Apache-2.0
/** Changes of what outlives a tree by name, made in the model before it is linked: so they work for every format. */
import { Checkpoint } from "../../model/checkpoint.js";
import type { Tables } from "../../gen/tables.js";
import { changeCgroups } from "./cgroups.js";
import { changeEnvironment } from "./environment.js";
import { inheritFd, parseInheritedFd } from "./inherit-fd.js";
import { changeRoot, changesRoot, type OwnRootChanges } from "./own-root.js";
import { mapPaths } from "./path-map.js";
import { mapTcp } from "./tcp-map.js";

export interface ResumeChanges extends OwnRootChanges {
  /** `ADDR:PORT=ADDR:PORT` each. */
  readonly tcpMap?: readonly string[];
  /** `OLD=NEW` each. */
  readonly pathMap?: readonly string[];
  /** `N:FD` or `N:PID:FD` each. */
  readonly inheritFd?: readonly string[];
  /** `NAME=VALUE` each. */
  readonly env?: readonly string[];
  /** How control groups are brought back, instead of what the dump chose. */
  readonly manageCgroups?: string;
  /** `[CONTROLLER:]PATH` each. */
  readonly cgroupRoot?: readonly string[];
}

export function hasChanges(changes: ResumeChanges): boolean {
  const { tcpMap, pathMap, inheritFd, env, manageCgroups, cgroupRoot } = changes;
  const lists = [tcpMap, pathMap, inheritFd, env, cgroupRoot];
  return changesRoot(changes) || manageCgroups !== undefined || lists.some((list) => list !== undefined && list.length > 0);
}

/**
 * The checkpoint with all changes, which shares the page sources of the old one: close one of them only.
 * @throws CrimgError `usage.change` for a change that changes nothing, or cannot be made
 */
export function applyChanges(checkpoint: Checkpoint, changes: ResumeChanges): Checkpoint {
  let tables: Tables = checkpoint.tables;
  if (changesRoot(changes)) tables = changeRoot(tables, changes);
  for (const text of changes.tcpMap ?? []) tables = mapTcp(tables, text);
  for (const text of changes.pathMap ?? []) tables = mapPaths(tables, text);
  for (const text of changes.inheritFd ?? []) tables = inheritFd(tables, parseInheritedFd(text));
  if (changes.manageCgroups !== undefined || changes.cgroupRoot !== undefined) {
    tables = changeCgroups(tables, changes.manageCgroups, changes.cgroupRoot ?? []);
  }
  const { sources, unknownTables } = checkpoint;
  const changed = new Checkpoint({ tables, sources, unknownTables });
  return changes.env === undefined || changes.env.length === 0 ? changed : changeEnvironment(changed, changes.env);
}
