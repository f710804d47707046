// SPDX-License-Identifier: Apache-2.0
/** Changed bytes of an address space: whole pages of a new source, which take the place of what was stored there. */
import { extentRow, type ExtentRow, type MmRow } from "../gen/tables.js";
import { Checkpoint } from "../model/checkpoint.js";
import { BufferPageSource } from "./buffer-source.js";
import type { MemoryView } from "./memory-view.js";

const pageSize = 4096n;

export class MemoryPatch {
  readonly #pages = new Map<bigint, Uint8Array>();

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly memory: MemoryView,
  ) {}

  /** Changes bytes. Throws what MemoryView.read throws where the rest of a page cannot be had. */
  write(address: bigint, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const at = address + BigInt(done);
      const start = at - (at % pageSize);
      const page = this.#pages.get(start) ?? this.memory.read(start, Number(pageSize));
      this.#pages.set(start, page);
      const offset = Number(at - start);
      const length = Math.min(page.length - offset, bytes.length - done);
      page.set(bytes.subarray(done, done + length), offset);
      done += length;
    }
  }

  /**
   * The checkpoint with the changed pages, and with some fields of the address space changed. It shares the page
   * sources of the old one: close one of them only.
   */
  apply(mm: number, fields: Partial<MmRow> = {}): Checkpoint {
    const { tables, sources, unknownTables } = this.checkpoint;
    const starts = [...this.#pages.keys()].sort((a, b) => (a < b ? -1 : 1));
    const source = sources.length;
    const patched = starts.map((address, index) =>
      extentRow({ ownerKind: "mm", owner: mm, address, length: pageSize, fileOffset: BigInt(index) * pageSize, source }),
    );
    const extents = tables.extents.flatMap((row) => (row.ownerKind === "mm" && row.owner === mm ? cutOut(row, starts) : [row]));
    const first = extents.findIndex((row) => row.ownerKind === "mm" && row.owner >= mm);
    extents.splice(first < 0 ? extents.length : first, 0, ...patched);
    return new Checkpoint({
      tables: {
        ...tables,
        mms: tables.mms.map((row, index) => (index === mm ? { ...row, ...fields } : row)),
        extents: sortOwner(extents, mm),
      },
      sources: [
        ...sources,
        new BufferPageSource("changed pages", Buffer.concat(starts.map((start) => this.#pages.get(start) ?? new Uint8Array()))),
      ],
      unknownTables,
    });
  }
}

/** The parts of an extent that lie outside the given pages. */
function cutOut(row: ExtentRow, pages: readonly bigint[]): ExtentRow[] {
  const parts: ExtentRow[] = [];
  const end = row.address + row.length;
  let at = row.address;
  const keep = (stop: bigint) => {
    if (stop > at) parts.push({ ...row, address: at, length: stop - at, fileOffset: row.fileOffset + (at - row.address) });
  };
  for (const page of pages) {
    if (page + pageSize <= at || page >= end) continue;
    keep(page);
    at = page + pageSize;
  }
  keep(end);
  return parts;
}

/** Rows of one owner in ascending order; all others stay where they are. */
function sortOwner(rows: readonly ExtentRow[], mm: number): ExtentRow[] {
  const own = rows.filter((row) => row.ownerKind === "mm" && row.owner === mm).sort((a, b) => (a.address < b.address ? -1 : 1));
  let next = 0;
  return rows.map((row) => (row.ownerKind === "mm" && row.owner === mm ? (own[next++] as ExtentRow) : row));
}
