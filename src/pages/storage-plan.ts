// SPDX-License-Identifier: Apache-2.0
/**
 * Which bytes of a checkpoint a writer stores, and the extents that come of it. A page of zeros is not stored where memory
 * without an extent is zero anyway: in private anonymous memory, and in objects whose holes are zeros. The first page of a
 * mapping is where no other near it is stored, so that a mapping that the program has touched can be told from one that it
 * has not (cores leave the latter out, as the kernel does). Pages shared with a parent are stored once.
 */
import type { ExtentRow, VmaRow } from "../gen/tables.js";
import { firstEndingAfter } from "../model/ascending.js";
import { ByteHolders } from "../model/byte-holders.js";
import { Checkpoint } from "../model/checkpoint.js";
import type { CopyWatch } from "../model/page-source.js";
import { bytesOf, type ExtentColumns, extentColumns } from "../model/extent-columns.js";
import { alone, columnsOf } from "../model/space-columns.js";
import type { Base, RangeColumns, StoredRuns, StoreRange } from "./store-pages.js";
import { storePages } from "./store-pages.js";

const pageSize = 4096n;
const all = 2 ** 32 - 1;
/** Sets of 2011 come back byte for byte: their pages of zeros are kept. */
const keptWhole: ReadonlySet<string> = new Set(["crtools", "ckpt-elf-v1"]);

/** What an extent becomes: ranges of its own, or bytes of an earlier extent. */
type Origin =
  | { readonly kind: "own"; readonly first: number; readonly end: number }
  /** `skip` bytes into the holder. */
  | { readonly kind: "shared"; readonly holder: number; readonly skip: bigint };

export interface StoragePlan {
  /** In the order of the extents. */
  readonly ranges: readonly StoreRange[];
  /** Bytes of the ranges. */
  readonly total: bigint;
  /** By row of `extents`. */
  readonly origins: readonly Origin[];
}

/** Part of an extent that has bytes in the end. */
export interface StoredPart {
  /** Row of `extents`. */
  readonly row: number;
  /** Bytes of the extent before it. */
  readonly skip: bigint;
  readonly length: bigint;
  /** Where it was written, or where the base has it. */
  readonly offset: number;
  /** What extents name the file by: 0 for the one that was written. */
  readonly source: number;
  /** Whether it was written for this extent, and not for one that shares it. */
  readonly isOwn: boolean;
}

/** Cuts a range where another file has, or has not, bytes that may be the same. */
export type FindBase = (extent: ExtentRow, skip: bigint, length: bigint) => Iterable<{ readonly length: bigint; readonly base?: Base }>;

/** @param findBase where another image may have the bytes of extents */
export function planStorage(checkpoint: Checkpoint, findBase?: FindBase): StoragePlan {
  const { extents } = checkpoint.tables;
  const ranges: StoreRange[] = [];
  const holders = new ByteHolders(extents);
  const keeper = new Keeper(checkpoint);
  let total = 0n;
  const origins: Origin[] = [];
  for (let row = 0; row < extents.length; row++) {
    const extent = extents[row] as ExtentRow;
    const holder = holderOf(extents, holders, extent);
    if (holder !== undefined) {
      origins.push({ kind: "shared", holder, skip: extent.fileOffset - (extents[holder]?.fileOffset ?? 0n) });
      continue;
    }
    const first = ranges.length;
    const source = checkpoint.sources[extent.source];
    const whole = findBase === undefined ? keeper.keepOf(extent) : undefined;
    if (source !== undefined && whole !== undefined) {
      const { fileOffset: position, length, address } = extent;
      ranges.push({ source, position, length, address, keep: whole, base: undefined });
      total += length;
    } else if (source !== undefined) {
      const take = (at: bigint, length: bigint, keep: number, base: Base | undefined): void => {
        ranges.push({ source, position: extent.fileOffset + at, length, address: extent.address + at, keep, base });
      };
      keeper.cut(extent, (skip, length, keep) => {
        total += length;
        if (findBase === undefined) {
          take(skip, length, keep, undefined);
          return;
        }
        let done = 0n;
        for (const part of findBase(extent, skip, length)) {
          take(skip + done, part.length, done === 0n || keep === all ? keep : 0, part.base);
          done += part.length;
        }
      });
    }
    // What does not ascend is stored once more.
    holders.note(row);
    origins.push({ kind: "own", first, end: ranges.length });
  }
  return { ranges, total, origins };
}

/** Extents that are known as columns, as they are stored: each by itself. */
export interface ColumnsPlan {
  readonly extents: ExtentColumns;
  readonly ranges: RangeColumns;
  readonly total: bigint;
}

/** The same for extents that are known as columns. Undefined where they are not, or some have to be cut. */
export function planColumns(checkpoint: Checkpoint): ColumnsPlan | undefined {
  const extents = extentColumns(checkpoint);
  const source = extents === undefined ? undefined : checkpoint.sources[extents.source];
  if (extents === undefined || source?.dataRanges !== undefined || source === undefined) return undefined;
  const { starts: positions, lengths, mm } = extents;
  const keeps = new Uint32Array(positions.length);
  const keepsAll = keptWhole.has(checkpoint.tables.checkpoint[0]?.sourceFormat ?? "");
  const space = columnsOf(checkpoint, mm);
  const { starts, ends, kinds, count } = space;
  let [vma, seen] = [0, -1];
  for (let index = 0; index < positions.length; index++) {
    const start = positions[index] as number;
    while (vma < count && (ends[vma] as number) <= start) vma++;
    if (vma === count || (starts[vma] as number) > start || (ends[vma] as number) < start + (lengths[index] as number)) return undefined;
    const isPlain = kinds[vma] !== alone || isPlainMemory(space.row(vma));
    keeps[index] = !isPlain || keepsAll ? all : seen === vma ? 0 : 1;
    seen = vma;
  }
  return { extents, ranges: { source, positions, lengths, keeps }, total: BigInt(bytesOf(extents)) };
}

/** Where extents are that were stored as columns. */
export function placedColumns({ extents: { mm, starts: addresses, lengths: all } }: ColumnsPlan, runs: StoredRuns): ExtentColumns {
  const { range, skip, length, offset, count } = runs;
  const [starts, lengths, offsets] = [new Float64Array(count), new Float64Array(count), new Float64Array(count)];
  for (let run = 0; run < count; run++) {
    const row = range[run] as number;
    const before = skip[run] as number;
    starts[run] = (addresses[row] as number) + before;
    lengths[run] = Math.min(length[run] as number, (all[row] as number) - before);
    offsets[run] = offset[run] as number;
  }
  return { mm, source: 0, starts, lengths, offsets };
}

const isPlainMemory = ({ kind, object }: VmaRow): boolean => kind === "anon_private" && object === null;

/** Who has the bytes of an extent already: a row of `extents`. */
function holderOf(extents: readonly ExtentRow[], holders: ByteHolders, extent: ExtentRow): number | undefined {
  const holder = extent.ownerKind === "mm" ? holders.find(extent) : undefined;
  if (holder === undefined) return undefined;
  // A place in the middle of a page would be none in the image.
  return (extent.fileOffset - (extents[holder]?.fileOffset ?? 0n)) % pageSize === 0n ? holder : undefined;
}

/** Says which pages of extents are stored even if they are zero. */
class Keeper {
  readonly #vmas = new Map<number, readonly VmaRow[]>();
  /** The mapping whose first stored page has been seen. */
  #seen: VmaRow | undefined;

  /** Where `keepOf` is: an address space, its mappings, and the next of them. */
  #mm = -1;
  #inMm: readonly VmaRow[] = [];
  #next = 0;

  readonly #keepsAll: boolean;

  constructor(private readonly checkpoint: Checkpoint) {
    this.#keepsAll = keptWhole.has(checkpoint.tables.checkpoint[0]?.sourceFormat ?? "");
  }

  /**
   * How many pages are kept of an extent that need not be cut; undefined: it is to be cut. Of thousands of extents, each in a
   * mapping of its own behind that of the one before, this takes a step each.
   */
  keepOf({ ownerKind, owner, address, length }: ExtentRow): number | undefined {
    if (this.#keepsAll) return all;
    if (ownerKind !== "mm" || length === 0n) return undefined;
    if (owner !== this.#mm) [this.#mm, this.#inMm, this.#next] = [owner, this.#vmasOf(owner), 0];
    const vmas = this.#inMm;
    let vma = vmas[this.#next];
    if (vma === undefined || vma.start > address) {
      this.#next = firstEndingAfter(vmas, address);
      vma = vmas[this.#next];
    }
    while (vma !== undefined && vma.end <= address) vma = vmas[++this.#next];
    if (vma === undefined || vma.start > address || vma.end < address + length) return undefined;
    const keep = !isPlainMemory(vma) ? all : this.#seen === vma ? 0 : 1;
    this.#seen = vma;
    return keep;
  }

  /** Cuts an extent where mappings begin and end. Calls `take` with bytes before a part, its bytes, and how many pages are kept. */
  cut({ ownerKind, owner, address, length }: ExtentRow, take: (skip: bigint, length: bigint, keep: number) => void): void {
    if (this.#keepsAll) {
      take(0n, length, all);
      return;
    }
    if (ownerKind === "object") {
      const object = this.checkpoint.tables.objects[owner];
      // What a file has beyond its extents is the file's.
      take(0n, length, object === undefined || (object.kind === "file" && object.bundled === 0) ? all : 0);
      return;
    }
    const vmas = this.#vmasOf(owner);
    const end = address + length;
    let at = address;
    for (let index = firstEndingAfter(vmas, address); at < end; index++) {
      const vma = vmas[index];
      const start = vma === undefined || vma.start > end ? end : vma.start;
      if (start > at) take(at - address, start - at, all);
      if (vma === undefined || vma.start >= end) return;
      const [from, to] = [start > at ? start : at, vma.end < end ? vma.end : end];
      const isPlain = isPlainMemory(vma);
      take(from - address, to - from, isPlain ? (this.#seen === vma ? 0 : 1) : all);
      this.#seen = vma;
      at = to;
    }
  }

  #vmasOf(mm: number): readonly VmaRow[] {
    let known = this.#vmas.get(mm);
    if (known === undefined) {
      known = this.checkpoint.vmasOf(mm).map((row) => this.checkpoint.tables.vmas[row] as VmaRow);
      this.#vmas.set(mm, known);
    }
    return known;
  }
}

/** What was stored of the extents, in their order. */
export function storedParts({ tables: { extents } }: Checkpoint, { ranges, origins }: StoragePlan, runs: StoredRuns): StoredPart[] {
  const parts: StoredPart[] = [];
  /** By row: the first of its parts. */
  const firstOf = new Uint32Array(origins.length + 1);
  let run = 0;
  for (let row = 0; row < origins.length; row++) {
    const origin = origins[row] as Origin;
    const extent = extents[row] as ExtentRow;
    firstOf[row] = parts.length;
    if (origin.kind === "own") {
      for (; run < runs.count && (runs.range[run] ?? 0) < origin.end; run++) {
        const range = ranges[runs.range[run] ?? 0] as StoreRange;
        const skipped = runs.skip[run] ?? 0;
        const bytes = runs.length[run] ?? 0;
        const stored = runs.offset[run] ?? 0;
        // Most are stored whole: then there are thousands, and nothing to be computed.
        if (stored >= 0 && skipped === 0 && range.position === extent.fileOffset && bytes >= Number(extent.length)) {
          parts.push({ row, skip: 0n, length: extent.length, offset: stored, source: 0, isOwn: true });
          continue;
        }
        const skip = range.position - extent.fileOffset + BigInt(skipped);
        const [length, left] = [BigInt(bytes), extent.length - skip];
        const inBase = stored < 0 ? range.base : undefined;
        const offset = inBase === undefined ? stored : Number(inBase.offset) + skipped;
        parts.push({ row, skip, length: length < left ? length : left, offset, source: inBase?.source ?? 0, isOwn: true });
      }
    } else {
      const end = firstOf[origin.holder + 1] as number;
      for (let index = firstOf[origin.holder] as number; index < end; index++) {
        const { skip, length, offset, source } = parts[index] as StoredPart;
        const from = skip > origin.skip ? skip : origin.skip;
        const to = skip + length < origin.skip + extent.length ? skip + length : origin.skip + extent.length;
        if (from >= to) continue;
        parts.push({
          row,
          skip: from - origin.skip,
          length: to - from,
          offset: offset + Number(from - skip),
          source,
          isOwn: false,
        });
      }
    }
    firstOf[row + 1] = parts.length;
  }
  return parts;
}

/** The same checkpoint without extents of zeros, for writers that lay out before they copy. */
export async function withoutZeroPages(checkpoint: Checkpoint, watch: CopyWatch): Promise<Checkpoint> {
  const plan = planStorage(checkpoint);
  const { tables, sources, unknownTables } = checkpoint;
  const runs = await storePages(-1, 0, plan.ranges, watch);
  const extents = storedParts(checkpoint, plan, runs).map(({ row, skip, length }): ExtentRow => {
    const extent = tables.extents[row] as ExtentRow;
    return { ...extent, address: extent.address + skip, length, fileOffset: extent.fileOffset + skip };
  });
  return new Checkpoint({ tables: { ...tables, extents }, sources, unknownTables });
}
