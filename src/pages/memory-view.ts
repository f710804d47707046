// SPDX-License-Identifier: Apache-2.0
/**
 * An address space of a checkpoint as bytes: which run of addresses comes from where, and reads that load no more
 * than they are asked for. What has no extent is zero where memory is anonymous, and the file's where it is mapped.
 */
import { CrimgError } from "../errors/crimg-error.js";
import type { AbsentRegionRow, ExtentRow, VmaRow } from "../gen/tables.js";
import { firstEndingAfter, firstExtentEndingAfter } from "../model/ascending.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { PageSource } from "../model/page-source.js";
import type { PageCopies, PlacedRange } from "./page-copies.js";
import { MappedFiles } from "./mapped-files.js";

const pageSize = 4096n;

/** Where the bytes of a run are. */
export type RunOrigin =
  /** In a page source of the checkpoint. */
  | StoredRun
  /** Nowhere: they are zero. */
  | ZeroRun
  /** In the mapped file of the host: `object` is a row of `objects`, `offset` a position in it. */
  | FileRun
  /** Not available. */
  | AbsentRun;

/** Bytes that the checkpoint stores. */
export interface StoredRun {
  /** Tells it from the others. */
  readonly kind: "stored";
  /** What holds the bytes. */
  readonly source: PageSource;
  /** Where in it, bytes. */
  readonly position: bigint;
}

/** Anonymous memory that was never written. */
export interface ZeroRun {
  /** Tells it from the others. */
  readonly kind: "zero";
}

/** Clean pages of a mapped file. */
export interface FileRun {
  /** Tells it from the others. */
  readonly kind: "file";
  /** The file: a row of `objects`. */
  readonly object: number;
  /** Position in the file, bytes. */
  readonly offset: bigint;
}

/** Memory whose content is not known. */
export interface AbsentRun {
  /** Tells it from the others. */
  readonly kind: "absent";
  /** Why, in words. */
  readonly reason: string;
}

/** A run of addresses of one VMA whose bytes have one origin. */
export interface MemoryRun {
  /** The first address. */
  readonly address: bigint;
  /** Bytes, at least 1. */
  readonly length: bigint;
  /** Where the bytes are. */
  readonly origin: RunOrigin;
}

/** The memory of one address space (a row of `mms`). */
export class MemoryView {
  readonly #vmas: readonly VmaRow[];
  readonly #extents: readonly ExtentRow[];
  readonly #absent: readonly AbsentRegionRow[];
  readonly #files: MappedFiles;

  constructor(
    private readonly checkpoint: Checkpoint,
    readonly mm: number,
    files?: MappedFiles,
  ) {
    this.#vmas = checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
    this.#extents = checkpoint.extentsOf({ mm });
    this.#absent = checkpoint.absentOf(mm);
    this.#files = files ?? new MappedFiles(checkpoint.tables);
  }

  /** The mapping that holds an address, or undefined. */
  vmaAt(address: bigint): VmaRow | undefined {
    const vma = this.#vmas[firstEndingAfter(this.#vmas, address)];
    return vma && vma.start <= address ? vma : undefined;
  }

  /**
   * Runs that cover [start, end), ascending, adjacent ones of the same kind not joined. Unmapped addresses yield none.
   */
  *runs(start: bigint, end: bigint): Generator<MemoryRun> {
    for (let index = firstEndingAfter(this.#vmas, start); index < this.#vmas.length; index++) {
      const vma = this.#vmas[index] as VmaRow;
      if (vma.start >= end) return;
      yield* this.#runsOfVma(vma, max(start, vma.start), min(end, vma.end));
    }
  }

  /**
   * Bytes at an address.
   * @param length bytes, at most 1 GiB
   * @throws CrimgError `memory.unmapped`, `memory.absent`, `memory.file`, `memory.length`, `pages.short`
   */
  read(address: bigint, length: number): Uint8Array {
    if (!Number.isSafeInteger(length) || length < 0 || length > 2 ** 30) {
      throw new CrimgError("memory.length", `cannot read ${length} bytes at once: the limit is 1 GiB`, {
        hint: "read in pieces",
      });
    }
    this.#assertMapped(address, address + BigInt(length));
    const bytes = new Uint8Array(length);
    this.readInto(address, bytes);
    return bytes;
  }

  /** Like `read`, into memory of the caller's. */
  readInto(address: bigint, into: Uint8Array): void {
    let expected = address;
    const end = address + BigInt(into.length);
    for (const run of this.runs(address, end)) {
      if (run.address !== expected) break;
      const at = Number(run.address - address);
      this.readRun(run, into.subarray(at, at + Number(run.length)));
      expected = run.address + run.length;
    }
    if (expected !== end) throw unmapped(expected);
  }

  /** Fills `into` (as long as the run) with the bytes of a run. */
  readRun(run: MemoryRun, into: Uint8Array): void {
    const { origin } = run;
    switch (origin.kind) {
      case "stored":
        origin.source.read(origin.position, into);
        return;
      case "zero":
        into.fill(0);
        return;
      case "file":
        this.#files.read(origin.object, origin.offset, into);
        return;
      case "absent":
        throw absent(run.address, origin.reason);
    }
  }

  /**
   * Copies runs, one behind the other, into an open file from `fileOffset`. Zero runs become holes: the caller sets the
   * length of the file in the end.
   */
  copyRuns(runs: readonly MemoryRun[], fd: number, fileOffset: bigint, copies: PageCopies): Promise<void> {
    return copies.copy(fd, this.#placed(runs, fileOffset));
  }

  *#placed(runs: readonly MemoryRun[], fileOffset: bigint): Generator<PlacedRange> {
    let target = fileOffset;
    for (const { address, length, origin } of runs) {
      if (origin.kind === "stored") yield { source: origin.source, position: origin.position, length, target };
      else if (origin.kind === "file") yield { ...this.#files.part(origin.object, origin.offset, length), target };
      else if (origin.kind === "absent") throw absent(address, origin.reason);
      target += length;
    }
  }

  /** Closes the mapped files that were opened. */
  close(): void {
    this.#files.close();
  }

  *#runsOfVma(vma: VmaRow, start: bigint, end: bigint): Generator<MemoryRun> {
    for (const piece of cut(this.#extents, start, end)) {
      if (piece.extent) yield this.#stored(piece.extent, piece.start, piece.start - piece.extent.address, piece.end);
      else yield* this.#unstoredOrAbsent(vma, piece.start, piece.end);
    }
  }

  /** Addresses of a VMA without an extent of the address space, cut where absent regions begin and end. */
  *#unstoredOrAbsent(vma: VmaRow, start: bigint, end: bigint): Generator<MemoryRun> {
    let at = start;
    for (let index = firstEndingAfter(this.#absent, start); at < end; index++) {
      const region = this.#absent[index];
      const from = region ? max(at, min(region.start, end)) : end;
      if (from > at) yield* this.#unstored(vma, at, from);
      if (!region) return;
      const to = max(from, min(region.end, end));
      if (to > from) yield { address: from, length: to - from, origin: { kind: "absent", reason: region.reason } };
      at = to;
    }
  }

  /** The same, of which something is known. */
  *#unstored(vma: VmaRow, start: bigint, end: bigint): Generator<MemoryRun> {
    if (vma.kind === "vdso" || vma.kind === "vvar" || vma.kind === "vsyscall" || vma.kind === "special") {
      yield { address: start, length: end - start, origin: { kind: "absent", reason: `it is the kernel's ${vma.name || vma.kind}` } };
      return;
    }
    const object = vma.object === null ? undefined : this.checkpoint.tables.objects[vma.object];
    if (vma.object === null || !object) {
      yield { address: start, length: end - start, origin: { kind: "zero" } };
      return;
    }
    // Shared memory, memfds and unlinked files: their bytes are extents of the object, and holes in it are zero.
    const toOffset = vma.offset - vma.start;
    const extents = this.checkpoint.extentsOf({ object: vma.object });
    const isFile = object.kind === "file" && object.bundled === 0;
    if (!isFile || extents.length > 0) {
      for (const piece of cut(extents, start + toOffset, end + toOffset)) {
        const address = piece.start - toOffset;
        if (piece.extent) yield this.#stored(piece.extent, address, piece.start - piece.extent.address, piece.end - toOffset);
        else if (isFile) yield* this.#ofFile(vma.object, address, piece.end - toOffset, piece.start);
        else yield { address, length: piece.end - piece.start, origin: { kind: "zero" } };
      }
      return;
    }
    yield* this.#ofFile(vma.object, start, end, start + toOffset);
  }

  /** Clean pages of a mapped file; whole pages behind its end cannot be read by the process either (SIGBUS). */
  *#ofFile(object: number, start: bigint, end: bigint, offset: bigint): Generator<MemoryRun> {
    const file = this.#files.get(object);
    if ("refusal" in file) {
      yield { address: start, length: end - start, origin: { kind: "absent", reason: file.refusal } };
      return;
    }
    const readable = ((file.size + pageSize - 1n) / pageSize) * pageSize;
    const split = max(start, min(end, start + (readable - offset)));
    if (split > start) yield { address: start, length: split - start, origin: { kind: "file", object, offset } };
    if (end > split)
      yield { address: split, length: end - split, origin: { kind: "absent", reason: "it lies behind the end of the mapped file" } };
  }

  #stored(extent: ExtentRow, address: bigint, skip: bigint, end: bigint): MemoryRun {
    const source = this.checkpoint.sources[extent.source];
    if (!source) return { address, length: end - address, origin: { kind: "absent", reason: `page source ${extent.source} is not there` } };
    return { address, length: end - address, origin: { kind: "stored", source, position: extent.fileOffset + skip } };
  }

  #assertMapped(start: bigint, end: bigint): void {
    let expected = start;
    for (let index = firstEndingAfter(this.#vmas, start); expected < end; index++) {
      const vma = this.#vmas[index];
      if (!vma || vma.start > expected) throw unmapped(expected);
      expected = vma.end;
    }
  }
}

interface Piece {
  readonly start: bigint;
  readonly end: bigint;
  readonly extent?: ExtentRow;
}

/** Cuts [start, end) where sorted extents begin and end. */
function* cut(extents: readonly ExtentRow[], start: bigint, end: bigint): Generator<Piece> {
  let at = start;
  for (let index = firstExtentEndingAfter(extents, start); at < end; index++) {
    const extent = extents[index];
    if (!extent || extent.address >= end) {
      yield { start: at, end };
      return;
    }
    if (extent.address > at) yield { start: at, end: extent.address };
    const from = max(at, extent.address);
    const to = min(end, extent.address + extent.length);
    if (to > from) yield { start: from, end: to, extent };
    at = max(at, to);
  }
}

function absent(address: bigint, reason: string): CrimgError {
  return new CrimgError("memory.absent", `the checkpoint does not hold the bytes at ${hex(address)}: ${reason}`);
}

function unmapped(address: bigint): CrimgError {
  return new CrimgError("memory.unmapped", `nothing is mapped at ${hex(address)}`, { hint: "crimg show IMAGE maps lists the mappings" });
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
