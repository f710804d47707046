// SPDX-License-Identifier: Apache-2.0
/** pagemap-*.img and pages-N.img → extents; what an incremental image leaves to its parent is looked up there. */
import { isFieldSet } from "@bufbuild/protobuf";
import { extentRow, type ExtentOwner, type VmaRow, vdsoImageRow } from "../../../src/gen/tables.js";
import type { CrimgError } from "../../../src/errors/crimg-error.js";
import type { PageSource } from "../../../src/model/page-source.js";
import { FilePageSource } from "../../../src/pages/file-source.js";
import type { ModelBuilder } from "../builder.js";
import { u32Bytes } from "../ids/image-set-ids.js";
import { type PagemapEntry, PagemapEntrySchema, PagemapHeadSchema } from "../gen/memory_pb.js";
import { type ImageReader, openImage } from "../wire/image-reader.js";
import type { ImageSet } from "../wire/image-set.js";
import { BlockPageSource, blocksOf, type PageBlocks } from "./page-blocks.js";
import { countForms, pageFlag, pageFlagsKnown, pageSize } from "./page-flags.js";
import { buildIdOfNotes, vdsoKey } from "../map/vdso.js";

/** A run of pages of one image. */
export interface PageRun {
  readonly address: bigint;
  readonly length: bigint;
  /** Index of the page source. */
  readonly source: number;
  readonly fileOffset: bigint;
  /** Offset of its entry, for messages. */
  readonly entryOffset: number;
}

/** Pages of the vDSO that are taken: it has two on current kernels. */
const maxVdso = 64n * 1024n;

/** More runs than this in one map are refused; the kernel's own limit of areas is 65,530. */
const maxRuns = 50_000_000;

export class PagemapReader {
  /** Sources by path of the pages file, so that two maps can share one. */
  readonly #sources = new Map<string, OpenedPages>();
  readonly #sets: ImageSet[] = [];

  constructor(readonly builder: ModelBuilder) {}

  /** Adds the extents of an address space or object. @throws CrimgError if an address space has no map; objects may have none */
  add(name: string, ownerKind: ExtentOwner, owner: number): void {
    const { set } = this.builder.wire;
    if (!set.has(name)) {
      if (ownerKind === "object") return;
      throw this.builder.error(
        "criu.pages",
        "The memory of the process is not in the set: it has no map of its pages.",
        name,
        undefined,
        "If it was dumped to a page server (--page-server), put the server's directory together with this one: pagemap-*.img, pages-*.img.",
      );
    }
    const { runs, pagesId, countForm } = this.#runs(set, name);
    if (pagesId !== undefined) {
      this.builder.foreign.add({ table: ownerKind === "mm" ? "mms" : "objects", row: owner }, "pages-id", u32Bytes(pagesId, countForm));
    }
    const vdso = ownerKind === "mm" ? this.#vdsoOf(owner) : undefined;
    for (const run of vdso ? this.#takeVdso(owner, runs, vdso) : runs) {
      const { address, length, source, fileOffset } = run;
      this.builder.tables.extents.push(extentRow({ ownerKind, owner, address, length, fileOffset, source }));
    }
  }

  #vdsoOf(mm: number): VmaRow | undefined {
    return this.builder.tables.vmas.find((vma) => vma.mm === mm && vma.kind === "vdso");
  }

  /**
   * The vDSO is the kernel's, so the model has no extents of it; an image has. Its bytes are kept aside. Returns the other runs.
   */
  #takeVdso(mm: number, runs: readonly PageRun[], vdso: VmaRow): readonly PageRun[] {
    const length = vdso.end - vdso.start;
    const inside = cut(runs, vdso.start, length);
    if (inside.length === 0 || length > maxVdso || covered(inside) !== length) return runs;
    const pages = new Uint8Array(Number(length));
    for (const run of inside) {
      const at = Number(run.address - vdso.start);
      this.builder.sources[run.source]?.read(run.fileOffset, pages.subarray(at, at + Number(run.length)));
    }
    const { vdsoImages } = this.builder.tables;
    // All tasks have the same, but for one that CRIU itself had to redirect.
    if (vdsoImages.length === 0 && buildIdOfNotes(pages) !== undefined) vdsoImages.push(vdsoImageRow({ image: pages }));
    else if (!vdsoImages[0] || Buffer.compare(vdsoImages[0].image, pages) !== 0) {
      this.builder.foreign.add({ table: "mms", row: mm }, vdsoKey, pages);
    }
    this.builder.vdsoBuildId ??= buildIdOfNotes(pages);
    return [...cut(runs, 0n, vdso.start), ...cut(runs, vdso.end, (1n << 64n) - vdso.end)];
  }

  #runs(set: ImageSet, name: string): { runs: PageRun[]; pagesId: number | undefined; countForm: number } {
    const reader = set.open(name, name.startsWith("pagemap-shmem-") ? "pagemap-shmem" : "pagemap");
    try {
      const head = reader.one(PagemapHeadSchema);
      const pages = this.#pages(set, head.pagesId);
      const runs: PageRun[] = [];
      let parentRuns: readonly PageRun[] | undefined;
      let position = 0n;
      let last = 0n;
      let countForm: number = countForms.both;
      for (;;) {
        const entryOffset = reader.position;
        const entry = reader.next(PagemapEntrySchema);
        if (!entry) break;
        const count = entry.nrPages !== 0n ? entry.nrPages : BigInt(entry.compatNrPages);
        if (entry.nrPages !== BigInt(entry.compatNrPages)) countForm = entry.nrPages === 0n ? countForms.narrow : countForms.wide;
        const length = count * pageSize;
        if (entry.vaddr % pageSize !== 0n || entry.vaddr + length > 1n << 64n) {
          throw reader.error(
            "criu.pagemap",
            `${count} pages at 0x${entry.vaddr.toString(16)} are not a range of whole pages.`,
            entryOffset,
            "vaddr",
          );
        }
        if (entry.vaddr < last) {
          throw reader.error(
            "criu.pagemap",
            `The pages at 0x${entry.vaddr.toString(16)} come after pages of higher addresses.`,
            entryOffset,
            "vaddr",
          );
        }
        last = entry.vaddr + length;
        if (runs.length > maxRuns) throw reader.error("criu.pagemap", "The map has too many entries.", entryOffset);
        const inParent = entry.inParent || (entry.flags & pageFlag.parent) !== 0;
        if (inParent) {
          parentRuns ??= this.#parentRuns(set, name);
          const found = cut(parentRuns, entry.vaddr, length);
          if (found.length === 0 || covered(found) !== length) {
            throw reader.error(
              "criu.parent",
              `The parent images lack some of the ${count} pages at 0x${entry.vaddr.toString(16)}.`,
              entryOffset,
            );
          }
          for (const run of found) runs.push(run);
          continue;
        }
        // Entries before the flag existed are present.
        const isPresent = !isFieldSet(entry, PagemapEntrySchema.field.flags) || (entry.flags & pageFlag.present) !== 0;
        const unknown = entry.flags & ~pageFlagsKnown;
        if (unknown !== 0) {
          const what = `flag 0x${unknown.toString(16)} of its entry`;
          throw reader.error(
            "criu.pagemap",
            `${notKnown(count, entry.vaddr)} ${what} is not known, and may change that.`,
            entryOffset,
            "flags",
          );
        }
        if (!isPresent && (entry.flags & pageFlag.lazy) !== 0) {
          throw this.builder.error(
            "criu.lazy",
            `${count} pages at 0x${entry.vaddr.toString(16)} are not in the set: they stayed with the dump (--lazy-pages).`,
            name,
            `entry ${reader.entryIndex} flags`,
            "Dump again without --lazy-pages, or let criu restore --lazy-pages fetch them and dump that.",
          );
        }
        if (!isPresent || length === 0n) continue;
        if ((entry.flags & pageFlag.aligned) !== 0) position = (position + pageSize - 1n) & ~(pageSize - 1n);
        const blocks = this.#blocksOf(reader, entry, count, entryOffset);
        if (blocks !== undefined) {
          const stored = blocks.sizes.reduce((sum, size) => sum + BigInt(size), 0n);
          if (position + stored > pages.size) throw tooShort(reader, head.pagesId, pages.size, entryOffset);
          const packed = this.#blockSource(pages);
          const fileOffset = packed.source.add(blocks, count, position);
          runs.push({ address: entry.vaddr, length, source: packed.index, fileOffset, entryOffset });
          position += stored;
          continue;
        }
        if (position + length > pages.size) throw tooShort(reader, head.pagesId, pages.size, entryOffset);
        runs.push({ address: entry.vaddr, length, source: pages.index, fileOffset: position, entryOffset });
        position += length;
      }
      return { runs, pagesId: head.pagesId, countForm };
    } finally {
      reader.close();
    }
  }

  #blocksOf(reader: ImageReader, entry: PagemapEntry, count: bigint, offset: number): PageBlocks | undefined {
    try {
      return blocksOf(entry.$unknown ?? [], count);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw reader.error("criu.blocks", `${notKnown(count, entry.vaddr)} ${why}.`, offset, "blocks");
    }
  }

  #blockSource(pages: OpenedPages): { readonly index: number; readonly source: BlockPageSource } {
    if (pages.blocks === undefined) {
      const file = this.builder.sources[pages.index] as PageSource;
      const source = new BlockPageSource(file.name, file);
      pages.blocks = { index: this.builder.sources.push(source) - 1, source };
    }
    return pages.blocks;
  }

  #parentRuns(set: ImageSet, name: string): readonly PageRun[] {
    const parent = set.parent();
    if (!parent) {
      throw this.builder.error(
        "criu.parent",
        "Pages are in a parent image, but the set has no 'parent' link.",
        name,
        undefined,
        "Keep the images that this incremental set was made on.",
      );
    }
    this.#sets.push(parent);
    return parent.has(name) ? this.#runs(parent, name).runs : [];
  }

  #pages(set: ImageSet, id: number): OpenedPages {
    const name = `pages-${id}.img`;
    const path = set.path(name);
    const known = this.#sources.get(path);
    if (known) return known;
    const source = new FilePageSource(set.labelOf(name), openImage(path, set.labelOf(name)));
    const opened: OpenedPages = { index: this.builder.sources.push(source) - 1, size: source.size };
    this.#sources.set(path, opened);
    return opened;
  }
}

/** A pages file. */
interface OpenedPages {
  /** Index of the page source. */
  readonly index: number;
  readonly size: bigint;
  /** Its pages that are stored in blocks. */
  blocks?: { readonly index: number; readonly source: BlockPageSource };
}

function notKnown(count: bigint, address: bigint): string {
  return `It is not known how the ${count} pages at 0x${address.toString(16)} are stored:`;
}

function tooShort(reader: ImageReader, id: number, size: bigint, entryOffset: number): CrimgError {
  return reader.error("criu.pages", `The map has more pages than pages-${id}.img, which ends at ${size}.`, entryOffset, "nr_pages");
}

/** The parts of ascending runs within a range. */
function cut(runs: readonly PageRun[], address: bigint, length: bigint): PageRun[] {
  const end = address + length;
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const run = runs[middle] as PageRun;
    if (run.address + run.length <= address) low = middle + 1;
    else high = middle;
  }
  const parts: PageRun[] = [];
  for (let index = low; index < runs.length; index++) {
    const run = runs[index] as PageRun;
    if (run.address >= end) break;
    const from = run.address > address ? run.address : address;
    const to = run.address + run.length < end ? run.address + run.length : end;
    parts.push({ ...run, address: from, length: to - from, fileOffset: run.fileOffset + (from - run.address) });
  }
  return parts;
}

function covered(runs: readonly PageRun[]): bigint {
  return runs.reduce((sum, run) => sum + run.length, 0n);
}
