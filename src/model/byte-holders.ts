// SPDX-License-Identifier: Apache-2.0
/** Which extent has stored bytes first, and which ones name a part of them again. */
import type { ExtentRow } from "../gen/tables.js";
import { firstWhere } from "./ascending.js";

/** Extents of a table, noted in its order: of each source those whose bytes ascend. Only these can be found again. */
export class ByteHolders {
  /** By source: rows, ascending by place. */
  readonly #rows = new Map<number, number[]>();

  constructor(private readonly extents: readonly ExtentRow[]) {}

  /** Notes the bytes of a row. False, and not noted, if they begin before the end of what is noted of their source. */
  note(row: number): boolean {
    const { source, fileOffset } = this.extents[row] as ExtentRow;
    const known = this.#rows.get(source) ?? [];
    this.#rows.set(source, known);
    const last = this.extents[known.at(-1) ?? -1];
    if (last !== undefined && last.fileOffset + last.length > fileOffset) return false;
    known.push(row);
    return true;
  }

  /** The row, noted before, that has all bytes of an extent; undefined if none has. */
  find({ source, fileOffset, length }: ExtentRow): number | undefined {
    const known = this.#rows.get(source) ?? [];
    const place = firstWhere(known.length, (index) => {
      const at = this.extents[known[index] ?? -1] as ExtentRow;
      return at.fileOffset + at.length > fileOffset;
    });
    const holder = this.extents[known[place] ?? -1];
    if (holder === undefined || holder.fileOffset > fileOffset) return undefined;
    return fileOffset + length <= holder.fileOffset + holder.length ? known[place] : undefined;
  }
}
