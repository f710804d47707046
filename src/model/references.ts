// SPDX-License-Identifier: Apache-2.0
/** References between rows: every row index must name a row. */
import { CrimgError, type Location } from "../errors/crimg-error.js";
import type { RecordSpec } from "../bytes/record-spec.js";
import { type FileKind, type TableName, type Tables, type TableSpec, tableSpecs } from "../gen/tables.js";

/** A row index that names no row. */
export interface DanglingReference {
  /** Table and row that hold it. */
  readonly table: keyof Tables;
  readonly row: number;
  /** ksy name of the field. */
  readonly field: string;
  /** Such as `tasks[3].mm`. */
  readonly path: string;
  /** Table that it should name a row of, and how many rows that has. */
  readonly target: keyof Tables;
  readonly targetRows: number;
  readonly value: number;
}

/** Fields that hold references, with where they point. */
function referencesOf(spec: RecordSpec): readonly { readonly id: string; readonly name: string; readonly target: keyof Tables }[] {
  return spec.fields.flatMap(({ id, name, ref }) => (ref === undefined ? [] : [{ id, name, target: ref as keyof Tables }]));
}

function propertyOf(row: object, name: string): unknown {
  return (row as Readonly<Record<string, unknown>>)[name];
}

/** All dangling references, in table order; also those whose target depends on a kind (extents, files). */
export function* checkReferences(tables: Tables): Generator<DanglingReference> {
  for (const spec of tableSpecs) {
    const fields = referencesOf(spec);
    const rows: readonly object[] = tables[spec.table];
    for (const [row, content] of rows.entries()) {
      for (const { id, name, target } of fields) {
        const value = propertyOf(content, name);
        if (typeof value === "number" && value >= tables[target].length) yield dangling(tables, spec, row, id, target, value);
      }
    }
  }
  yield* checkExtentOwners(tables);
  yield* checkFileDetails(tables);
}

function dangling(
  tables: Tables,
  spec: Pick<TableSpec, "table" | "tableId">,
  row: number,
  field: string,
  target: keyof Tables,
  value: number,
): DanglingReference {
  return { table: spec.table, row, field, path: `${spec.tableId}[${row}].${field}`, target, targetRows: tables[target].length, value };
}

function* checkExtentOwners(tables: Tables): Generator<DanglingReference> {
  for (const [row, { ownerKind, owner }] of tables.extents.entries()) {
    const target = ownerKind === "mm" ? "mms" : "objects";
    if (owner >= tables[target].length) yield dangling(tables, { table: "extents", tableId: "extents" }, row, "owner", target, owner);
  }
}

/** Table that `files[].detail` names a row of, by kind of file; null: it names none. */
export const fileDetailTables: Readonly<Record<FileKind, TableName | null>> = {
  path: null,
  pipe: "pipes",
  pty: "terminals",
  socket: "sockets",
  eventfd: "eventfds",
  epoll: null,
  timerfd: "timerfds",
  signalfd: "signalfds",
  inotify: null,
  fanotify: "fanotifyGroups",
  io_uring: "ioUrings",
  memfd: null,
  mqueue: "posixQueues",
  inherited: null,
  pidfd: null,
  tty: null,
};

function* checkFileDetails(tables: Tables): Generator<DanglingReference> {
  for (const [row, { kind, detail }] of tables.files.entries()) {
    const target = fileDetailTables[kind];
    if (target === null) continue;
    const value = detail ?? 0xffff_ffff;
    if (value >= tables[target].length) yield dangling(tables, { table: "files", tableId: "files" }, row, "detail", target, value);
  }
}

/** @throws CrimgError `model.reference` at the first dangling reference */
export function assertReferences(tables: Tables, place: Location = {}): void {
  for (const { path, target, targetRows, value } of checkReferences(tables)) {
    throw new CrimgError("model.reference", `${path} must be a row of ${target} (${targetRows} rows), found ${value}`, { ...place, path });
  }
}
