// SPDX-License-Identifier: Apache-2.0
/** pstree-PID.img: the process tree. */
import type { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { type PstreeEntry, readPstreeEntry, writePstreeEntry } from "../../src/gen/crtools-2011.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { entryError, maxPid } from "./image-files.js";

/** A process of a tree. */
export interface TreeNode {
  readonly pid: number;
  /** Index in the list; null for the root. */
  readonly parent: number | null;
}

/** All entries of a tree. @throws CrimgError `crtools.pid`, `crtools.pstree`, `bytes.*` */
export function readPstree(reader: ByteReader): PstreeEntry[] {
  const entries: PstreeEntry[] = [];
  const starts = new Map<number, number>();
  while (reader.remaining > 0) {
    const index = entries.length;
    reader.enter("pstree", index);
    const pos = reader.pos;
    const entry = readPstreeEntry(reader);
    for (const pid of [entry.pid, ...entry.children]) {
      if (pid < 1 || pid > maxPid)
        throw entryError(reader, "crtools.pid", `a pid must be 1 to ${maxPid}, found ${pid}`, pos, `pstree[${index}]`);
    }
    if (starts.has(entry.pid))
      throw entryError(reader, "crtools.pstree", `process ${entry.pid} stands twice in the tree`, pos, `pstree[${index}].pid`);
    starts.set(entry.pid, index);
    entries.push(entry);
  }
  if (entries.length === 0) throw entryError(reader, "crtools.pstree", "the process tree is empty", 0, "pstree");
  return entries;
}

/**
 * The tree below its first entry, parents before their children, children in their order.
 * @throws CrimgError `crtools.pstree` for a cycle, a child of two parents, a child without an entry, a process outside
 */
export function treeOf(entries: readonly PstreeEntry[], reader: ByteReader): TreeNode[] {
  const byPid = new Map(entries.map((entry) => [entry.pid, entry]));
  const root = entries[0]?.pid ?? 0;
  const nodes: TreeNode[] = [{ pid: root, parent: null }];
  const seen = new Set([root]);
  for (let index = 0; index < nodes.length; index++) {
    const pid = nodes[index]?.pid ?? 0;
    const at = `pstree[${entries.findIndex((entry) => entry.pid === pid)}].children`;
    for (const child of byPid.get(pid)?.children ?? []) {
      if (seen.has(child)) {
        const what = child === root || isAncestor(nodes, index, child) ? "is its own ancestor" : "is a child twice";
        throw entryError(reader, "crtools.pstree", `process ${child} ${what} (child of ${pid})`, 0, at);
      }
      if (!byPid.has(child))
        throw entryError(reader, "crtools.pstree", `process ${child}, a child of ${pid}, has no entry of its own`, 0, at);
      seen.add(child);
      nodes.push({ pid: child, parent: index });
    }
  }
  const lost = entries.find((entry) => !seen.has(entry.pid));
  if (lost) {
    const index = entries.indexOf(lost);
    throw entryError(reader, "crtools.pstree", `process ${lost.pid} is no descendant of the root ${root}`, 0, `pstree[${index}].pid`);
  }
  return inEntryOrder(nodes, entries);
}

function isAncestor(nodes: readonly TreeNode[], index: number, pid: number): boolean {
  for (let at: number | null = index; at !== null; at = nodes[at]?.parent ?? null) if (nodes[at]?.pid === pid) return true;
  return false;
}

/** The order of the entries where parents stand before their children in it. */
function inEntryOrder(nodes: readonly TreeNode[], entries: readonly PstreeEntry[]): TreeNode[] {
  const parentPid = new Map(nodes.map((node) => [node.pid, node.parent === null ? undefined : nodes[node.parent]?.pid]));
  const rank = new Map(entries.map((entry, index) => [entry.pid, index]));
  const isSorted = entries.every((entry, index) => (rank.get(parentPid.get(entry.pid) ?? -1) ?? -1) < index);
  if (!isSorted) return [...nodes];
  return entries.map((entry) => ({ pid: entry.pid, parent: rank.get(parentPid.get(entry.pid) ?? -1) ?? null }));
}

/** The entries of tasks of a checkpoint; tasks outside the list are passed over, their children with them. */
export function pstreeBytes(checkpoint: Checkpoint, tasks: readonly number[]): Uint8Array {
  const writer = new ByteWriter();
  const pidOf = (task: number): number => checkpoint.tables.tasks[task]?.pid ?? 0;
  const isThere = new Set(tasks);
  for (const task of tasks) {
    const children = checkpoint.childrenOf(task).filter((child) => isThere.has(child));
    writePstreeEntry(writer, { pid: pidOf(task), children: children.map(pidOf) });
  }
  return writer.finish();
}
