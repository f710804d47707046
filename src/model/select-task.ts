// SPDX-License-Identifier: Apache-2.0
/** One process out of a tree, with all that it uses and nothing else. */
import { CrimgError } from "../errors/crimg-error.js";
import { type FileKind, emptyTables, tableSpecs, type TableName, type Tables, type TableSpec } from "../gen/tables.js";
import { Checkpoint } from "./checkpoint.js";
import { fileDetailTables } from "./references.js";

type Row = Readonly<Record<string, unknown>>;

/**
 * The process with a pid, as the only one and the root. It shares the page sources: close one of the two only.
 * @throws CrimgError `model.pid`
 */
export function selectTask(checkpoint: Checkpoint, pid: number): Checkpoint {
  const task = checkpoint.taskIndexOf(pid);
  if (task === undefined) {
    const pids = checkpoint.tables.tasks.slice(0, 10).map((row) => row.pid);
    const more = checkpoint.tables.tasks.length > pids.length ? ", …" : "";
    throw new CrimgError("model.pid", `there is no process ${pid} in the checkpoint`, {
      hint: `its processes are ${pids.join(", ")}${more}`,
    });
  }
  if (checkpoint.tables.tasks.length === 1) return checkpoint;
  const tables = withOwnDescriptors(checkpoint.tables, task);
  const kept = reach(tables, task);
  return new Checkpoint({ tables: compact(tables, kept), sources: checkpoint.sources, unknownTables: checkpoint.unknownTables });
}

/** A task that shares the descriptor table of another gets that table's rows as its own. */
function withOwnDescriptors(tables: Tables, task: number): Tables {
  const owner = tables.tasks[task]?.descriptorTable ?? null;
  if (owner === null) return tables;
  return {
    ...tables,
    tasks: tables.tasks.map((row, index) => (index === task ? { ...row, descriptorTable: null } : row)),
    descriptors: tables.descriptors.map((row) => (row.task === owner ? { ...row, task } : row)),
  };
}

/** The reference by which rows belong to another row (threads to a task, vmas to an mm); none for what is only pointed at. */
function ownerField({ table, fields }: TableSpec): { readonly name: string; readonly ref: TableName } | undefined {
  if (table === "tasks" || table === "checkpoint") return undefined;
  const first = fields.find(({ ref }) => ref !== undefined);
  return first && first.optional !== true ? { name: first.name, ref: first.ref as TableName } : undefined;
}

/** References that are not followed: other processes, and peers, which may be theirs. */
function isFollowed(table: TableName, field: string): boolean {
  return !(table === "tasks" && (field === "parent" || field === "descriptorTable")) && !(table === "sockets" && field === "peer");
}

type Kept = Readonly<Record<TableName, Set<number>>>;

function reach(tables: Tables, task: number): Kept {
  const kept = Object.fromEntries(tableSpecs.map(({ table }) => [table, new Set<number>()])) as unknown as Kept;
  const pending: (readonly [TableName, number])[] = [["tasks", task]];
  const owned = new Map(tableSpecs.map(({ table }) => [table, tableSpecs.filter((spec) => ownerField(spec)?.ref === table)]));
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [table, index] = next;
    if (kept[table].has(index)) continue;
    kept[table].add(index);
    const row = tables[table][index] as unknown as Row;
    const spec = tableSpecs.find((one) => one.table === table);
    for (const { name, ref } of spec?.fields ?? []) {
      const value = row[name];
      if (ref !== undefined && typeof value === "number" && isFollowed(table, name)) pending.push([ref as TableName, value]);
    }
    if (table === "files") {
      const { kind, detail } = tables.files[index] as Tables["files"][number];
      const target = fileDetailTables[kind];
      if (target !== null && detail !== null) pending.push([target, detail]);
    }
    for (const { table: child, ...childSpec } of owned.get(table) ?? []) {
      const field = ownerField({ table: child, ...childSpec })?.name ?? "";
      tables[child].forEach((candidate, position) => {
        if ((candidate as unknown as Row)[field] === index) pending.push([child, position]);
      });
    }
  }
  tables.extents.forEach(({ ownerKind, owner }, index) => {
    if (kept[ownerKind === "mm" ? "mms" : "objects"].has(owner)) kept.extents.add(index);
  });
  tables.foreign.forEach(({ table, row }, index) => {
    const target = tableSpecs.find(({ kind }) => kind === table);
    if (!target || target.table === "checkpoint" || kept[target.table].has(row)) kept.foreign.add(index);
  });
  for (const table of ["checkpoint", "losses"] as const) tables[table].forEach((_row, index) => kept[table].add(index));
  return kept;
}

/** The kept rows, with references to where they are now; references to others become none. */
function compact(tables: Tables, kept: Kept): Tables {
  const places = Object.fromEntries(
    tableSpecs.map(({ table }) => [table, new Map([...kept[table]].sort((a, b) => a - b).map((index, place) => [index, place]))]),
  ) as unknown as Readonly<Record<TableName, ReadonlyMap<number, number>>>;
  const result = emptyTables();
  for (const { table, fields } of tableSpecs) {
    for (const index of places[table].keys()) {
      const row: Record<string, unknown> = { ...(tables[table][index] as unknown as Row) };
      for (const { name, ref, optional } of fields) {
        const value = row[name];
        if (ref !== undefined && typeof value === "number")
          row[name] = places[ref as TableName].get(value) ?? (optional === true ? null : 0);
      }
      if (table === "extents") row["owner"] = places[row["ownerKind"] === "mm" ? "mms" : "objects"].get(row["owner"] as number) ?? 0;
      if (table === "files" && typeof row["detail"] === "number") {
        const target = fileDetailTables[row["kind"] as FileKind];
        if (target !== null) row["detail"] = places[target].get(row["detail"]) ?? 0;
      }
      if (table === "foreign") {
        const target = tableSpecs.find(({ kind }) => kind === row["table"]);
        if (target) row["row"] = places[target.table].get(row["row"] as number) ?? 0;
      }
      (result[table] as unknown[]).push(row);
    }
  }
  return result;
}
