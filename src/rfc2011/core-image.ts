// SPDX-License-Identifier: Apache-2.0
/** The vma_entry list of a core image, and its pages sorted by what they belong to. */
import { ByteReader } from "../bytes/byte-reader.js";
import type { RandomBytes } from "../bytes/random-bytes.js";
import { CrimgError } from "../errors/crimg-error.js";
import { type VmaEntry, readVmaEntry, vmaEntrySize } from "../gen/ckpt-elf-v1.js";
import type { ModelBuilder, ProcessRows } from "./model-builder.js";
import type { PageList, PageRun } from "./page-list.js";
import { assertEntries } from "./vma.js";

/** More areas than any process has: vm.max_map_count is 65,530 by default. */
const maxAreas = 1 << 20;

/**
 * Reads vma_entry records up to the one whose start and end are 0.
 * @throws CrimgError `vma.end` (no end in sight), `vma.range`
 */
export function readVmaList(bytes: RandomBytes, offset: bigint, format: string): { readonly vmas: VmaEntry[]; readonly endOffset: bigint } {
  const vmas: VmaEntry[] = [];
  const placeOf = (index: number) => ({
    source: bytes.name,
    offset: offset + BigInt(index * vmaEntrySize),
    path: `vmas[${index}]`,
    format,
  });
  for (let index = 0; ; index++) {
    const place = placeOf(index);
    const left = bytes.size - place.offset;
    if (left < BigInt(vmaEntrySize)) {
      const message =
        `expected an area of ${vmaEntrySize} bytes or the zero entry that ends the list, found ` + `${left < 0n ? 0n : left} bytes`;
      throw new CrimgError("vma.end", message, { ...place, hint: "the file was cut off; was the disk full?" });
    }
    if (index > maxAreas) throw new CrimgError("vma.count", `there must be at most ${maxAreas} areas`, place);
    const entry = readVmaEntry(
      new ByteReader(bytes.read(place.offset, vmaEntrySize), { source: bytes.name, base: place.offset, path: place.path, format }),
    );
    if (entry.start === 0n && entry.end === 0n) {
      assertEntries(vmas, placeOf);
      return { vmas, endOffset: place.offset + BigInt(vmaEntrySize) };
    }
    vmas.push(entry);
  }
}

/** Pages of a list by what they belong to. */
export interface SortedPages {
  /** Pages of private areas. */
  readonly privateRuns: readonly PageRun[];
  /** Pages of shared memory, with the area (an index in `vmas`) that they lie in. */
  readonly sharedRuns: readonly { readonly vma: number; readonly run: PageRun }[];
}

/**
 * Cuts the runs of a list at the borders of areas.
 * @throws CrimgError `pages.outside` for a page in no area, `pages.twice` for one that stands twice
 */
export function sortPages(
  list: PageList,
  vmas: readonly VmaEntry[],
  isShared: (vma: number) => boolean,
  place: { source: string; path: string; format: string },
): SortedPages {
  const privateRuns: PageRun[] = [];
  const sharedRuns: { vma: number; run: PageRun }[] = [];
  for (const run of list.runs) {
    for (let done = 0n; done < run.length; ) {
      const va = run.va + done;
      const vma = areaAt(vmas, va);
      const area = vmas[vma];
      if (!area) {
        const path = `${place.path}[${(run.position + done) / 4096n}].va`;
        throw new CrimgError("pages.outside", `the page at 0x${va.toString(16)} lies in no area`, { ...place, path });
      }
      const left = run.length - done;
      const length = area.end - va < left ? area.end - va : left;
      const piece: PageRun = { va, length, position: run.position + done };
      if (isShared(vma)) sharedRuns.push({ vma, run: piece });
      else privateRuns.push(piece);
      done += length;
    }
  }
  const sorted = [...privateRuns, ...sharedRuns.map(({ run }) => run)].sort((a, b) => (a.va < b.va ? -1 : 1));
  for (let index = 1; index < sorted.length; index++) {
    const [before, run] = [sorted[index - 1], sorted[index]];
    if (before && run && before.va + before.length > run.va) {
      const message = `the page at 0x${run.va.toString(16)} stands twice`;
      throw new CrimgError("pages.twice", message, { ...place, path: `${place.path}[${run.position / 4096n}].va` });
    }
  }
  return { privateRuns, sharedRuns };
}

/** Index of the area that holds an address; -1 for none. */
function areaAt(vmas: readonly VmaEntry[], address: bigint): number {
  let low = 0;
  let high = vmas.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((vmas[middle]?.end ?? 0n) > address) high = middle;
    else low = middle + 1;
  }
  const found = vmas[low];
  return found && found.start <= address ? low : -1;
}

/** Gives pages that were sorted to the model. */
export function addSortedPages(builder: ModelBuilder, rows: ProcessRows, pages: SortedPages, source: number): void {
  builder.addPrivatePages(rows.mm, pages.privateRuns, source);
  for (const { vma, run } of pages.sharedRuns) {
    const area = builder.tables.vmas[rows.firstVma + vma];
    if (area?.object == null) continue;
    builder.addSharedPages(area.object, area.offset + (run.va - area.start), run, source);
  }
}
