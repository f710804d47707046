// SPDX-License-Identifier: Apache-2.0
/**
 * The neutral, immutable model of a checkpointed process tree.
 *
 * Its rows are the records that the spec defines (src/gen/tables.ts is generated from spec/ksy/ckpt_elf_v2.ksy):
 * one description yields the binary tables, the JSON form, the schema and these types, so that no field is
 * mirrored by hand. What this file adds is what rows alone do not give: page sources, and indices over the rows.
 */
import type { AbsentRegionRow, DescriptorRow, ExtentRow, Tables, TaskRow, ThreadRow, VmaRow } from "../gen/tables.js";
import type { PageSource } from "./page-source.js";

/** A table that this version does not know, kept as bytes. */
export interface UnknownTable {
  /** Number of the table (spec/SPEC.md, section 7). */
  readonly kind: number;
  /** Bytes of a row. */
  readonly rowLength: number;
  /** All rows. */
  readonly bytes: Uint8Array;
}

/** What a checkpoint is made of. */
export interface CheckpointParts {
  /** All rows. */
  readonly tables: Tables;
  /** `extents[].source` indexes this. */
  readonly sources: readonly PageSource[];
  /** Tables of later versions of the format. */
  readonly unknownTables?: readonly UnknownTable[];
}

/** Whose bytes an extent holds: an address space (a row of `mms`) or an object (a row of `objects`). */
export type ExtentOwner =
  | {
      /** Row of `mms`. */
      readonly mm: number;
    }
  | {
      /** Row of `objects`. */
      readonly object: number;
    };

/** A checkpoint: rows, page sources, and lookups that are computed once. */
export class Checkpoint {
  /** All rows, as spec/SPEC.md describes them. */
  readonly tables: Tables;
  /** Where pages are; `extents[].source` indexes this. */
  readonly sources: readonly PageSource[];
  /** Tables of later versions of the format, kept as bytes. */
  readonly unknownTables: readonly UnknownTable[];
  #threads: Map<number, number[]> | undefined;
  #children: Map<number, number[]> | undefined;
  #vmas: Map<number, number[]> | undefined;
  #descriptors: Map<number, number[]> | undefined;
  #mmExtents: Map<number, number[]> | undefined;
  #absent: Map<number, number[]> | undefined;
  #objectExtents: Map<number, number[]> | undefined;

  constructor(parts: CheckpointParts) {
    this.tables = parts.tables;
    this.sources = parts.sources;
    this.unknownTables = parts.unknownTables ?? [];
  }

  /** The same, but with other extents. */
  withExtents(extents: readonly ExtentRow[]): Checkpoint {
    const { tables, sources, unknownTables } = this;
    const other = new Checkpoint({ tables: { ...tables, extents }, sources, unknownTables });
    other.#threads = this.#threads;
    other.#children = this.#children;
    other.#vmas = this.#vmas;
    other.#descriptors = this.#descriptors;
    other.#absent = this.#absent;
    return other;
  }

  /** Row index of the task with this pid, or undefined. */
  taskIndexOf(pid: number): number | undefined {
    const index = this.tables.tasks.findIndex((task) => task.pid === pid);
    return index < 0 ? undefined : index;
  }

  /** Row indices of the children of a task, in table order. */
  childrenOf(task: number): readonly number[] {
    this.#children ??= group(this.tables.tasks, (row: TaskRow) => row.parent);
    return this.#children.get(task) ?? [];
  }

  /** Row indices of the threads of a task, leader first. */
  threadsOf(task: number): readonly number[] {
    this.#threads ??= group(this.tables.threads, (row: ThreadRow) => row.task);
    return this.#threads.get(task) ?? [];
  }

  /** Row indices of the VMAs of an address space, ascending. */
  vmasOf(mm: number): readonly number[] {
    this.#vmas ??= group(this.tables.vmas, (row: VmaRow) => row.mm);
    return this.#vmas.get(mm) ?? [];
  }

  /** Row indices of the descriptors of a task. */
  descriptorsOf(task: number): readonly number[] {
    this.#descriptors ??= group(this.tables.descriptors, (row: DescriptorRow) => row.task);
    return this.#descriptors.get(task) ?? [];
  }

  /** Memory of an address space whose content is not known, ascending. */
  absentOf(mm: number): readonly AbsentRegionRow[] {
    this.#absent ??= group(this.tables.absentRegions, (row: AbsentRegionRow) => row.mm);
    return (this.#absent.get(mm) ?? []).map((index) => this.tables.absentRegions[index] as AbsentRegionRow);
  }

  /** Stored bytes of an address space or an object, ascending. */
  extentsOf(owner: ExtentOwner): readonly ExtentRow[] {
    const isMm = "mm" in owner;
    const byOwner = isMm
      ? (this.#mmExtents ??= group(this.tables.extents, (row: ExtentRow) => (row.ownerKind === "mm" ? row.owner : null)))
      : (this.#objectExtents ??= group(this.tables.extents, (row: ExtentRow) => (row.ownerKind === "object" ? row.owner : null)));
    const rows = byOwner.get(isMm ? owner.mm : owner.object) ?? [];
    return rows.map((index) => this.tables.extents[index] as ExtentRow);
  }

  /** Releases the page sources. */
  close(): void {
    for (const source of this.sources) source.close();
  }
}

function group<Row>(rows: readonly Row[], keyOf: (row: Row) => number | null): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  let [last, members]: [number | null, number[]] = [null, []];
  for (let index = 0; index < rows.length; index++) {
    const key = keyOf(rows[index] as Row);
    if (key === null) continue;
    // Rows of one owner mostly follow each other.
    if (key !== last) {
      last = key;
      members = groups.get(key) ?? [];
      groups.set(key, members);
    }
    members.push(index);
  }
  return groups;
}
