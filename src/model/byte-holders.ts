// SPDX-License-Identifier: Apache-2.0
/** Which extent has stored bytes first, and which ones name a part of them again. */
import type { ExtentRow } from "../gen/tables.js";
import { firstWhere } from "./ascending.js";

/** Extents of a table, noted in its order: of each source those whose bytes ascend. Only these can be found again. */
export class ByteHolders {
  /** By source: rows, ascending by place, and where the bytes of the last end. */
  readonly #known = new Map<number, { readonly rows: number[]; end: bigint }>();

  constructor(private readonly extents: readonly ExtentRow[]) {}

  /** Notes the bytes of a row. False, and not noted, if they begin before the end of what is noted of their source. */
  note(row: number): boolean {
    const { source, fileOffset, length } = this.extents[row] as ExtentRow;
    const known = this.#known.get(source);
    if (known === undefined) {
      this.#known.set(source, { rows: [row], end: fileOffset + length });
      return true;
    }
    if (known.end > fileOffset) return false;
    known.rows.push(row);
    known.end = fileOffset + length;
    return true;
  }

  /** The row, noted before, that has all bytes of an extent; undefined if none has. */
  find({ source, fileOffset, length }: ExtentRow): number | undefined {
    const known = this.#known.get(source);
    // Most lie behind all that is known.
    if (known === undefined || known.end <= fileOffset) return undefined;
    const { rows } = known;
    const place = firstWhere(rows.length, (index) => {
      const at = this.extents[rows[index] ?? -1] as ExtentRow;
      return at.fileOffset + at.length > fileOffset;
    });
    const holder = this.extents[rows[place] ?? -1];
    if (holder === undefined || holder.fileOffset > fileOffset) return undefined;
    return fileOffset + length <= holder.fileOffset + holder.length ? rows[place] : undefined;
  }
}
