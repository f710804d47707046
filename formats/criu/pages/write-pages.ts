// SPDX-License-Identifier: Apache-2.0
/** Extents → pages-N.img and its map. Pages are copied in large ranges, by the kernel where it can. */
import { ftruncateSync } from "node:fs";
import type { Output } from "../../../src/adapter/output.js";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { type ExtentRow, type VmaRow, vmaVmFlagsBits } from "../../../src/gen/tables.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import type { PageSource } from "../../../src/model/page-source.js";
import type { PageCopies } from "../../../src/pages/page-copies.js";
import { PagemapEntrySchema, PagemapHeadSchema } from "../gen/memory_pb.js";
import { ImageWriter } from "../wire/image-writer.js";
import { countForms, pageFlag, pageSize } from "./page-flags.js";

/** A run of pages for a map. */
export interface MapRun {
  readonly address: bigint;
  readonly length: bigint;
  readonly flags: number;
  readonly source: PageSource;
  readonly position: bigint;
}

/** Whether a lazy restore may leave pages of an area for later: private anonymous memory that is not locked. */
function isLazy(vma: VmaRow): boolean {
  const pinned = vmaVmFlagsBits.lo | vmaVmFlagsBits.ht;
  return vma.kind === "anon_private" && (vma.vmFlags & pinned) === 0n;
}

/** Areas whose pages belong to the address space; those of shared ones belong to their object. */
function ownsPages(vma: VmaRow): boolean {
  return vma.kind === "anon_private" || vma.kind === "file_private" || vma.kind === "vdso" || vma.kind === "aio_ring";
}

/** The runs of an address space: extents cut at areas, so that each run has one kind of page. */
export function runsOfMm(checkpoint: Checkpoint, mm: number): MapRun[] {
  const runs: MapRun[] = [];
  const vmas = checkpoint.vmasOf(mm).map((row) => checkpoint.tables.vmas[row] as VmaRow);
  let index = 0;
  for (const extent of checkpoint.extentsOf({ mm })) {
    requirePages(extent);
    const end = extent.address + extent.length;
    while (index < vmas.length && (vmas[index] as VmaRow).end <= extent.address) index++;
    for (let at = index; at < vmas.length; at++) {
      const vma = vmas[at] as VmaRow;
      if (vma.start >= end) break;
      if (!ownsPages(vma)) continue;
      const from = vma.start > extent.address ? vma.start : extent.address;
      const to = vma.end < end ? vma.end : end;
      addRun(
        runs,
        {
          address: from,
          length: to - from,
          flags: pageFlag.present | (isLazy(vma) ? pageFlag.lazy : 0),
          source: sourceOf(checkpoint, extent),
          position: extent.fileOffset + (from - extent.address),
        },
        from === extent.address,
      );
    }
  }
  return runs;
}

/** Appends a run; the next area of an extent joins the run of the one before it if its pages are of the same kind. */
function addRun(runs: MapRun[], run: MapRun, startsExtent: boolean): void {
  const last = runs.at(-1);
  const continues = !startsExtent && last !== undefined && last.flags === run.flags && last.address + last.length === run.address;
  if (continues) runs[runs.length - 1] = { ...last, length: last.length + run.length };
  else if (run.length > 0n) runs.push(run);
}

/** The runs of a memory file or shared memory, by offset. */
export function runsOfObject(checkpoint: Checkpoint, object: number): MapRun[] {
  return checkpoint.extentsOf({ object }).map((extent) => {
    if (extent.address % pageSize !== 0n) throw misaligned(extent);
    return {
      address: extent.address,
      length: extent.length,
      flags: pageFlag.present,
      source: sourceOf(checkpoint, extent),
      position: extent.fileOffset,
    };
  });
}

function requirePages(extent: ExtentRow): void {
  if (extent.address % pageSize !== 0n || extent.length % pageSize !== 0n) throw misaligned(extent);
}

function misaligned(extent: ExtentRow): CrimgError {
  return new CrimgError(
    "criu.extent",
    `The extent at 0x${extent.address.toString(16)} of ${extent.length} bytes is not whole pages, which CRIU needs.`,
    { format: "criu" },
  );
}

export function sourceOf(checkpoint: Checkpoint, extent: ExtentRow): PageSource {
  const source = checkpoint.sources[extent.source];
  if (!source)
    throw new CrimgError("criu.source", `An extent names the page source ${extent.source}, which does not exist.`, { format: "criu" });
  return source;
}

const maxNarrowCount = 0xffffffffn;

/** Writes a map and its pages; `countForm` is one of `countForms`. */
export async function writePages(
  output: Output,
  mapName: string,
  typeId: string,
  pagesId: number,
  countForm: number,
  runs: readonly MapRun[],
  copies: PageCopies,
): Promise<void> {
  const map = new ImageWriter(output, mapName, typeId);
  map.add(PagemapHeadSchema, { pagesId });
  for (const { address, length, flags } of runs) {
    const count = (length + pageSize - 1n) / pageSize;
    const fits = count <= maxNarrowCount && countForm !== countForms.wide;
    const isWide = !fits || countForm !== countForms.narrow;
    map.add(PagemapEntrySchema, { vaddr: address, compatNrPages: fits ? Number(count) : 0, flags, ...(isWide ? { nrPages: count } : {}) });
  }
  map.flush();
  const { fd } = new ImageWriter(output, `pages-${pagesId}.img`, null);
  await copyRuns(fd, runs, copies);
}

/** Copies runs one behind the other, each padded to whole pages. */
async function copyRuns(fd: number, runs: readonly MapRun[], copies: PageCopies): Promise<void> {
  let target = 0n;
  const placed = runs.map((run) => {
    const at = target;
    target += (run.length + pageSize - 1n) & ~(pageSize - 1n);
    return { ...run, target: at };
  });
  await copies.copy(fd, placed);
  ftruncateSync(fd, Number(target));
}
