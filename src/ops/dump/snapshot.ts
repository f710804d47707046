// SPDX-License-Identifier: Apache-2.0
/**
 * `--leave-running`: the tree stands still only until everything that its image needs is somewhere else. Much memory of a
 * process is kept by a fork of it; the rest, and what a fork does not keep as it is (shared memory, MADV_DONTFORK,
 * MADV_WIPEONFORK, which a child reads as zeros), is copied to a nameless file. Then the tree runs on, and the image is made.
 */
import type { Collection } from "../../dump/collect.js";
import type { DumpedProcess } from "../../dump/context.js";
import { forkSnapshot, forkSource, type Snapshot, SnapshotRefused } from "../../dump/fork-snapshot.js";
import type { Gone } from "../../dump/let-go.js";
import { logStep } from "../../errors/log.js";
import { type ExtentRow, vmaVmFlagsBits as vm, type VmaRow } from "../../gen/tables.js";
import { Checkpoint } from "../../model/checkpoint.js";
import { bytesOf, extentColumns } from "../../model/extent-columns.js";
import type { CopyWatch, PageSource } from "../../model/page-source.js";
import { FilePageSource } from "../../pages/file-source.js";
import { ProcessPageSource } from "../../pages/process-source.js";
import { planStorage, storedParts } from "../../pages/storage-plan.js";
import { storePages } from "../../pages/store-pages.js";
import { openScratch } from "../output.js";
import type { PreCopy } from "./pre-copy.js";

/** Bytes of one process from which a fork is cheaper than a copy. */
const worthFork = 4n << 20n;
/** Bytes that are copied at most: from there on the image itself is written while the tree stands still. */
const mostCopied = 256n << 20n;
/** What a fork does not pass on as it is; of huge pages a child loses its own when the parent wants one and none is free. */
const notForked = vm.dc | vm.wf | vm.dp | vm.ht;

export interface SnapshotOptions {
  /** Where copies go: the file system of the image. */
  readonly folder: string;
  /** False: nothing is forked. */
  readonly mayFork: boolean;
  readonly watch: CopyWatch;
  /** What has been copied of the memory of a process already. */
  readonly preCopy?: PreCopy | undefined;
  /** Called before a fork ends, which others may be looking at. False: they are, and are not to be waited for. */
  readonly beforeEnd?: (mayWait: boolean) => boolean;
}

/** A checkpoint that does not need the tree any more. */
export interface DetachedCheckpoint {
  /** Complete when it is settled. */
  readonly checkpoint: Checkpoint;
  /** Whether most of it had been copied before. */
  readonly isPreCopied?: boolean;
  /** The fork that keeps the memory of a process, if there is one. */
  forkOf(pid: number): number | undefined;
  /** Once the tree runs. */
  settle(): void;
  /** Ends the forks and lets go of the copies. */
  close(): void;
}

/**
 * Makes a checkpoint independent of the tree that it describes, which stands still.
 * @returns undefined if the image is to be written while the tree stands still, after all
 * @throws what reading the tree and writing the copies throw; nothing is left then
 */
export async function detach(collection: Collection, options: SnapshotOptions): Promise<DetachedCheckpoint | undefined> {
  return (await detachPreCopied(collection, options)) ?? (await detachByFork(collection, options));
}

async function detachByFork({ context, checkpoint }: Collection, options: SnapshotOptions): Promise<DetachedCheckpoint | undefined> {
  const { tables } = checkpoint;
  const forks = new Map<number, Snapshot>();
  /** Address spaces by the sources that forks keep, and whether a fork has something else of some of their mappings. */
  const mms = new Map<number, ForkedSpace>();
  const close = (): void => {
    for (const fork of forks.values()) fork.end();
  };
  try {
    const isForked = wantsForks(checkpoint, options);
    for (const process of context.processes) {
      const source = sourceOf(checkpoint, process);
      if (source === undefined || !isForked.has(source)) continue;
      const [fork, mm] = [tryFork(process), tables.tasks[process.row]?.mm ?? null];
      if (fork === undefined || mm === null) continue;
      forks.set(source, fork);
      mms.set(source, { mm, isWhole: ((process.mappings[0]?.table.summary.flags ?? 0n) & notForked) === 0n });
    }
    const isWhole = isKeptWhole(checkpoint, mms);
    const { kept, copied } = isWhole ? { kept: [], copied: [] } : split(checkpoint, mms);
    const bytes = copied.reduce((sum, { length }) => sum + length, 0n);
    if (bytes > mostCopied) {
      logStep(() => `${bytes} bytes would have to be copied: the image is written while the tree stands still`);
      close();
      return undefined;
    }
    const sources: PageSource[] = [...checkpoint.sources];
    for (const [source, fork] of forks) {
      sources[source] = forkSource(fork, options.beforeEnd);
    }
    const copies = copied.length === 0 ? [] : await copy(checkpoint, copied, options, sources);
    logStep(() => `of the tree's memory, ${forks.size} forks keep what they can, and ${bytes} bytes are copied`);
    const extents = copies.length === 0 ? kept : [...kept, ...copies];
    if (copies.length > 0) extents.sort((a, b) => a.row - b.row || (a.extent.address < b.extent.address ? -1 : 1));
    return {
      checkpoint: new Checkpoint({ tables: isWhole ? tables : { ...tables, extents: extents.map(({ extent }) => extent) }, sources }),
      forkOf: (pid) => forks.get(sourceOf(checkpoint, { pid }) ?? -1)?.pid,
      settle() {
        for (const fork of forks.values()) fork.settle();
      },
      close() {
        for (const [source, fork] of forks) {
          sources[source]?.close();
          fork.end();
        }
        if (copied.length > 0) sources.at(-1)?.close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** That of a tree which runs on already: its collection is the checkpoint's, and closed with it. */
export function detachedAlready({ checkpoint, close }: Collection, { snapshot }: Gone, root: number): DetachedCheckpoint {
  logStep(() => "of the tree's memory, 1 forks keep what they can, and 0 bytes are copied");
  return {
    checkpoint,
    forkOf: (pid) => (pid === root ? snapshot.pid : undefined),
    settle() {
      // It has left the program's session and descriptors before it was looked at.
    },
    close,
  };
}

/** An extent, or a part of one, and the row that it comes from. */
interface Part {
  readonly row: number;
  readonly extent: ExtentRow;
}

/**
 * The same of a process whose memory has been copied already, but for what it has written to since. Undefined: it has to be forked.
 * @throws StalePreCopy, and as `detach`
 */
async function detachPreCopied({ checkpoint }: Collection, options: SnapshotOptions): Promise<DetachedCheckpoint | undefined> {
  const { preCopy } = options;
  if (preCopy === undefined) return undefined;
  const { tables } = checkpoint;
  const source = tables.tasks.length === 1 ? sourceOf(checkpoint, preCopy) : undefined;
  const isOwn = (extent: ExtentRow): boolean =>
    extent.ownerKind === "mm" && extent.source === source && extent.address === extent.fileOffset;
  const parts = tables.extents.map((extent, row): Part => ({ row, extent }));
  const left = source === undefined ? undefined : preCopy.divide(parts.filter(({ extent }) => isOwn(extent)));
  if (left === undefined) return undefined;
  const copied = [...left, ...parts.filter(({ extent }) => !isOwn(extent))].sort((a, b) => a.row - b.row);
  const bytes = copied.reduce((sum, { extent }) => sum + extent.length, 0n);
  if (bytes > preCopy.mostLeft) {
    logStep(() => `${bytes} bytes would have to be copied: a fork takes less time`);
    return undefined;
  }
  const sources: PageSource[] = [...checkpoint.sources];
  const stored = copied.map(({ row, extent }): StoredExtent => ({ ...extent, row }));
  const copies = stored.length === 0 ? [] : await copy(checkpoint, stored, options, sources);
  const scratch = stored.length === 0 ? undefined : sources.at(-1);
  logStep(() => `${bytes} bytes of the tree's memory are copied, the rest has been before`);
  let complete: Checkpoint | undefined;
  return {
    get checkpoint() {
      return complete ?? checkpoint;
    },
    isPreCopied: true,
    forkOf: () => undefined,
    settle() {
      const mayMove = ({ row }: Part): boolean => isOwn(tables.extents[row] as ExtentRow);
      const { pages, placed, left: others } = preCopy.place(copies.filter(mayMove), tables.extents, sources, sources.length);
      const extents = [...placed, ...others, ...copies.filter((part) => !mayMove(part))];
      extents.sort((a, b) => a.row - b.row || (a.extent.address < b.extent.address ? -1 : 1));
      complete = new Checkpoint({ tables: { ...tables, extents: extents.map(({ extent }) => extent) }, sources: [...sources, pages] });
    },
    close() {
      scratch?.close();
    },
  };
}

/** Sources of processes whose memory should be forked. */
function wantsForks(checkpoint: Checkpoint, { mayFork }: SnapshotOptions): ReadonlySet<number> {
  const { tables } = checkpoint;
  if (!mayFork) return new Set();
  if (tables.tasks.some(({ childSubreaper }) => childSubreaper !== 0)) {
    logStep(() => "no fork: the fork's end would be told to a child subreaper of the tree");
    return new Set();
  }
  const columns = extentColumns(checkpoint);
  if (columns !== undefined) return new Set(bytesOf(columns) >= Number(worthFork) ? [columns.source] : []);
  const bytes = new Map<number, bigint>();
  for (const { ownerKind, source, length } of tables.extents) {
    if (ownerKind === "mm") bytes.set(source, (bytes.get(source) ?? 0n) + length);
  }
  return new Set([...bytes].filter(([, sum]) => sum >= worthFork).map(([source]) => source));
}

/** The source that reads the memory of a process: extents of its address space that are its own name it. */
function sourceOf({ tables, sources }: Checkpoint, { pid }: Pick<DumpedProcess, "pid">): number | undefined {
  const index = sources.findIndex((source) => source instanceof ProcessPageSource && source.pid === pid);
  return index < 0 || !tables.extents.some(({ source }) => source === index) ? undefined : index;
}

/** Forks a process, or says in the log why not. */
function tryFork(process: DumpedProcess): Snapshot | undefined {
  try {
    return forkSnapshot(process);
  } catch (error) {
    if (!(error instanceof SnapshotRefused)) throw error;
    logStep(() => `no fork of ${process.pid} (${process.name}): ${error.message}; its memory is copied while it stands still`);
    return undefined;
  }
}

interface ForkedSpace {
  readonly mm: number;
  readonly isWhole: boolean;
}

/** Whether a fork keeps all there is. */
function isKeptWhole(checkpoint: Checkpoint, forked: ReadonlyMap<number, ForkedSpace>): boolean {
  const columns = extentColumns(checkpoint);
  return columns !== undefined && forked.get(columns.source)?.isWhole === true;
}

/** What forks keep, and what has to be copied. */
function split(
  checkpoint: Checkpoint,
  forked: ReadonlyMap<number, ForkedSpace>,
): { readonly kept: Part[]; readonly copied: StoredExtent[] } {
  const kept: Part[] = [];
  const copied: StoredExtent[] = [];
  const different = new Map<number, VmaRow[]>();
  const differentIn = (mm: number): VmaRow[] => {
    const known = different.get(mm) ?? vmasNotForked(checkpoint, mm);
    different.set(mm, known);
    return known;
  };
  checkpoint.tables.extents.forEach((extent, row) => {
    // Pages that a child shares with its parent are the parent's: it depends on the parent's mappings.
    const space = forked.get(extent.source);
    if (extent.ownerKind !== "mm" || space === undefined) {
      copied.push({ ...extent, row });
      return;
    }
    const others = space.isWhole ? [] : differentIn(space.mm);
    if (others.length === 0) {
      kept.push({ row, extent });
      return;
    }
    for (const { part, isKept } of cutByMapping(others, extent)) {
      if (isKept) kept.push({ row, extent: part });
      else copied.push({ ...part, row });
    }
  });
  return { kept, copied };
}

interface StoredExtent extends ExtentRow {
  readonly row: number;
}

/** Mappings of which a fork has something else: few, if any. */
function vmasNotForked(checkpoint: Checkpoint, mm: number): VmaRow[] {
  return checkpoint
    .vmasOf(mm)
    .map((row) => checkpoint.tables.vmas[row] as VmaRow)
    .filter(({ vmFlags }) => (vmFlags & notForked) !== 0n);
}

/** An extent, cut at mappings of which a fork has something else. */
function* cutByMapping(different: readonly VmaRow[], extent: ExtentRow): Generator<{ readonly part: ExtentRow; readonly isKept: boolean }> {
  const end = extent.address + extent.length;
  const partOf = (from: bigint, to: bigint): ExtentRow => ({
    ...extent,
    address: from,
    length: to - from,
    fileOffset: extent.fileOffset + (from - extent.address),
  });
  let at = extent.address;
  for (const vma of different) {
    if (vma.end <= at) continue;
    if (vma.start >= end) break;
    const [from, to] = [vma.start > at ? vma.start : at, vma.end < end ? vma.end : end];
    if (from > at) yield { part: partOf(at, from), isKept: true };
    yield { part: partOf(from, to), isKept: false };
    at = to;
  }
  if (at < end) yield { part: partOf(at, end), isKept: true };
}

/** Copies extents to a nameless file, which becomes a new source. */
async function copy(
  checkpoint: Checkpoint,
  copied: readonly StoredExtent[],
  { folder, watch }: SnapshotOptions,
  sources: PageSource[],
): Promise<Part[]> {
  const fd = openScratch(folder);
  const file = new FilePageSource("the copy of the tree's memory", fd);
  try {
    const { tables } = checkpoint;
    // Read from the tree, whatever becomes of its sources.
    const part = new Checkpoint({ tables: { ...tables, extents: copied }, sources: checkpoint.sources });
    const plan = planStorage(part);
    const runs = await storePages(fd, 0, plan.ranges, watch);
    const source = sources.push(file) - 1;
    return storedParts(part, plan, runs).map(({ row, skip, length, offset }) => {
      const { row: original, ...extent } = copied[row] as StoredExtent;
      return {
        row: original,
        extent: { ...extent, address: extent.address + skip, length, source, fileOffset: BigInt(offset) },
      };
    });
  } catch (error) {
    file.close();
    throw error;
  }
}
