// SPDX-License-Identifier: Apache-2.0
/**
 * Pages of file mappings that the checkpoint does not store, because they are the file's. A format that cannot name
 * files (version 1), or an image that shall need none (--bundle), stores them all.
 */
import { copyByReading } from "../pages/copy-by-reading.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import type { ExtentRow, VmaRow } from "../gen/tables.js";
import { vmaVmFlagsBits } from "../gen/tables.js";
import { MappedFiles } from "../pages/mapped-files.js";
import { type MemoryRun, MemoryView } from "../pages/memory-view.js";
import type { StoredRun } from "./page-list.js";
import { areasOf } from "./stored-pages.js";

/** A run of an address space as a page source: position 0 is its first byte. */
class RunPages implements PageSource {
  readonly name = "a mapped file";

  constructor(
    private readonly view: MemoryView,
    private readonly run: MemoryRun,
  ) {}

  read(position: bigint, into: Uint8Array): void {
    const { address, origin } = this.run;
    const moved =
      origin.kind === "file"
        ? { ...origin, offset: origin.offset + position }
        : origin.kind === "stored"
          ? { ...origin, position: origin.position + position }
          : origin;
    this.view.readRun({ address: address + position, length: BigInt(into.length), origin: moved }, into);
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    copyByReading(this, fd, fileOffset, ranges);
  }

  close(): void {
    // The caller that made the plan closes the view.
  }
}

/** The pages of a task's file mappings, those that are the files' included. */
export interface FilePages {
  /** Pages of private mappings, ascending. */
  readonly privately: readonly StoredRun[];
  /** Pages of shared mappings, ascending. */
  readonly shared: readonly StoredRun[];
  /** Areas whose pages cannot be had, with the reason. */
  readonly missing: readonly { readonly start: bigint; readonly reason: string }[];
  close(): void;
}

/**
 * Which pages of file mappings to store besides those that the checkpoint stores.
 * @param all false: only those of files that have no name any more, whose bytes nobody else has
 */
export function filePagesOf(checkpoint: Checkpoint, task: number, all: boolean): FilePages {
  const mm = checkpoint.tables.tasks[task]?.mm ?? null;
  const files = new MappedFiles(checkpoint.tables);
  const view = mm === null ? undefined : new MemoryView(checkpoint, mm, files);
  const privately: StoredRun[] = [];
  const shared: StoredRun[] = [];
  const missing: { start: bigint; reason: string }[] = [];
  const own = mm === null ? [] : checkpoint.extentsOf({ mm });
  for (const { row } of areasOf(checkpoint, task)) {
    if (!view || !isWanted(checkpoint, row, all)) continue;
    const runs = [...view.runs(row.start, row.end)];
    const gap = runs.find((run) => run.origin.kind === "absent");
    if (gap?.origin.kind === "absent") {
      missing.push({ start: row.start, reason: gap.origin.reason });
      continue;
    }
    for (const run of runs) {
      // What the address space itself stores is listed already.
      if (holds(own, run.address)) continue;
      const target = row.kind === "file_private" ? privately : shared;
      target.push({ va: run.address, length: run.length, source: new RunPages(view, run), position: 0n });
    }
  }
  return { privately, shared, missing, close: () => view?.close() };
}

/** Whether ascending extents hold an address. */
function holds(extents: readonly ExtentRow[], address: bigint): boolean {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const extent = extents[middle];
    if (extent && extent.address + extent.length > address) high = middle;
    else low = middle + 1;
  }
  return (extents[low]?.address ?? address + 1n) <= address;
}

function isWanted(checkpoint: Checkpoint, row: VmaRow, all: boolean): boolean {
  if (row.kind !== "file_private" && row.kind !== "file_shared") return false;
  const object = row.object === null ? undefined : checkpoint.tables.objects[row.object];
  if (!object || object.path === "") return false;
  if (object.kind === "ghost" || object.kind === "memfd") return true;
  // A copy of memory that others change through the file would be another memory.
  const isWritable = (row.prot & 2) !== 0 || (row.vmFlags & vmaVmFlagsBits.mw) !== 0n;
  return all && (row.kind === "file_private" || !isWritable);
}
