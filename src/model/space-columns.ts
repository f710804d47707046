// SPDX-License-Identifier: Apache-2.0
/**
 * The mappings of an address space as columns of numbers: a program may have tens of thousands, of which most are memory without a
 * name and like many others but for their place. Whoever goes through all of them needs a step each, and no objects.
 */
import { firstWhere } from "./ascending.js";
import type { Checkpoint } from "./checkpoint.js";
import type { VmaRow } from "../gen/tables.js";

/** The kind of a mapping that is to be looked at by itself. */
export const alone = 255;

/** Mappings by index, ascending. */
export interface MappingColumns {
  /** Addresses. They are multiples of a page, so doubles hold them exactly. */
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  /** The number of the sample that it is like in everything but `start` and `end`, or `alone`. */
  readonly kinds: Uint8Array;
  /** Private anonymous memory without a name, an object, or a size of pages of its own. */
  readonly samples: readonly VmaRow[];
  /** Indices of mappings that are alone, ascending. */
  readonly others: Int32Array;
}

/** Columns, and the rows that they are of. */
export class SpaceColumns {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly kinds: Uint8Array;
  readonly samples: readonly VmaRow[];
  readonly others: Int32Array;
  #otherRows: readonly VmaRow[] | undefined;

  /** @param indices rows of the table; undefined: all */
  constructor(
    private readonly vmas: readonly VmaRow[],
    private readonly indices: readonly number[] | undefined,
    { starts, ends, kinds, samples, others }: MappingColumns,
  ) {
    this.starts = starts;
    this.ends = ends;
    this.kinds = kinds;
    this.samples = samples;
    this.others = others;
  }

  get count(): number {
    return this.kinds.length;
  }

  /** The row of a mapping. */
  row(index: number): VmaRow {
    return this.vmas[this.tableRow(index)] as VmaRow;
  }

  /** Its number in the table. */
  tableRow(index: number): number {
    return this.indices === undefined ? index : (this.indices[index] as number);
  }

  /** All that are alone. */
  otherRows(): readonly VmaRow[] {
    return (this.#otherRows ??= Array.from(this.others, (index) => this.row(index)));
  }

  /** The first that ends behind an address. */
  firstEndingAfter(address: number): number {
    return firstWhere(this.count, (index) => (this.ends[index] as number) > address);
  }
}

const noted = new WeakMap<readonly VmaRow[], { readonly count: number; readonly columns: () => MappingColumns }>();
const known = new WeakMap<readonly VmaRow[], Map<number, SpaceColumns>>();

/** Says what the columns of a table are that has all its rows; they are of one address space. */
export function noteColumns(vmas: readonly VmaRow[], columns: () => MappingColumns): void {
  noted.set(vmas, { count: vmas.length, columns });
}

/** The mappings of an address space. */
export function columnsOf(checkpoint: Checkpoint, mm: number): SpaceColumns {
  const { vmas } = checkpoint.tables;
  const spaces = spacesOf(vmas);
  let columns = spaces.get(mm) ?? (vmas[0]?.mm === mm ? columnsOfAll(vmas) : undefined);
  if (columns === undefined) {
    const indices = checkpoint.vmasOf(mm);
    spaces.set(mm, (columns = new SpaceColumns(vmas, indices, columnsOfRows(vmas, indices))));
  }
  return columns;
}

/** The mappings of all address spaces, where they are those of one and it has been said what their columns are. */
export function columnsOfAll(vmas: readonly VmaRow[]): SpaceColumns | undefined {
  const [first] = vmas;
  const said = noted.get(vmas);
  if (first === undefined || said === undefined || said.count !== vmas.length) return undefined;
  const spaces = spacesOf(vmas);
  let columns = spaces.get(first.mm);
  if (columns === undefined) spaces.set(first.mm, (columns = new SpaceColumns(vmas, undefined, said.columns())));
  return columns;
}

/** Numbers and rows of a table of mappings, without those that are known to be private memory like many others. */
export function unlikeOthers(vmas: readonly VmaRow[]): Iterable<readonly [number, VmaRow]> {
  const columns = columnsOfAll(vmas);
  return columns === undefined ? vmas.entries() : Array.from(columns.others, (row) => [row, vmas[row] as VmaRow] as const);
}

/** Rows of a table of mappings, of those that are known to differ in their place only one of each kind. */
export function unlikeRows(vmas: readonly VmaRow[]): readonly VmaRow[] {
  const columns = columnsOfAll(vmas);
  return columns === undefined ? vmas : [...columns.samples, ...columns.otherRows()];
}

function spacesOf(vmas: readonly VmaRow[]): Map<number, SpaceColumns> {
  let spaces = known.get(vmas);
  if (spaces === undefined) known.set(vmas, (spaces = new Map<number, SpaceColumns>()));
  return spaces;
}

function columnsOfRows(vmas: readonly VmaRow[], indices: readonly number[]): MappingColumns {
  const [starts, ends] = [new Float64Array(indices.length), new Float64Array(indices.length)];
  const kinds = new Uint8Array(indices.length).fill(alone);
  const samples: VmaRow[] = [];
  const others: number[] = [];
  let last = 0;
  for (let index = 0; index < indices.length; index++) {
    const row = vmas[indices[index] as number] as VmaRow;
    starts[index] = Number(row.start);
    ends[index] = Number(row.end);
    if (!isPlain(row)) {
      others.push(index);
      continue;
    }
    let kind = alone;
    for (let tried = 0; tried < samples.length && kind === alone; tried++) {
      const place = (last + tried) % samples.length;
      const sample = samples[place] as VmaRow;
      if (sample.prot === row.prot && sample.vmFlags === row.vmFlags && sample.pkey === row.pkey) kind = place;
    }
    if (kind === alone && samples.length < alone) kind = samples.push(row) - 1;
    if (kind === alone) others.push(index);
    last = kind + 1;
    kinds[index] = kind;
  }
  return { starts, ends, kinds, samples, others: Int32Array.from(others) };
}

function isPlain({ kind, object, name, offset, isHeap, isStack, hugeShift }: VmaRow): boolean {
  return kind === "anon_private" && object === null && name === "" && offset === 0n && isHeap === 0 && isStack === 0 && hugeShift === 0;
}
