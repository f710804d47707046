// SPDX-License-Identifier: Apache-2.0
/**
 * Storing pages one behind the other, without those that are zero: other threads read, judge, sum and write them
 * (native/addon/store.h), so that every byte is looked at once, while it is in the processor's cache.
 */
import { readSync } from "node:fs";
import type { ByteRange, CopyWatch, DirectReading, PageSource } from "../model/page-source.js";
import { chunkSize, offsetInChunk } from "../model/stored-chunks.js";
import type { StoredFrame } from "../model/stored-frames.js";
import { usableCpus } from "../native/process.js";
import { pageKind, pagesOf, PartList, StoreJob, storeBufferLength, storeMoveLength, type StorePart } from "../native/store.js";
import { checksumOf } from "./checksum.js";
import { writeFully } from "./file-source.js";
import { canCallDirectly } from "./kernel-copy.js";

const pageSize = 4096;
const chunk = Number(chunkSize);
/**
 * Pieces of one job: up to 1 GiB, since threads wait between two jobs. Pieces are as long as a thread's buffer, 256 KiB: the
 * page cache takes blocks as large as a write; from 1 MiB on they are huge pages, and a virtual machine that reports free
 * memory to its host has to ask for those back, which was seen to turn 0.2 s for a GiB into 1.5 s.
 */
const piecesOfJob = 4096;
/**
 * Threads: writes into one file exclude each other, and reading a GiB takes about as long as writing it (measured on ext4:
 * 0.22 and 0.15 s), so that a third would wait for the others.
 */
const maxLanes = 2;
/** Time between two looks at the progress, milliseconds. */
const lookMs = 20;
/** Bytes that are stored before one would look: Node takes half a millisecond for its first timer. */
const soonStored = 16 << 20;

/** For a file: nothing is written, but pages are judged and summed as if they were. */
export const lookAndSum = -2;

/** Where another file has bytes. */
export interface Base {
  readonly fd: number;
  readonly offset: bigint;
  /** What extents name it by. */
  readonly source: number;
}

/** Bytes to be stored. */
export interface StoreRange {
  readonly source: PageSource;
  /** In the source. */
  readonly position: bigint;
  readonly length: bigint;
  /** Chunks are cut where this, counted on, is a multiple of their size. */
  readonly address: bigint;
  /** Pages from the first on that are stored even if all that are read with them are zero. */
  readonly keep: number;
  /** A file that may have the same bytes from an offset on: they need not be stored again. */
  readonly base?: Base | undefined;
  /** Where the bytes go, for `copyPages`. */
  readonly target?: bigint;
}

/** Ranges of one source as columns, for many thousands: by index. Each is at its position, and goes where the last one ended. */
export interface RangeColumns {
  readonly source: PageSource;
  /** Positions, which are addresses too, and bytes: multiples of a page. */
  readonly positions: Float64Array;
  readonly lengths: Float64Array;
  readonly keeps: Uint32Array;
}

/** Runs of pages, in the order of the ranges; the rest of them is zero. By index. */
export class StoredRuns {
  /** Index of the range. */
  readonly range: number[] = [];
  /** Bytes of the range before the run. */
  readonly skip: number[] = [];
  /** Whole pages. */
  readonly length: number[] = [];
  /** Where the run is in the file that was written; -1: in the range's base. */
  readonly offset: number[] = [];
  /** Checksums of the chunks of the runs that were written. */
  readonly sums: number[] = [];
  /** Those of the chunks of the other runs. */
  readonly baseSums: number[] = [];
  /** Where the file that was written ends; behind compressed pages: where it would end without. */
  end = 0;
  /** Frames of compressed pages, ascending, where pages are compressed. */
  frames: StoredFrame[] | undefined;
  /** Where the last frame ends in the file, a multiple of the page size. */
  endOfFrames = 0;
  #aligned: number | undefined;

  /** Where a part was last moved to a multiple of its length; undefined: none is. */
  get aligned(): number | undefined {
    return this.#aligned;
  }

  set aligned(at: number | undefined) {
    this.#aligned = at;
  }

  get count(): number {
    return this.range.length;
  }

  /** Adds the pages of one part that are all of one kind. */
  addUniform(range: number, skip: number, kind: number, pages: number, sum: number): void {
    if (kind === pageKind.zero) return;
    (kind === pageKind.kept ? this.sums : this.baseSums).push(sum);
    this.#push(range, skip, pages * pageSize, kind === pageKind.kept);
  }

  /** Adds the pages of one part; a run goes on from one part of a range to the next, a chunk does not. */
  add(range: number, skip: number, kinds: Uint8Array, sums: Uint32Array): void {
    for (let page = 0; page < kinds.length; ) {
      const kind = kinds[page];
      const first = page;
      while (page < kinds.length && kinds[page] === kind) page++;
      if (kind === pageKind.zero) continue;
      const length = (page - first) * pageSize;
      (kind === pageKind.kept ? this.sums : this.baseSums).push(sums[first] ?? 0);
      this.#push(range, skip + first * pageSize, length, kind === pageKind.kept);
    }
  }

  /** Adds a whole range of whole pages. @param address where chunks are cut, as `StoreRange` has it */
  addWhole(range: number, length: number, address: number): void {
    if (length >= storeMoveLength) this.moveTo(address % chunk);
    for (let skip = 0, part = chunk - (address % chunk); skip < length; skip += part, part = chunk) {
      if (part > length - skip) part = length - skip;
      else if (part === chunk) {
        this.moveWhole();
        // From here on all are in step.
        if (this.#aligned === undefined || this.end % chunk === 0) part = length - skip - ((length - skip) % chunk);
      }
      this.#push(range, skip, part, true);
    }
  }

  /**
   * Moves the end to where a file is in step with the addresses of much memory, before its first pages, as store_align in
   * native/addon/store.h does it. What is left out is a chunk of zeros; returns its bytes.
   */
  moveTo(phase: number): number {
    // Nothing lies before the very first.
    if (this.#aligned === undefined || this.#aligned === this.end) return 0;
    const gap = (phase - (this.end % chunk) + chunk) % chunk;
    if (gap === 0) return 0;
    this.sums.push(checksumOf(new Uint8Array(gap)));
    this.end = this.#aligned = this.end + gap;
    return gap;
  }

  /** The same before any whole chunk, if it is out of step, and was not so for a while. */
  moveWhole(): number {
    return this.#aligned === undefined || this.end - this.#aligned < storeMoveLength ? 0 : this.moveTo(0);
  }

  /** Whether the very same is where it is in others. */
  isLike(other: StoredRuns): boolean {
    const { range, skip, length, offset } = other;
    if (this.count !== other.count || this.end !== other.end) return false;
    for (let run = 0; run < this.count; run++) {
      if (this.range[run] !== range[run] || this.skip[run] !== skip[run]) return false;
      if (this.length[run] !== length[run] || this.offset[run] !== offset[run]) return false;
    }
    return true;
  }

  #push(range: number, skip: number, length: number, isKept: boolean): void {
    const last = this.count - 1;
    const isNext = last >= 0 && this.range[last] === range && (this.skip[last] ?? 0) + (this.length[last] ?? 0) === skip;
    const offset = this.offset[last] ?? 0;
    if (isNext && (isKept ? offset + (this.length[last] ?? 0) === this.end : offset < 0))
      this.length[last] = (this.length[last] ?? 0) + length;
    else {
      this.range.push(range);
      this.skip.push(skip);
      this.length.push(length);
      this.offset.push(isKept ? this.end : -1);
    }
    if (isKept) this.end += length;
  }
}

/** Parts that are stored by one job, or one piece that JavaScript has to read. */
interface Round {
  readonly source: PageSource;
  readonly direct: DirectReading | undefined;
  readonly parts: PartList;
  /** By part: the range that it is of, and the bytes of the range before it. */
  readonly ranges: number[];
  readonly skips: number[];
  /** The first part of each piece. */
  readonly pieces: number[];
}

/** Cuts ranges into parts, pieces and rounds. */
function* roundsOf(ranges: readonly StoreRange[]): Generator<Round> {
  let round: Round | undefined;
  let room = 0;
  const mayCall = canCallDirectly();
  /** How the source of the range before is read: of small extents there are many thousands. */
  let source: PageSource | undefined;
  let direct: DirectReading | undefined;
  for (let index = 0; index < ranges.length; index++) {
    const range = ranges[index] as StoreRange;
    if (range.source !== source) {
      source = range.source;
      direct = mayCall ? source.direct?.() : undefined;
    }
    const start = Number(range.position);
    const data = dataOf(range);
    const count = data === undefined ? 1 : data.length;
    for (let place = 0; place < count; place++) {
      const end = data === undefined ? Number(range.length) : (data[place]?.[1] ?? 0);
      for (let skip = data?.[place]?.[0] ?? 0; skip < end; ) {
        const isFirst = skip === 0 && range.target === undefined && Number(range.length) >= storeMoveLength;
        if (isFirst) room = 0;
        const length = Math.min(roomOf(range, skip, direct), end - skip);
        // Below zero: calls do not read these bytes as they shall be.
        const expected = direct?.expects === undefined ? 0 : direct.expects(start + skip, length);
        const needed = pagesOf(length) * pageSize;
        const isDirect = direct !== undefined && expected >= 0;
        const isSame = round !== undefined && round.source === range.source && (round.direct !== undefined) === isDirect;
        if (round === undefined || !isSame || (needed > room && (!isDirect || round.pieces.length === piecesOfJob))) {
          if (round !== undefined) yield round;
          round = { source: range.source, direct: isDirect ? direct : undefined, parts: new PartList(), ranges: [], skips: [], pieces: [] };
          room = 0;
        }
        if (needed > room) {
          round.pieces.push(round.parts.count);
          room = storeBufferLength;
        }
        round.parts.add(partOf(range, skip, length, expected));
        if (isFirst) round.parts.startInStep(offsetInChunk(range.address));
        round.ranges.push(index);
        round.skips.push(skip);
        room -= needed;
        skip += length;
      }
    }
  }
  if (round !== undefined) yield round;
}

/** The same of columns. */
function* roundsOfColumns({ source, positions, lengths, keeps }: RangeColumns): Generator<Round> {
  const direct = canCallDirectly() ? source.direct?.() : undefined;
  let round: Round | undefined;
  let room = 0;
  for (let index = 0; index < positions.length; index++) {
    const position = positions[index] as number;
    const end = lengths[index] as number;
    const keep = keeps[index] as number;
    for (let skip = 0; skip < end; ) {
      const at = position + skip;
      const isFirst = skip === 0 && end >= storeMoveLength;
      if (isFirst) room = 0;
      const length = Math.min(chunk - (at % chunk), end - skip);
      const expected = direct?.expects === undefined ? 0 : direct.expects(at, length);
      const isDirect = direct !== undefined && expected >= 0;
      const isSame = round !== undefined && (round.direct !== undefined) === isDirect;
      if (round === undefined || !isSame || (length > room && (!isDirect || round.pieces.length === piecesOfJob))) {
        if (round !== undefined) yield round;
        round = { source, direct: isDirect ? direct : undefined, parts: new PartList(), ranges: [], skips: [], pieces: [] };
        room = 0;
      }
      if (length > room) {
        round.pieces.push(round.parts.count);
        room = storeBufferLength;
      }
      round.parts.addPlain(at, length, Math.max(0, keep - skip / pageSize), Math.max(0, expected));
      if (isFirst) round.parts.startInStep(at % chunk);
      round.ranges.push(index);
      round.skips.push(skip);
      room -= length;
      skip += length;
    }
  }
  if (round !== undefined) yield round;
}

/** Bytes from `skip` on that one checksum is of. */
function roomOf({ position, address, target }: StoreRange, skip: number, direct: DirectReading | undefined): number {
  const at = Number(position) + skip;
  const cut = target === undefined ? undefined : direct?.endOfChunk?.(at);
  return cut === undefined ? chunk - ((offsetInChunk(address) + skip) % chunk) : cut - at;
}

function partOf({ position, keep, base, target }: StoreRange, skip: number, length: number, expected: number): StorePart {
  return {
    position: Number(position) + skip,
    length,
    keep: Math.max(0, keep - skip / pageSize),
    expected: Math.max(0, expected),
    base: base === undefined ? undefined : { fd: base.fd, offset: Number(base.offset) + skip },
    target: target === undefined ? undefined : Number(target) + skip,
  };
}

/**
 * The parts of a range that are not holes of a file, from and to whole pages: [bytes before it, its end], apart. Undefined: it
 * has no holes, or nobody knows.
 */
function dataOf(range: StoreRange): (readonly [number, number])[] | undefined {
  if (range.source.dataRanges === undefined || range.keep * pageSize >= Number(range.length)) return undefined;
  const ranges = range.source.dataRanges(range.position, range.length);
  return ranges === undefined ? undefined : partsWithin(range, ranges);
}

function partsWithin({ position, length, keep }: StoreRange, ranges: readonly ByteRange[]): (readonly [number, number])[] {
  const whole = Number(length);
  const parts: [number, number][] = [];
  const take = (from: number, to: number): void => {
    const [start, end] = [from - (from % pageSize), Math.min(whole, Math.ceil(to / pageSize) * pageSize)];
    const last = parts.at(-1);
    if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end);
    else if (start < end) parts.push([start, end]);
  };
  take(0, keep * pageSize);
  for (const data of ranges) take(Number(data.position - position), Number(data.position - position + data.length));
  return parts;
}

/** The state of one storing. */
class Storing {
  readonly runs = new StoredRuns();
  isOver = false;
  #done = 0;
  #job: StoreJob | undefined;
  #buffer: Uint8Array | undefined;

  /**
   * @param fd -1: nothing is written
   * @param isInPlace ranges go to their targets
   */
  constructor(
    private readonly fd: number,
    private readonly isInPlace: boolean,
  ) {}

  async round(round: Round): Promise<void> {
    for (let piece = 0; piece < round.pieces.length && !this.isOver; ) {
      if (round.direct !== undefined) piece = await this.#direct(round, round.direct, piece);
      if (piece < round.pieces.length && !this.isOver) this.#slow(round, piece++);
    }
  }

  /** Stores pieces until one does not go well, from `first` on. Returns how many of the round are done. */
  async #direct(round: Round, direct: DirectReading, first: number): Promise<number> {
    const { source, parts, pieces } = round;
    const isShared = direct.sharesBlocks === true && this.fd >= 0 && this.runs.frames === undefined;
    // The file system copies without the page cache.
    if (isShared) this.runs.aligned = undefined;
    const job = new StoreJob(parts, [...pieces.slice(first), parts.count], {
      sourceFd: direct.fd,
      sourcePid: direct.pid ?? 0,
      targetFd: isShared ? -2 : this.fd,
      position: this.isInPlace ? undefined : this.runs.end,
      aligned: this.runs.aligned,
      frameNext: this.runs.frames === undefined ? undefined : this.runs.endOfFrames,
    });
    this.#job = job;
    // The second begins when this thread has nothing else to do: threads that share a processor wait for whichever was
    // stopped while it wrote.
    const lanes = [job.run()];
    const count = Math.min(maxLanes, usableCpus(), job.count);
    for (let lane = 1; lane < count; lane++) lanes.push(idle().then(() => job.run()));
    await Promise.all(lanes);
    this.#job = undefined;
    if (this.isOver) return pieces.length;
    const whole = first + job.whole;
    for (let piece = first; piece < whole; piece++) {
      const before = this.runs.end;
      const end = pieces[piece + 1] ?? parts.count;
      for (let part = pieces[piece] ?? 0; part < end; part++) {
        if (this.isInPlace) {
          this.#done += parts.length(part);
          if (isShared) this.#copyOne(source, parts.position(part), parts.length(part), parts.target(part));
        } else this.#add(round, part, isShared);
      }
      const [at, stored] = [job.frames?.[2 * (piece - first)], job.frames?.[2 * (piece - first) + 1]];
      if (at !== undefined && stored !== undefined) this.#addFrame(before, Number(at), Number(stored));
    }
    return whole;
  }

  /** Takes over what became of a part. */
  #add({ source, parts, ranges, skips }: Round, part: number, isShared: boolean): void {
    const page = parts.firstPage(part);
    const pages = parts.firstPage(part + 1) - page;
    const range = ranges[part] ?? 0;
    const skip = skips[part] ?? 0;
    const kind = parts.kindOf(part);
    if (isShared) this.#copyBlocks(source, parts.position(part), parts.length(part), parts.kinds.subarray(page, page + pages));
    const before = this.runs.end;
    const gap = this.#move(parts, part, kind, page, pages);
    // Pages may be there that had to be stored elsewhere once more.
    if (gap > 0) writeFully(this.fd, new Uint8Array(gap), BigInt(before));
    if (kind !== undefined) this.runs.addUniform(range, skip, kind, pages, parts.sums[page] ?? 0);
    else this.runs.add(range, skip, parts.kinds.subarray(page, page + pages), parts.sums.subarray(page, page + pages));
    this.#done += pages * pageSize;
  }

  /** Before what is stored of a part: see StoredRuns.moveTo. */
  #move(parts: PartList, part: number, kind: number | undefined, page: number, pages: number): number {
    const phase = parts.phase(part);
    if (phase === undefined) return kind === pageKind.kept && pages * pageSize === chunk ? this.runs.moveWhole() : 0;
    const isStored = kind === pageKind.kept || (kind === undefined && parts.kinds.subarray(page, page + pages).includes(pageKind.kept));
    return isStored ? this.runs.moveTo(phase) : 0;
  }

  /** A frame that holds what the runs have got since they ended at `before`. */
  #addFrame(before: number, fileOffset: number, stored: number): void {
    const length = this.runs.end - before;
    if (length === 0 || this.runs.frames === undefined) return;
    this.runs.frames.push({ offset: before, length, fileOffset, stored });
    this.runs.endOfFrames = fileOffset + Math.ceil(stored / pageSize) * pageSize;
  }

  #copyOne(source: PageSource, position: number, length: number, target = 0): void {
    source.copyTo(this.fd, BigInt(target), [{ position: BigInt(position), length: BigInt(length) }]);
  }

  /** Has the file system copy what is stored of a part: it need not move the bytes. */
  #copyBlocks(source: PageSource, position: number, length: number, kinds: Uint8Array): void {
    let target = this.runs.end;
    for (const [from, to] of keptRuns(kinds)) {
      const end = Math.min(to * pageSize, length);
      this.#copyOne(source, position + from * pageSize, end - from * pageSize, target);
      target += (to - from) * pageSize;
    }
  }

  /** A piece that calls do not read, or that did not go well: this way tells why, or works. */
  #slow({ source, parts, ranges, skips, pieces }: Round, piece: number): void {
    const buffer = (this.#buffer ??= new Uint8Array(storeBufferLength));
    const end = pieces[piece + 1] ?? parts.count;
    for (let part = pieces[piece] ?? 0; part < end; part++) {
      const { position, length, keep, base, target: place } = parts.part(part);
      const [range, skip] = [ranges[part] ?? 0, skips[part] ?? 0];
      const pages = pagesOf(length);
      const bytes = buffer.subarray(0, pages * pageSize);
      bytes.fill(0, length);
      source.read(BigInt(position), bytes.subarray(0, length));
      const kinds = kindsOf(bytes, keep, base);
      if (this.isInPlace) {
        for (const [first, next] of keptRuns(kinds)) {
          writeFully(this.fd, bytes.subarray(first * pageSize, Math.min(length, next * pageSize)), BigInt((place ?? 0) + first * pageSize));
        }
        this.#done += length;
        continue;
      }
      const sums = new Uint32Array(pages);
      const before = this.runs.end;
      // Here it is not compressed.
      const frame = this.runs.endOfFrames;
      let target = this.runs.frames === undefined ? before : frame;
      if (this.fd !== -1)
        for (const [first, next] of keptRuns(kinds, pageKind.inBase)) sums[first] = checksumOf(pagesIn(bytes, first, next));
      for (const [first, next] of this.fd === -1 ? [] : keptRuns(kinds)) {
        const run = pagesIn(bytes, first, next);
        sums[first] = checksumOf(run);
        if (this.fd >= 0) writeFully(this.fd, run, BigInt(target));
        target += run.length;
      }
      this.runs.add(range, skip, kinds, sums);
      this.#addFrame(before, frame, this.runs.end - before);
      this.#done += bytes.length;
    }
  }

  /** Bytes looked at. */
  get progress(): number {
    return this.#done + (this.#job?.done ?? 0);
  }

  stop(): void {
    this.isOver = true;
    this.#job?.stop();
  }
}

const pagesIn = (bytes: Uint8Array, first: number, next: number): Uint8Array => bytes.subarray(first * pageSize, next * pageSize);

/** Runs of pages of one kind, by default of those that are stored: [first, behind the last]. */
function* keptRuns(kinds: Uint8Array, kind: number = pageKind.kept): Generator<readonly [number, number]> {
  for (let first = 0; first < kinds.length; ) {
    let next = first;
    while (next < kinds.length && kinds[next] === kind) next++;
    if (next > first) yield [first, next];
    while (next < kinds.length && kinds[next] !== kind) next++;
    first = next;
  }
}

function kindsOf(bytes: Uint8Array, keep: number, base: StorePart["base"]): Uint8Array {
  const pages = bytes.length / pageSize;
  const kinds = new Uint8Array(pages);
  const other = base === undefined ? undefined : new Uint8Array(bytes.length);
  const hasOther = other !== undefined && base !== undefined && readSync(base.fd, other, 0, other.length, base.offset) === other.length;
  for (let page = 0; page < pages; page++) {
    const part = bytes.subarray(page * pageSize, (page + 1) * pageSize);
    const isSame = hasOther && Buffer.compare(part, other.subarray(page * pageSize, (page + 1) * pageSize)) === 0;
    if (isSame) kinds[page] = pageKind.inBase;
    else kinds[page] = keep < pages && isZero(part) ? pageKind.zero : pageKind.kept;
  }
  if (kinds.every((kind) => kind === pageKind.zero)) kinds.fill(pageKind.kept, 0, keep);
  return kinds;
}

const zeros = new Uint8Array(pageSize);

function isZero(page: Uint8Array): boolean {
  return Buffer.compare(page, zeros) === 0;
}

/** Resolves when the event loop turns. */
function idle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Stores ranges, one behind the other, from `start` of an open file on, without pages of zeros. If it may, it moves whole chunks to
 * multiples of their length, behind a chunk of zeros, where the page cache then takes them as one block.
 * @param fd -1: nothing is written, and the runs say what would be; `lookAndSum`: with checksums
 * @throws what the sources throw, SysError of the write, and what `watch.onProgress` throws
 */
export async function storePages(
  fd: number,
  start: number,
  ranges: readonly StoreRange[] | RangeColumns,
  watch: CopyWatch & { readonly isCompressed?: boolean; readonly mayMove?: boolean },
): Promise<StoredRuns> {
  const storing = new Storing(fd, false);
  storing.runs.end = start;
  if (watch.mayMove === true) storing.runs.aligned = start;
  if (watch.isCompressed === true) [storing.runs.frames, storing.runs.endOfFrames] = [[], start];
  await watched(storing, ranges, watch);
  return storing.runs;
}

/**
 * Copies ranges to their targets in an open file that has nothing there yet: pages of zeros become holes. The file may end
 * before the last of them.
 * @throws as `storePages`
 */
export async function copyPages(fd: number, ranges: readonly StoreRange[], watch: CopyWatch): Promise<void> {
  await watched(new Storing(fd, true), ranges, watch);
}

function bytesOf(ranges: readonly StoreRange[] | RangeColumns): number {
  if ("source" in ranges) return ranges.lengths.reduce((sum, length) => sum + length, 0);
  return ranges.reduce((sum, { length }) => sum + Number(length), 0);
}

async function watched(storing: Storing, ranges: readonly StoreRange[] | RangeColumns, watch: CopyWatch): Promise<void> {
  const failures: unknown[] = [];
  const lookAtProgress = (): void => {
    try {
      watch.onProgress?.(BigInt(storing.progress));
    } catch (error) {
      failures.push(error);
      storing.stop();
    }
  };
  const look = bytesOf(ranges) <= soonStored ? undefined : setInterval(lookAtProgress, lookMs);
  const stop = (): void => storing.stop();
  watch.signal?.addEventListener("abort", stop);
  if (watch.signal?.aborted) stop();
  try {
    for (const round of "source" in ranges ? roundsOfColumns(ranges) : roundsOf(ranges)) {
      if (storing.isOver) break;
      await storing.round(round);
    }
  } finally {
    clearInterval(look);
    watch.signal?.removeEventListener("abort", stop);
  }
  if (failures.length > 0) throw failures[0];
  watch.onProgress?.(BigInt(storing.progress));
}
