// SPDX-License-Identifier: Apache-2.0
/**
 * What the 2011 formats say beyond the model, kept in `foreign` rows so that it can be written again. A row is kept
 * only where writing the model would give something else: what can be derived is derived.
 */
import { type ForeignRow, foreignRow, tableSpecs } from "../gen/tables.js";
import type { TableName, Tables } from "../gen/tables.js";
import { CrimgError } from "../errors/crimg-error.js";

/** `foreign.format` of everything here: core and memory areas are the same in both formats. */
export const foreignFormat = "ckpt-elf-v1";

export const foreignKeys = {
  /** tasks: the core_entry, 16,384 bytes. */
  core: "core_entry",
  /** vmas: the vma_entry, 64 bytes. */
  vma: "vma_entry",
  /** tasks: pages of the core in the order of the file, pairs of u64 (address, bytes). */
  corePages: "core_pages",
  /** tasks: the same of pages-shmem-PID.img. */
  shmemPages: "shmem_pages",
  /** tasks: the same of pages-PID.img. */
  workingPages: "working_pages",
  /** tasks, empty: there was no pages-PID.img. */
  noWorkingPages: "no_working_pages",
  /** tasks: the whole of fdinfo-PID.img. */
  fdinfo: "fdinfo_img",
  /** tasks: the whole of pipes-PID.img. */
  pipes: "pipes_img",
  /** tasks: the whole of shmem-PID.img. */
  shmem: "shmem_img",
  /** checkpoint: the whole of pstree-PID.img. */
  pstree: "pstree_img",
} as const;
export type ForeignKey = (typeof foreignKeys)[keyof typeof foreignKeys];

/** Number of a table in foreign rows. */
export function tableKind(table: TableName): number {
  const spec = tableSpecs.find((one) => one.table === table);
  if (!spec) throw new Error(`no table ${table}`);
  return spec.kind;
}

/** A foreign row for a row of a table; table "checkpoint" means the whole checkpoint. */
export function foreignOf(table: TableName, row: number, key: ForeignKey, value: Uint8Array): ForeignRow {
  return foreignRow({ format: foreignFormat, table: table === "checkpoint" ? 0 : tableKind(table), row, key, value });
}

/** Lookup over the foreign rows of a checkpoint that belong to the 2011 formats. */
export class ForeignIndex {
  readonly #rows = new Map<string, Uint8Array>();

  constructor(tables: Tables) {
    for (const row of tables.foreign) {
      if (row.format === foreignFormat) this.#rows.set(`${row.table}/${row.row}/${row.key}`, row.value);
    }
  }

  get(table: TableName, row: number, key: ForeignKey): Uint8Array | undefined {
    return this.#rows.get(`${table === "checkpoint" ? 0 : tableKind(table)}/${row}/${key}`);
  }

  has(table: TableName, row: number, key: ForeignKey): boolean {
    return this.get(table, row, key) !== undefined;
  }
}

/** Address ranges as pairs of u64. */
export function encodeRanges(ranges: Iterable<{ readonly va: bigint; readonly length: bigint }>): Uint8Array {
  const numbers: bigint[] = [];
  for (const { va, length } of ranges) numbers.push(va, length);
  return new Uint8Array(BigUint64Array.from(numbers).buffer);
}

/** The inverse. @throws CrimgError `foreign.ranges` */
export function decodeRanges(value: Uint8Array): { readonly va: bigint; readonly length: bigint }[] {
  if (value.length % 16 !== 0) {
    throw new CrimgError("foreign.ranges", `a list of ranges has 16 bytes an element, found ${value.length} bytes in all`, {
      path: "foreign",
    });
  }
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  return Array.from({ length: value.length / 16 }, (_none, index) => ({
    va: view.getBigUint64(index * 16, true),
    length: view.getBigUint64(index * 16 + 8, true),
  }));
}

/** Whether two byte strings are the same. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
