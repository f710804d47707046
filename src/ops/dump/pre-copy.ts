// SPDX-License-Identifier: Apache-2.0
/**
 * `--leave-running` of much memory, without a fork: its pages are written to where the image has them while the program still runs,
 * and what it has written to since is told by the page tables (src/dump/write-tracking.ts). While it stands still only that is
 * copied: a fork of a GiB takes 17 ms, this takes no longer than for a small program. Where it cannot be, or the program
 * writes to too much, it is forked as if nothing had been.
 */
import { writeFully } from "../../pages/file-source.js";
import { StalePreCopy } from "../../dump/early-mappings.js";
import type { Gadgets } from "../../dump/gadgets.js";
import { NotTracked, WriteTracking } from "../../dump/write-tracking.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { logStep } from "../../errors/log.js";
import type { ExtentRow } from "../../gen/tables.js";
import type { PageSource } from "../../model/page-source.js";
import { cutExtent } from "../../model/stored-chunks.js";
import { type PageRuns, SysError } from "../../native/index.js";
import { AdoptedPages, type KnownSum } from "../../pages/adopted-pages.js";
import { ProcessPageSource } from "../../pages/process-source.js";
import { reserve } from "../../pages/reserve.js";
import { byStart, divide, inBoth, partOfRun, partOfStretch, type Run, type Stretch, without } from "../../pages/stretches.js";
import { storePages, type StoredRuns, type StoreRange } from "../../pages/store-pages.js";

const pageSize = 4096;
/** Bytes of private memory from which on it is worth it: a fork of less takes no longer than the stops that this needs. */
const worth = 256n << 20n;
/** Pages that are copied by one job, a multiple of those of a chunk: what cannot be read is left to the freeze with all of them. */
const pagesOfJob = 8192;
const pagesOfChunk = 64;
/** Bytes that may be left when the program stands still: with more of them a fork takes less time. */
const mostLeft = 16n << 20n;
/** Pages that are few enough to stop it, and how often is tried to get there. */
const fewPages = 512;
/** Pages that a program may write to in a millisecond: some ten times as many are copied in it. */
const pagesPerMillisecond = 40;
const mostRounds = 3;
/** Bytes of a mapping from which on smaps is believed that it is full, if it says so (native/addon/extents.h). */
const largeMapping = 4n << 20n;

export interface PreCopyOptions {
  /** The file that the image is written to, and where its pages begin in it. */
  readonly fd: number;
  readonly begin: number;
  /** Where the code of the process has what calls need; undefined: it is not known. */
  readonly findGadgets: () => Gadgets | undefined;
  /** Told how long the process has stood still for this, whenever it has, milliseconds. */
  readonly onStop: (milliseconds: number) => void;
  /** Done while pages are being copied. */
  readonly meanwhile: () => Promise<void>;
  /** Throws if the dump is to end. */
  readonly check: () => void;
}

/** Part of an extent. */
export interface ExtentPart {
  readonly row: number;
  readonly extent: ExtentRow;
}

/** Pages of an extent in the file. */
interface Placed extends Stretch {
  readonly row: number;
}

/** Limits: the bytes of memory from which on it is done, and those that may be left when the program stands still. */
function limits(): { readonly least: bigint; readonly most: bigint } {
  // For tests: from so many MiB on, whatever is left.
  const given = process.env["CRIMG_PRE_COPY"] ?? "";
  return /^\d{1,6}$/.test(given) ? { least: BigInt(given) << 20n, most: 256n << 20n } : { least: worth, most: mostLeft };
}

export class PreCopy {
  /** Pages that have been looked at, and which of them are in the file: the others were zero. */
  #looked: Run[] = [];
  #stored: Stretch[] = [];
  /** Checksums of chunks by their place in the file. */
  readonly #sums = new Map<number, KnownSum>();
  #end: number;
  #placed: Placed[] = [];

  private constructor(
    private readonly tracking: WriteTracking,
    private readonly options: PreCopyOptions,
  ) {
    this.#end = options.begin;
  }

  /** Copies the memory of a process that runs. Undefined where it has to be forked. @throws what `check` or the write throws */
  static async begin(pid: number, options: PreCopyOptions): Promise<PreCopy | undefined> {
    let copy: PreCopy | undefined;
    try {
      copy = new PreCopy(await WriteTracking.begin(pid, options.findGadgets, options.onStop), options);
      await copy.#copyAll();
      return copy;
    } catch (error) {
      await copy?.close();
      if (!(error instanceof NotTracked)) throw error;
      logStep(() => `its memory is not copied before it stands still: ${error.message}`);
      return undefined;
    }
  }

  /** Whether a process has as much memory as that it will be tried. */
  static isWorth(pid: number): boolean {
    return WriteTracking.residentIn(pid) >= limits().least;
  }

  get pid(): number {
    return this.tracking.pid;
  }

  /** Bytes that may be copied while the tree stands still: with more of them a fork takes less time. */
  get mostLeft(): bigint {
    return limits().most;
  }

  async #copyAll(): Promise<void> {
    const source = new ProcessPageSource(this.pid);
    try {
      let before = Infinity;
      for (let round = 0; ; round++) {
        if (round > 0) {
          const left = pagesIn(writtenOf(this.tracking.scan()));
          logStep(() => `after round ${round} of copying memory, ${left} pages have been written to`);
          if (left <= fewPages) return;
          // As often as it gets less by half.
          if (round === mostRounds || left > before / 2) {
            if (BigInt(left * pageSize) <= limits().most) return;
            throw new NotTracked(`it writes to ${left} pages in the meantime`);
          }
          before = left;
        }
        const fresh = writtenOf(await this.tracking.protect());
        if (round === 0) this.#assertTracked(fresh);
        if (round === 0) reserve(this.options.fd, BigInt(this.options.begin), BigInt(pagesIn(fresh) * pageSize));
        this.#looked = without(this.#looked, fresh, partOfRun);
        this.#stored = without(this.#stored, fresh, partOfStretch);
        const meanwhile = round === 0 ? afterThis(this.options.meanwhile) : undefined;
        await this.#copyRuns(source, fresh, round > 0);
        await meanwhile;
      }
    } finally {
      source.close();
    }
  }

  async #copyRuns(source: PageSource, runs: readonly Run[], mayBeRestless: boolean): Promise<void> {
    const begin = performance.now();
    let isFirst = !mayBeRestless;
    let job: Run[] = [];
    let pages = 0;
    for (const run of runs) {
      for (let at = run.start; at < run.end; ) {
        // Cut where chunks are.
        const cut = at + pagesOfJob - pages;
        const end = cut >= run.end ? run.end : Math.max(at + 1, cut - (cut % pagesOfChunk));
        job.push({ start: at, end });
        pages += end - at;
        at = end;
        if (pages < pagesOfJob - pagesOfChunk) continue;
        await this.#copyJob(source, job);
        if (isFirst) this.#assertCalm(begin);
        [job, pages, isFirst] = [[], 0, false];
      }
    }
    if (job.length > 0) await this.#copyJob(source, job);
    this.#looked.sort(byStart);
    this.#stored.sort(byStart);
  }

  /** @throws NotTracked if too much of its memory is elsewhere: in small mappings, in private ones of files */
  #assertTracked(pages: readonly Run[]): void {
    const others = WriteTracking.residentIn(this.pid) - BigInt(pagesIn(pages) * pageSize);
    if (others > limits().most) throw new NotTracked(`${others} bytes are in mappings that are not tracked`);
  }

  /** @throws NotTracked if the program writes to so much that there is no end of copying */
  #assertCalm(begin: number): void {
    const took = performance.now() - begin;
    const written = pagesIn(writtenOf(this.tracking.scan()));
    if (written > pagesPerMillisecond * took && limits().most === mostLeft) {
      throw new NotTracked(`it writes to ${written} pages in ${Math.round(took)} ms`);
    }
  }

  /** Pages that cannot be read, because they have been unmapped, are left out with all others of the job. */
  async #copyJob(source: PageSource, job: readonly Run[]): Promise<void> {
    const { fd, check } = this.options;
    const ranges = job.map(({ start, end }): StoreRange => {
      const position = BigInt(start) * BigInt(pageSize);
      return { source, position, length: BigInt((end - start) * pageSize), address: position, keep: 0 };
    });
    let runs: StoredRuns;
    try {
      runs = await storePages(fd, this.#end, ranges, { onProgress: check });
    } catch (error) {
      const isUnread =
        (error instanceof SysError && error.call === "read") || (error instanceof CrimgError && error.code === "pages.short");
      if (!isUnread) throw error;
      return;
    }
    check();
    let next = 0;
    for (let index = 0; index < runs.count; index++) {
      const [range, skip] = [job[runs.range[index] ?? 0] as Run, runs.skip[index] ?? 0];
      const [length, offset] = [runs.length[index] ?? 0, runs.offset[index] ?? 0];
      const start = range.start + skip / pageSize;
      this.#stored.push({ start, end: start + length / pageSize, offset: offset / pageSize });
      cutExtent({ address: BigInt(start * pageSize), length: BigInt(length) }, (done, bytes) =>
        this.#sums.set(offset + done, { length: bytes, sum: runs.sums[next++] ?? 0 }),
      );
    }
    this.#looked.push(...job);
    this.#end = runs.end;
  }

  /** As soon as the process stands still. */
  beginScan(): void {
    this.tracking.beginScan();
  }

  /**
   * While the process stands still: which parts of extents need not be copied. Extents are those of its memory, ascending.
   * Undefined: all have to be.
   * @throws StalePreCopy if they were not found out well
   */
  divide(extents: readonly ExtentPart[]): ExtentPart[] | undefined {
    let clean: Run[];
    let there: Run[];
    try {
      const found = this.tracking.awaitScan();
      there = runsOf(found, () => true);
      clean = runsOf(found, (index) => !found.isWritten(index));
    } catch (error) {
      if (!(error instanceof NotTracked)) throw error;
      logStep(() => `what was copied before is of no use: ${error.message}`);
      return undefined;
    }
    const known = inBoth(clean, this.#looked);
    const tracked = rangesOf(this.tracking.ranges);
    const copied: ExtentPart[] = [];
    this.#placed = [];
    for (const { row, extent } of extents) {
      const [start, end] = [pageOf(extent.fileOffset), pageOf(extent.fileOffset + extent.length)];
      const before = copied.length + this.#placed.length;
      assertSeen(extent, there, tracked);
      divide(known, start, end, {
        out: (from, to) => copied.push({ row, extent: partOf(extent, from - start, to - start) }),
        in: (from, to) =>
          divide(this.#stored, from, to, {
            in: (first, behind, run) => this.#placed.push({ ...partOfStretch(run, first, behind), row }),
          }),
      });
      // That it has pages of zeros tells the mapping from one that was never touched.
      if (copied.length + this.#placed.length === before) copied.push({ row, extent: partOf(extent, 0, 1) });
    }
    return copied;
  }

  /**
   * When the process runs again: brings what is in the file together, so that there is no gap.
   * @param copies parts that have been copied meanwhile, ascending; those that are not used are returned
   * @param owner rows of the extents that `divide` was given
   */
  place(
    copies: readonly ExtentPart[],
    extents: readonly ExtentRow[],
    sources: readonly PageSource[],
    source: number,
  ): { readonly pages: AdoptedPages; readonly placed: ExtentPart[]; readonly left: ExtentPart[] } {
    const { fd, begin } = this.options;
    const first = begin / pageSize;
    let end = this.#end / pageSize;
    const sums = this.#cleanSums();
    const placed = [...this.#placed].sort((a, b) => a.offset - b.offset);
    const gaps: Run[] = [];
    let at = first;
    for (const { start, end: behind, offset } of placed) {
      if (offset > at) gaps.push({ start: at, end: offset });
      at = offset + behind - start;
    }
    end = at;
    const buffer = new Uint8Array(pagesOfChunk * pageSize);
    const left: ExtentPart[] = [];
    const filled: Placed[] = [];
    for (const part of copies) {
      const { row, extent } = part;
      let done = 0;
      const pages = pageOf(extent.length);
      for (let gap = gaps[0]; done < pages && gap !== undefined; gap = gaps[0]) {
        const count = Math.min(pages - done, gap.end - gap.start, pagesOfChunk);
        const bytes = buffer.subarray(0, count * pageSize);
        sources[extent.source]?.read(extent.fileOffset + BigInt(done * pageSize), bytes);
        writeFully(fd, bytes, BigInt(gap.start * pageSize));
        const start = pageOf(extent.address) + done;
        filled.push({ start, end: start + count, offset: gap.start, row });
        shrink(gaps, count);
        done += count;
      }
      if (done < pages) left.push({ row, extent: partOf(extent, done, pages) });
    }
    // What is last takes the place of what is gone.
    const adopted = new AdoptedPages(fd, begin, end * pageSize, sums);
    for (let gap = gaps[0]; gap !== undefined; gap = gaps[0]) {
      const tail = placed.pop();
      if (tail === undefined || tail.offset < gap.start) {
        if (tail !== undefined) placed.push(tail);
        break;
      }
      const count = Math.min(tail.end - tail.start, gap.end - gap.start, pagesOfChunk);
      const bytes = buffer.subarray(0, count * pageSize);
      const rest = tail.end - count;
      adopted.read(BigInt((tail.offset + rest - tail.start) * pageSize), bytes);
      writeFully(fd, bytes, BigInt(gap.start * pageSize));
      filled.push({ start: rest, end: tail.end, offset: gap.start, row: tail.row });
      if (rest > tail.start) placed.push({ ...tail, end: rest });
      shrink(gaps, count);
    }
    const all = [...placed, ...filled];
    end = all.reduce((most, { start, end: behind, offset }) => Math.max(most, offset + behind - start), first);
    all.sort((a, b) => a.row - b.row || a.start - b.start);
    const parts: Placed[] = [];
    for (const one of all) {
      const before = parts.at(-1);
      const isNext = before?.row === one.row && before.end === one.start && before.offset + before.end - before.start === one.offset;
      if (before !== undefined && isNext) parts[parts.length - 1] = { ...before, end: one.end };
      else parts.push(one);
    }
    return {
      pages: new AdoptedPages(fd, begin, end * pageSize, sums),
      placed: parts.map(({ row, start, end: behind, offset }) => ({
        row,
        extent: {
          ...(extents[row] as ExtentRow),
          address: BigInt(start) * BigInt(pageSize),
          length: BigInt((behind - start) * pageSize),
          fileOffset: BigInt(offset * pageSize),
          source,
        },
      })),
      left,
    };
  }

  /** Checksums of what nobody has written to since. */
  #cleanSums(): Map<number, KnownSum> {
    const clean = new Map<number, KnownSum>();
    for (const { start, end, offset } of this.#placed) {
      cutExtent({ address: BigInt(start) * BigInt(pageSize), length: BigInt((end - start) * pageSize) }, (done, length) => {
        const known = this.#sums.get(offset * pageSize + done);
        if (known?.length === length) clean.set(offset * pageSize + done, known);
      });
    }
    return clean;
  }

  /** Begins to end it; the process may run. */
  letGo(): void {
    this.tracking.letGo();
  }

  /** Ends it; the process may run. May be called again. */
  async close(): Promise<void> {
    await this.tracking.close();
  }
}

/** Does something when others have begun; what fails in it is forgotten. */
async function afterThis(work: () => Promise<void>): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await work().catch(() => undefined);
}

const pageOf = (bytes: bigint): number => Number(bytes / BigInt(pageSize));

function partOf(extent: ExtentRow, from: number, to: number): ExtentRow {
  const skip = BigInt(from) * BigInt(pageSize);
  return {
    ...extent,
    address: extent.address + skip,
    length: BigInt(to - from) * BigInt(pageSize),
    fileOffset: extent.fileOffset + skip,
  };
}

function runsOf(found: PageRuns, isWanted: (index: number) => boolean): Run[] {
  const runs: Run[] = [];
  for (let index = 0; index < found.count; index++) {
    if (!isWanted(index)) continue;
    const [start, end] = [found.first(index), found.end(index)];
    const before = runs.at(-1);
    if (before?.end === start) runs[runs.length - 1] = { start: before.start, end };
    else runs.push({ start, end });
  }
  return runs;
}

const writtenOf = (found: PageRuns): Run[] => runsOf(found, (index) => found.isWritten(index));

const pagesIn = (runs: readonly Run[]): number => runs.reduce((sum, { start, end }) => sum + end - start, 0);

function rangesOf(ranges: BigInt64Array): Run[] {
  const runs: Run[] = [];
  for (let index = 0; index < ranges.length; index += 2) {
    runs.push({ start: pageOf(ranges[index] as bigint), end: pageOf(ranges[index + 1] as bigint) });
  }
  return runs;
}

/** @throws StalePreCopy where an extent was taken from what smaps said before, and has lost pages since, perhaps to guards */
function assertSeen(extent: ExtentRow, there: readonly Run[], tracked: readonly Run[]): void {
  if (extent.length < largeMapping) return;
  let missing = 0;
  divide(tracked, pageOf(extent.fileOffset), pageOf(extent.fileOffset + extent.length), {
    in: (from, to) => divide(there, from, to, { out: (first, behind) => (missing += behind - first) }),
  });
  if (missing > 0) throw new StalePreCopy(`${missing} of its pages have gone while it was being frozen`);
}

/** Takes pages from the first gap. */
function shrink(gaps: Run[], pages: number): void {
  const [gap] = gaps;
  if (gap === undefined) return;
  if (gap.end - gap.start === pages) gaps.shift();
  else gaps[0] = { start: gap.start + pages, end: gap.end };
}
