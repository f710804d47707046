// SPDX-License-Identifier: Apache-2.0
/** A directory of cores, one a process, as one tree. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Loss, ReadOptions } from "../../src/adapter/format.js";
import { LossReport } from "../../src/adapter/losses.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { emptyTables, tableSpecs, type MutableTables, type TableName } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import type { PageSource } from "../../src/model/page-source.js";
import { readCore } from "./read.js";

const maxCores = 4096;

/** Reads every `core.PID`, or the one that is asked for. Throws CrimgError `core.*`. */
export function readCoreDirectory(path: string, options: ReadOptions): Checkpoint {
  const names = readdirSync(path).filter(
    (name) => /^core\.[0-9]+$/.test(name) && (options.pid === undefined || name === `core.${options.pid}`),
  );
  if (names.length === 0 || names.length > maxCores) {
    const wanted = options.pid === undefined ? "core.PID files" : `core.${options.pid}`;
    throw new CrimgError("core.directory", `expected ${wanted} in ${path}, found ${names.length}`, { source: path, format: "core" });
  }
  const report = new LossReport();
  const cores: Checkpoint[] = [];
  try {
    for (const name of names) cores.push(readCore(join(path, name), { onLoss: (loss: Loss) => report.add(loss) }));
  } catch (error) {
    for (const core of cores) core.close();
    throw error;
  }
  for (const loss of report.losses) options.onLoss?.(loss);
  const ordered = parentsFirst(cores);
  const tables = emptyTables();
  const sources: PageSource[] = [];
  for (const core of ordered) append(tables, core, sources);
  linkParents(tables);
  return new Checkpoint({ tables, sources });
}

/** Parents before children; the order of pids otherwise. */
function parentsFirst(cores: readonly Checkpoint[]): Checkpoint[] {
  const pidOf = (core: Checkpoint) => core.tables.tasks[0]?.pid ?? 0;
  const byPid = new Map(cores.map((core) => [pidOf(core), core]));
  const ordered = new Set<Checkpoint>();
  for (const core of [...cores].sort((a, b) => pidOf(a) - pidOf(b))) {
    const path: Checkpoint[] = [];
    // A cycle of ppids (nonsense in the file) ends where it meets itself.
    for (
      let one: Checkpoint | undefined = core;
      one && !ordered.has(one) && !path.includes(one);
      one = byPid.get(one.tables.tasks[0]?.ppid ?? 0)
    )
      path.unshift(one);
    for (const one of path) ordered.add(one);
  }
  return [...ordered];
}

/** Appends the rows of one checkpoint, with their references moved. The row `checkpoint` is the first one's. */
function append(tables: MutableTables, core: Checkpoint, sources: PageSource[]): void {
  const base = Object.fromEntries(tableSpecs.map(({ table }) => [table, tables[table].length])) as Record<TableName, number>;
  const sourceBase = sources.push(...core.sources) - core.sources.length;
  for (const spec of tableSpecs) {
    if (spec.table === "checkpoint" && tables.checkpoint.length > 0) continue;
    for (const row of core.tables[spec.table]) {
      const moved: Record<string, unknown> = { ...row };
      for (const { name, ref } of spec.fields) {
        const value = moved[name];
        if (ref !== undefined && typeof value === "number") moved[name] = value + base[ref as TableName];
      }
      if (spec.table === "extents") {
        const { ownerKind, owner, source } = row as (typeof tables.extents)[number];
        moved["owner"] = owner + (ownerKind === "mm" ? base.mms : base.objects);
        moved["source"] = source + sourceBase;
      } else if (spec.table === "foreign") {
        const { table, row: target } = row as (typeof tables.foreign)[number];
        const owner = tableSpecs.find(({ kind }) => kind === table);
        if (owner) moved["row"] = target + base[owner.table];
      }
      (tables[spec.table] as unknown[]).push(moved);
    }
  }
}

function linkParents(tables: MutableTables): void {
  tables.tasks.forEach((task, index) => {
    const parent = tables.tasks.findIndex(({ pid }, row) => row < index && pid === task.ppid);
    if (parent >= 0) tables.tasks[index] = { ...task, parent };
  });
}
