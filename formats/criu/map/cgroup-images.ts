// SPDX-License-Identifier: Apache-2.0
/**
 * Control groups ↔ cgroup.img, and the numbers of sets in the cores. A set is a way to be in the groups of all hierarchies; threads
 * that are where the dumper was have the number of its set, which is not in the image.
 */
import { create } from "@bufbuild/protobuf";
import { decodeText, encodeText } from "../../../src/bytes/text.js";
import type { Output } from "../../../src/adapter/output.js";
import { cgroupFlagsBits, cgroupMemberRow, cgroupPropertyRow, type CgroupRow, cgroupRow, type Tables } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { type CgroupDirectory, CgroupDirectorySchema, CgroupEntrySchema } from "../gen/cgroup_pb.js";
import type { ThreadCore, TaskCore } from "../gen/core_pb.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";
import { optionalOne } from "../wire/image-lists.js";
import { ImageWriter } from "../wire/image-writer.js";

const cgroupImage = "cgroup.img";
/** Number of the dumper's own set (inventory.root_cg_set). */
export const rootSet = 1;

interface Written {
  /** Rows of groups of each set, one a hierarchy; the first set has the number after the root's. */
  readonly sets: readonly (readonly number[])[];
  /** Number of the set that each thread is in. */
  readonly ofThread: ReadonlyMap<number, number>;
}

const known = new WeakMap<Tables, Written>();

/** The sets of threads that are elsewhere than the dumper was. */
function setsOf(tables: Tables): Written {
  const made = known.get(tables);
  if (made !== undefined) return made;
  const groups = new Map<number, number[]>();
  for (const { thread, cgroup } of tables.cgroupMembers) {
    const row = tables.cgroups[cgroup];
    if (row === undefined || (row.flags & cgroupFlagsBits.dumpers) !== 0) continue;
    const rows = groups.get(thread);
    if (rows) rows.push(cgroup);
    else groups.set(thread, [cgroup]);
  }
  const sets: number[][] = [];
  const numbers = new Map<string, number>();
  const ofThread = new Map<number, number>();
  for (const [thread, rows] of groups) {
    const key = rows.join(",");
    let number = numbers.get(key);
    if (number === undefined) {
      number = rootSet + sets.push(rows);
      numbers.set(key, number);
    }
    ofThread.set(thread, number);
  }
  const written = { sets, ofThread };
  known.set(tables, written);
  return written;
}

/** Puts the set of a thread into its core; `process` is that of a leader. */
export function cgroupToWire(tables: Tables, thread: number, core: ThreadCore, process: TaskCore | undefined): void {
  if (tables.cgroupMembers.length === 0) return;
  const number = setsOf(tables).ofThread.get(thread) ?? rootSet;
  core.cgSet = number;
  if (process !== undefined) process.cgSet = number;
}

/** Writes the image, unless the set that this came from is carried along with its own. */
export function writeCgroups(output: Output, { tables, foreign }: ImageSetIds): void {
  const { sets } = setsOf(tables);
  if (sets.length === 0 || foreign.whole(`image:${cgroupImage}`).length > 0) return;
  const hierarchies = [...new Set(sets.flat().map((row) => tables.cgroups[row]?.hierarchy ?? ""))].sort();
  const ctls = (rows: readonly number[]): { name: Uint8Array; path: Uint8Array }[] =>
    rows
      .map((row) => tables.cgroups[row] ?? cgroupRow())
      .sort((a, b) => (a.hierarchy < b.hierarchy ? -1 : 1))
      .map((row) => ({ name: encodeText(row.hierarchy), path: encodeText(pathOf(row)) }));
  const writer = new ImageWriter(output, cgroupImage, "cgroup");
  writer.add(CgroupEntrySchema, {
    sets: sets.map((rows, index) => ({ id: rootSet + 1 + index, ctls: ctls(rows) })),
    controllers: hierarchies.map((hierarchy) => ({
      cnames: hierarchy.split(",").map(encodeText),
      dirs: directoriesOf(tables, hierarchy),
      isThreaded: tables.cgroups.some((row) => row.hierarchy === hierarchy && (row.flags & cgroupFlagsBits.threaded) !== 0),
    })),
  });
  writer.flush();
}

/** From the root of the hierarchy. */
const pathOf = ({ root, path }: CgroupRow): string => (root === "" ? path : path === "/" ? root : `${root}${path}`);

/** Groups of a hierarchy as a forest: each below the nearest one above it. */
function directoriesOf(tables: Tables, hierarchy: string): CgroupDirectory[] {
  const rows = [...tables.cgroups.entries()].filter(([, row]) => row.hierarchy === hierarchy && pathOf(row) !== "/");
  rows.sort(([, a], [, b]) => pathOf(a).length - pathOf(b).length);
  const made = new Map<string, CgroupDirectory>();
  const heads: CgroupDirectory[] = [];
  for (const [index, row] of rows) {
    const path = pathOf(row);
    let above = path.slice(0, path.lastIndexOf("/"));
    while (above !== "" && !made.has(above)) above = above.slice(0, above.lastIndexOf("/"));
    const entry = create(CgroupDirectorySchema, {
      dirName: encodeText(path.slice(above.length + 1)),
      properties: tables.cgroupProperties
        .filter(({ cgroup }) => cgroup === index)
        .map(({ name, value, mode, uid, gid }) => ({
          name: encodeText(name),
          value: encodeText(value),
          ...(mode === 0 ? {} : { perms: { mode, uid, gid } }),
        })),
      dirPerms: { mode: row.mode, uid: row.uid, gid: row.gid },
    });
    made.set(path, entry);
    (made.get(above)?.children ?? heads).push(entry);
  }
  return heads;
}

/**
 * Adds the rows of groups and of who is in them. No policy is among them: CRIU leaves it to whoever restores what is done about
 * control groups, and so does a resume (`--manage-cgroups`).
 */
export function addCgroups(builder: ModelBuilder): void {
  const { wire, tables } = builder;
  const image = optionalOne(wire.set, cgroupImage, "cgroup", CgroupEntrySchema);
  if (image === undefined) return;
  const rows = new Map<string, number>();
  const rowOf = (hierarchy: string, path: string, fields: Partial<CgroupRow> = {}): number => {
    const key = `${hierarchy}:${path}`;
    const known = rows.get(key);
    if (known !== undefined) return known;
    // The image begins with the groups that the tree is in; those above are made first.
    const above = path.slice(0, path.lastIndexOf("/"));
    if (above !== "") rowOf(hierarchy, above, { mode: 0o040755, flags: cgroupFlagsBits.above });
    const row = tables.cgroups.push(cgroupRow({ hierarchy, path, ...fields })) - 1;
    rows.set(key, row);
    return row;
  };
  const addAll = (hierarchy: string, above: string, directories: readonly CgroupDirectory[], depth = 0): void => {
    if (depth > deepest) throw builder.error("criu.cgroup", `Control groups are nested more than ${deepest} deep.`, cgroupImage);
    for (const { dirName, children, properties, dirPerms } of directories) {
      const path = `${above}/${decodeText(dirName)}`.replace(/\/+/g, "/").replace(/(.)\/$/, "$1");
      const { mode = 0, uid = 0, gid = 0 } = dirPerms ?? {};
      const cgroup = rowOf(hierarchy, path, { mode, uid, gid });
      for (const { name, value, perms } of properties) {
        const property = { cgroup, name: decodeText(name), value: decodeText(value) };
        tables.cgroupProperties.push(
          cgroupPropertyRow({ ...property, mode: perms?.mode ?? 0, uid: perms?.uid ?? 0, gid: perms?.gid ?? 0 }),
        );
      }
      addAll(hierarchy, path, children, depth + 1);
    }
  };
  // Of a hierarchy in which the tree is at the root an image has the groups of everybody.
  const isElsewhere = (path: Uint8Array): boolean => decodeText(path) !== "/";
  const meant = new Set(image.sets.flatMap(({ ctls }) => ctls.filter(({ path }) => isElsewhere(path)).map(({ name }) => decodeText(name))));
  for (const { cnames, dirs } of image.controllers) {
    const hierarchy = cnames.map(decodeText).join(",");
    if (meant.has(hierarchy)) addAll(hierarchy, "", dirs);
  }
  const sets = new Map(image.sets.map((set) => [set.id, set.ctls]));
  for (const [thread, { tid, task }] of tables.threads.entries()) {
    const core = wire.cores.get(tid);
    const leader = wire.cores.get(tables.tasks[task]?.pid ?? 0);
    const number = core?.threadCore?.cgSet || core?.tc?.cgSet || leader?.tc?.cgSet || 0;
    for (const { name, path } of sets.get(number) ?? []) {
      if (!meant.has(decodeText(name))) continue;
      tables.cgroupMembers.push(cgroupMemberRow({ thread, cgroup: rowOf(decodeText(name), decodeText(path)) }));
    }
  }
}

const deepest = 64;
