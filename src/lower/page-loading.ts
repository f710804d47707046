// SPDX-License-Identifier: Apache-2.0
/**
 * Loading stored pages: extents that follow each other in the file go in one op `load`, which reads them in pieces that
 * are still in the processor's cache when it sums them. Large runs get their memory before (the op `populate`), which
 * costs half of what a fault for every page does.
 */
import { pieceSize } from "../gen/restore-program.js";
import { type ExtentRow, vmaVmFlagsBits as vm } from "../gen/tables.js";
import { firstWhere } from "../model/ascending.js";
import { chunkSize } from "../model/stored-chunks.js";
import { alignUp } from "./align.js";
import { hugePageSize, MAP, PROT, pageSize } from "./constants.js";
import type { DataRef, Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

/** Of one op: what goes wrong is told by op, and tasks look between ops whether the restore is over. */
const maxBytes = 0x4000_0000n;

/** Flags of mappings that a userfaultfd is not for. */
export const notByUserfault = vm.lo | vm.lf | vm.dp | vm.ht | vm.io | vm.pf | vm.um | vm.uw | vm.ui | vm.ss;

/** Bytes in memory. */
export interface Piece {
  readonly address: bigint;
  readonly length: bigint;
}

type Stored = Pick<ExtentRow, "address" | "length" | "fileOffset">;

/** Parts of extents that follow each other in the file. */
export interface Run {
  readonly start: bigint;
  length: bigint;
  readonly parts: Stored[];
}

/** Runs of whole chunks, of at most `maxBytes`. */
export function runsOf(extents: readonly Stored[]): Run[] {
  const runs: Run[] = [];
  let last: Run | undefined;
  let end = -1n;
  for (const extent of extents) {
    const { address, length, fileOffset } = extent;
    // Of small extents, one behind the other, there are thousands.
    if (last !== undefined && fileOffset === end && length === pageSize && last.length < maxBytes) {
      last.parts.push(extent);
      last.length += pageSize;
      end += pageSize;
      continue;
    }
    const whole = alignUp(length, pageSize);
    for (let done = 0n; done < whole; ) {
      let run = runs.at(-1);
      if (run === undefined || run.length >= maxBytes || fileOffset + done !== run.start + run.length) {
        run = { start: fileOffset + done, length: 0n, parts: [] };
        runs.push(run);
      }
      // Cut where chunks end.
      const room = alignUp(address + done + maxBytes - run.length, chunkSize) - (address + done);
      const part = whole - done < room ? whole - done : room;
      run.parts.push({ address: address + done, length: part, fileOffset: fileOffset + done });
      run.length += part;
      done += part;
      last = run;
      end = run.start + run.length;
    }
  }
  return runs;
}

/** A file that has stored bytes. */
export interface StoredIn {
  /** What extents name it by. */
  readonly source: number;
  readonly fd: Slot;
  /** In messages: "the image". */
  readonly name: string;
  readonly hint: string;
}

export const inImage = (fd: Slot): StoredIn => ({
  source: 0,
  fd,
  name: "the image",
  hint: "the image is truncated or damaged (crimg validate says where), or there is not enough memory",
});

/** Ops that read the extents, which are all in one file, to where `place` says, and look at their checksums. */
export function readExtents(
  b: ProgramBuilder,
  file: StoredIn,
  extents: readonly Stored[],
  place: (address: bigint) => bigint,
  what: string,
): void {
  for (const { start, length, parts } of runsOf(extents)) {
    const { at, count } = b.pieces(start, parts, place, file.source);
    load(b, file, { at, count, start, length }, what);
  }
}

/** The op that reads pieces. */
function load(
  b: ProgramBuilder,
  { fd, name, hint }: StoredIn,
  { at, count, start, length }: { readonly at: DataRef; readonly count: number; readonly start: bigint; readonly length: bigint },
  what: string,
  touches = false,
): void {
  const message = `read ${length} bytes of ${what} from ${name} at offset ${start}`;
  b.load([fd, at, count, start, 0, b.noVerify], { expect: length, message, hint }, touches);
}

/** Ops that look at the checksums of extents which the kernel copies by itself: the image is mapped for a moment. */
export function verifyExtents(b: ProgramBuilder, imageFd: Slot, extents: readonly Stored[], what: string): void {
  if (extents.length === 0) return;
  const at = b.slot("where stored bytes are looked at");
  for (const { start, length, parts } of runsOf(extents)) {
    const message = `read ${length} bytes of ${what} from the image at offset ${start}`;
    b.syscall("mmap", [0, length, PROT.read, MAP.private, imageFd, start], { store: at, message });
    const pieces = b.pieces(start, parts, (_address, fileOffset) => fileOffset - start);
    b.load([-1, pieces.at, pieces.count, start, at, b.noVerify], {
      expect: length,
      message,
      hint: "the image is damaged; crimg validate says where",
    });
    b.syscall("munmap", [at, length]);
  }
}

/** Addresses by index, ascending, disjoint. */
export interface StoredRanges {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
}

/** Stored pages of an address space as columns: by index, ascending, disjoint; numbers that doubles hold exactly. */
export interface StoredColumns {
  readonly starts: Float64Array;
  readonly lengths: Float64Array;
  readonly offsets: Float64Array;
  /** Which file each is in; undefined: all are in the image. */
  readonly sources: Uint32Array | undefined;
}

export function columnsOfExtents(extents: readonly Pick<ExtentRow, "address" | "length" | "fileOffset" | "source">[]): StoredColumns {
  const count = extents.length;
  const [starts, lengths, offsets] = [new Float64Array(count), new Float64Array(count), new Float64Array(count)];
  const sources = new Uint32Array(count);
  for (let index = 0; index < count; index++) {
    const { address, length, fileOffset, source } = extents[index] as (typeof extents)[number];
    starts[index] = Number(address);
    lengths[index] = Number(length);
    offsets[index] = Number(fileOffset);
    sources[index] = source;
  }
  return { starts, lengths, offsets, sources };
}

/** Where stored pages are; there is one more range behind all addresses. */
export function rangesOf({ starts: addresses, lengths }: Pick<StoredColumns, "starts" | "lengths">): StoredRanges {
  const count = addresses.length;
  const [starts, ends] = [new Float64Array(count + 1), new Float64Array(count + 1)];
  starts.set(addresses);
  for (let index = 0; index < count; index++) ends[index] = (addresses[index] as number) + (lengths[index] as number);
  starts[count] = ends[count] = Infinity;
  return { starts, ends };
}

const bytesOfPage = Number(pageSize);
const bytesOfChunk = Number(chunkSize);
const bytesOfRun = Number(maxBytes);

/** Ops that read what is in one file to where it was, as `readExtents`; a step each, and no objects. For `touches` see the op load. */
export function readColumns(b: ProgramBuilder, file: StoredIn, columns: StoredColumns, what: string, touches = false): void {
  const { starts, lengths, offsets, sources } = columns;
  const pieces = new PieceRecords();
  let [runStart, runLength, runEnd] = [0, 0, -1];
  const flush = (): void => {
    if (runLength === 0) return;
    const [start, length] = [BigInt(runStart), BigInt(runLength)];
    const { at, count } = b.pieceRecords(start, pieces.take(), file.source);
    load(b, file, { at, count, start, length }, what, touches);
  };
  for (let index = 0; index < starts.length; index++) {
    if (sources !== undefined && sources[index] !== file.source) continue;
    const address = starts[index] as number;
    const offset = offsets[index] as number;
    const length = lengths[index] as number;
    // Of single pages, one behind the other, there are thousands.
    if (length === bytesOfPage && offset === runEnd && runLength < bytesOfRun) {
      pieces.add(address, length);
      runLength += length;
      runEnd += length;
      continue;
    }
    const whole = Math.ceil(length / bytesOfPage) * bytesOfPage;
    for (let done = 0; done < whole; ) {
      if (runLength >= bytesOfRun || offset + done !== runEnd) {
        flush();
        runStart = offset + done;
        runLength = 0;
      }
      // Cut where chunks end.
      const from = address + done;
      const part = Math.min(whole - done, Math.ceil((from + bytesOfRun - runLength) / bytesOfChunk) * bytesOfChunk - from);
      pieces.cut(from, part);
      runLength += part;
      done += part;
      runEnd = runStart + runLength;
    }
  }
  flush();
}

const twoTo32 = 2 ** 32;
const wordsOfPiece = pieceSize / 4;

/** Records `piece`, without checksums. */
class PieceRecords {
  #words = new Uint32Array(1024);
  #used = 0;

  /** Adds the chunks of a part. */
  cut(address: number, length: number): void {
    const end = address + length;
    for (let at = address; at < end; ) {
      const next = Math.min(end, at - (at % bytesOfChunk) + bytesOfChunk);
      this.add(at, next - at);
      at = next;
    }
  }

  /** Adds what is within one chunk. */
  add(address: number, length: number): void {
    const used = this.#used;
    if (used === this.#words.length) {
      const larger = new Uint32Array(4 * used);
      larger.set(this.#words);
      this.#words = larger;
    }
    const words = this.#words;
    words[used] = address;
    words[used + 1] = address / twoTo32;
    words[used + 2] = length;
    this.#used = used + wordsOfPiece;
  }

  /** All of them, to be copied; none are left. */
  take(): Uint8Array {
    const bytes = new Uint8Array(this.#words.buffer, 0, this.#used * 4);
    this.#used = 0;
    return bytes;
  }
}

/** The runs of huge size that stored pages cover completely, within [start, end). */
export function longRuns({ starts, lengths }: StoredColumns, start: bigint, end: bigint): readonly Piece[] {
  const runs: Piece[] = [];
  if (end - start < hugePageSize) return runs;
  const [low, high] = [Number(start), Number(end)];
  let from = -1;
  let to = -1;
  const flush = (): void => {
    const [first, last] = [Math.max(from, low), Math.min(to, high)];
    if (from >= 0 && last - first >= Number(hugePageSize)) runs.push({ address: BigInt(first), length: BigInt(last - first) });
  };
  const first = firstWhere(starts.length, (index) => (starts[index] as number) + (lengths[index] as number) > low);
  for (let index = first; index < starts.length; index++) {
    const address = starts[index] as number;
    if (address >= high) break;
    if (address !== to) {
      flush();
      from = address;
    }
    to = address + (lengths[index] as number);
  }
  flush();
  return runs;
}
