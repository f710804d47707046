// SPDX-License-Identifier: Apache-2.0
/**
 * Loading stored pages: extents that follow each other in the file go in one op `load`, which reads them in pieces that
 * are still in the processor's cache when it sums them. Large runs get their memory before (the op `populate`), which
 * costs half of what a fault for every page does.
 */
import { type ExtentRow, vmaVmFlagsBits as vm } from "../gen/tables.js";
import { firstExtentEndingAfter } from "../model/ascending.js";
import { chunkSize } from "../model/stored-chunks.js";
import { alignUp } from "./align.js";
import { hugePageSize, MAP, PROT, pageSize } from "./constants.js";
import type { Slot } from "./operands.js";
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
  { source, fd, name, hint }: StoredIn,
  extents: readonly Stored[],
  place: (address: bigint) => bigint,
  what: string,
): void {
  for (const { start, length, parts } of runsOf(extents)) {
    const pieces = b.pieces(start, parts, place, source);
    b.op("load", [fd, pieces.at, pieces.count, start, 0, b.noVerify], {
      expect: length,
      message: `read ${length} bytes of ${what} from ${name} at offset ${start}`,
      hint,
    });
  }
}

/** Ops that look at the checksums of extents which the kernel copies by itself: the image is mapped for a moment. */
export function verifyExtents(b: ProgramBuilder, imageFd: Slot, extents: readonly Stored[], what: string): void {
  if (extents.length === 0) return;
  const at = b.slot("where stored bytes are looked at");
  for (const { start, length, parts } of runsOf(extents)) {
    const message = `read ${length} bytes of ${what} from the image at offset ${start}`;
    b.syscall("mmap", [0, length, PROT.read, MAP.private, imageFd, start], { store: at, message });
    const pieces = b.pieces(start, parts, (_address, fileOffset) => fileOffset - start);
    b.op("load", [-1, pieces.at, pieces.count, start, at, b.noVerify], {
      expect: length,
      message,
      hint: "the image is damaged; crimg validate says where",
    });
    b.syscall("munmap", [at, length]);
  }
}

/** The runs of huge size that the extents cover completely, within [start, end). */
export function longRuns(extents: readonly Piece[], start: bigint, end: bigint): readonly Piece[] {
  const runs: Piece[] = [];
  if (end - start < hugePageSize) return runs;
  let from = -1n;
  let to = -1n;
  const flush = (): void => {
    const [first, last] = [max(from, start), min(to, end)];
    if (from >= 0n && last - first >= hugePageSize) runs.push({ address: first, length: last - first });
  };
  for (let index = firstExtentEndingAfter(extents, start); index < extents.length; index++) {
    const { address, length } = extents[index] as Piece;
    if (address >= end) break;
    if (address === to) {
      to = address + length;
      continue;
    }
    flush();
    from = address;
    to = address + length;
  }
  flush();
  return runs;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
