// SPDX-License-Identifier: Apache-2.0
/**
 * The stored pages of an address space as columns of numbers: a program may have them in tens of thousands of places, and an
 * object for each, at each step from the scan to the image, takes longer than the pages themselves.
 */
import type { ExtentRow } from "../gen/tables.js";
import type { Checkpoint } from "./checkpoint.js";
import { lazyRows } from "./lazy-rows.js";

/** Extents by index, ascending, disjoint, of whole pages, all of one address space and in one source. Doubles are exact: see below. */
export interface ExtentColumns {
  readonly mm: number;
  readonly source: number;
  /** Addresses and bytes, multiples of a page. */
  readonly starts: Float64Array;
  readonly lengths: Float64Array;
  /** Where they are in the source, below 2^53. */
  readonly offsets: Float64Array;
}

const noted = new WeakMap<readonly ExtentRow[], { readonly count: number; readonly columns: ExtentColumns }>();

/** Says what the columns of a table are that has all its rows. */
export function noteExtents(rows: readonly ExtentRow[], columns: ExtentColumns): void {
  noted.set(rows, { count: columns.starts.length, columns });
}

/** The columns of all extents of a checkpoint, where it has one address space and it has been said what they are. */
export function extentColumns({ tables: { extents, mms } }: Checkpoint): ExtentColumns | undefined {
  const said = noted.get(extents);
  return said !== undefined && said.count === extents.length && mms.length === 1 ? said.columns : undefined;
}

/** Rows of columns, which are made when somebody looks at one. */
export function extentRowsOf(columns: ExtentColumns): ExtentRow[] {
  const { mm, source, starts, lengths, offsets } = columns;
  const lazy = lazyRows<ExtentRow>(starts.length, (index) => ({
    ownerKind: "mm",
    owner: mm,
    address: BigInt(starts[index] as number),
    length: BigInt(lengths[index] as number),
    fileOffset: BigInt(offsets[index] as number),
    source,
  }));
  noteExtents(lazy, columns);
  return lazy;
}

/** Bytes of all. */
export function bytesOf({ lengths }: Pick<ExtentColumns, "lengths">): number {
  let sum = 0;
  for (let index = 0; index < lengths.length; index++) sum += lengths[index] as number;
  return sum;
}
