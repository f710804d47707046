// SPDX-License-Identifier: Apache-2.0
/**
 * The mappings of a process, from two lists that each tell half of it: PT_LOADs (protection, which bytes are there)
 * and NT_FILE (files). The kernel writes a PT_LOAD for every mapping; gcore leaves out those without bytes; one
 * mapping may be spread over several PT_LOADs.
 */
import { segmentTypeValues, type ProgramHeader } from "../../src/gen/elf64.js";
import type { CoreMapping } from "./process-notes.js";
import { reserveBytes } from "./segments.js";

/** A mapping before it is known what kind it is. */
export interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  /** PROT_* bits. */
  readonly prot: number;
  /** The entry of NT_FILE. */
  readonly file?: CoreMapping;
  /** The protection is that of the ELF segment on this host. */
  readonly isGuessed: boolean;
}

/** Bytes of a core: addresses that it holds. */
export interface StoredRange {
  readonly address: bigint;
  readonly length: bigint;
  /** File offset. */
  readonly offset: bigint;
}

/**
 * All mappings, ascending.
 * @param segmentsOf program headers of a mapped ELF file, by name of NT_FILE
 * @param absent what the writer did not know (crimg's note): it has split mappings there
 */
export function mergeMappings(
  loads: readonly ProgramHeader[],
  files: readonly CoreMapping[],
  segmentsOf: (path: string) => readonly ProgramHeader[] | undefined,
  absent: readonly MissingRange[] = [],
): Mapping[] {
  const isAbsent = memberOf(absent);
  const mappings: Mapping[] = [];
  let beforeLoad: ProgramHeader | undefined;
  const first = new Map<string, bigint>();
  for (const file of files) if (!first.has(file.path)) first.set(file.path, file.start - file.offset);
  for (const { load, start, end, file } of pieces(loads, files)) {
    const prot = load
      ? protectionOf(load.pFlags)
      : file
        ? protectionAt(segmentsOf(file.path) ?? [], file.offset, start - (first.get(file.path) ?? start))
        : 0;
    const before = mappings.at(-1);
    // Pieces of one file mapping are one mapping, whatever the PT_LOADs say about it, unless protections differ.
    if (before && file && before.file === file && (before.prot === prot || !load || before.isGuessed)) {
      mappings[mappings.length - 1] = { ...before, end, prot: load ? prot : before.prot, isGuessed: before.isGuessed && !load };
    } else if (
      before &&
      before.end === start &&
      !file &&
      !before.file &&
      before.prot === prot &&
      (isReserveOf(beforeLoad, load) || isAbsent(start - 1n) !== isAbsent(start))
    ) {
      mappings[mappings.length - 1] = { ...before, end };
    } else mappings.push({ start, end, prot, file, isGuessed: !load });
    beforeLoad = load;
  }
  return mappings;
}

/** Tells whether an address is in one of the ranges (ascending, disjoint). */
function memberOf(ranges: readonly MissingRange[]): (address: bigint) => boolean {
  return (address) => {
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ranges[middle]?.end ?? 0n) > address) high = middle;
      else low = middle + 1;
    }
    return (ranges[low]?.start ?? address + 1n) <= address;
  };
}

/** Whether one of two neighbours is the untouched part of the other's mapping: see segments.ts. */
function isReserveOf(a: ProgramHeader | undefined, b: ProgramHeader | undefined): boolean {
  const isReserve = ({ pFilesz, pMemsz }: ProgramHeader) => pFilesz === 0n && pMemsz >= reserveBytes - 4096n;
  return a !== undefined && b !== undefined && isReserve(a) !== isReserve(b);
}

/**
 * PROT_* bits of the ELF segment that a mapping shows; read-only for anything else.
 * @param distance of the mapping from where the file's first segment is mapped: segments may share a page of the file
 */
function protectionAt(segments: readonly ProgramHeader[], offset: bigint, distance: bigint): number {
  const loads = segments.filter(({ pType }) => pType === segmentTypeValues.load);
  const address = pageOf(loads[0]?.pVaddr ?? 0n) + distance;
  const byAddress = loads.find(({ pVaddr, pMemsz }) => pageOf(pVaddr) <= address && address < pVaddr + pMemsz);
  const byOffset = loads.find(({ pOffset, pFilesz }) => pageOf(pOffset) <= offset && offset < pOffset + pFilesz);
  const segment = byAddress && pageOf(byAddress.pOffset) <= offset ? byAddress : byOffset;
  return segment ? protectionOf(segment.pFlags) : 1;
}

/**
 * Tells whether a page of a private file mapping may have been written to at any time: it may be now, or the ELF segment that
 * it shows is writable (RELRO is made read-only after it was written). Of files that are no ELF files only the first counts.
 */
export function writabilityOf(
  files: readonly CoreMapping[],
  segmentsOf: (path: string) => readonly ProgramHeader[] | undefined,
  { objects }: { readonly objects: readonly { readonly path: string }[] },
): (
  vma: { readonly start: bigint; readonly offset: bigint; readonly prot: number; readonly object: number | null },
  address: bigint,
) => boolean {
  const first = new Map<string, bigint>();
  for (const file of files) if (!first.has(file.path)) first.set(file.path, file.start - file.offset);
  return ({ start, offset, prot, object }, address) => {
    if ((prot & 2) !== 0) return true;
    const path = objects[object ?? -1]?.path ?? "";
    return (protectionAt(segmentsOf(path) ?? [], offset + (address - start), address - (first.get(path) ?? address)) & 2) !== 0;
  };
}

function pageOf(address: bigint): bigint {
  return address & ~0xfffn;
}

/** PF_* to PROT_*, and back: the bits for reading and executing change places. */
export function protectionOf(flags: number): number {
  return ((flags >> 2) & 1) | (flags & 2) | ((flags & 1) << 2);
}

interface MappingPiece {
  readonly start: bigint;
  readonly end: bigint;
  readonly load?: ProgramHeader;
  readonly file?: CoreMapping;
}

/** Cuts both lists where either begins or ends. */
function* pieces(loads: readonly ProgramHeader[], files: readonly CoreMapping[]): Generator<MappingPiece> {
  let loadIndex = 0;
  let fileIndex = 0;
  let at = 0n;
  for (;;) {
    let load = loads[loadIndex];
    while (load && endOf(load) <= at) load = loads[++loadIndex];
    let file = files[fileIndex];
    while (file && file.end <= at) file = files[++fileIndex];
    if (!load && !file) return;
    const inLoad = load !== undefined && load.pVaddr <= at;
    const inFile = file !== undefined && file.start <= at;
    const bounds: bigint[] = [];
    if (load) bounds.push(inLoad ? endOf(load) : load.pVaddr);
    if (file) bounds.push(inFile ? file.end : file.start);
    const end = bounds.reduce((a, b) => (a < b ? a : b));
    if (inLoad || inFile) yield { start: at, end, load: inLoad ? load : undefined, file: inFile ? file : undefined };
    at = end;
  }
}

function endOf(load: ProgramHeader): bigint {
  return load.pVaddr + ((load.pMemsz + 4095n) & ~4095n);
}

/** Addresses of which a core promises bytes that it does not have. */
export interface MissingRange {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * The bytes that a core holds, ascending; adjacent ones joined.
 * @param size of the file: what lies behind its end was cut off and is not counted
 * @param onCut called with what was cut off, and its bytes
 */
export function storedRanges(
  loads: readonly ProgramHeader[],
  size: bigint,
  onCut: (range: MissingRange, bytes: bigint) => void,
): StoredRange[] {
  const ranges: StoredRange[] = [];
  for (const { pVaddr, pOffset, pFilesz } of loads) {
    const left = pOffset >= size ? 0n : size - pOffset;
    // Whole pages only: half a page of a mapping would look like data followed by zeros.
    const length = (pFilesz <= left ? pFilesz : left) & ~4095n;
    if (length < pFilesz) onCut({ start: pVaddr + length, end: pVaddr + ((pFilesz + 4095n) & ~4095n) }, pFilesz - length);
    if (length === 0n) continue;
    const before = ranges.at(-1);
    if (before && before.address + before.length === pVaddr && before.offset + before.length === pOffset) {
      ranges[ranges.length - 1] = { ...before, length: before.length + length };
    } else ranges.push({ address: pVaddr, length, offset: pOffset });
  }
  return ranges;
}

/**
 * The same without holes of the file, whole pages: in anonymous memory what is not stored is zero anyhow.
 * @param dataIn the parts of a range of the file that are data, ascending
 */
export function withoutHoles(
  ranges: readonly StoredRange[],
  dataIn: (offset: bigint, length: bigint) => readonly { position: bigint; length: bigint }[],
): StoredRange[] {
  const kept: StoredRange[] = [];
  for (const range of ranges) {
    let done = 0n;
    for (const { position, length } of dataIn(range.offset, range.length)) {
      const from = pageOf(position - range.offset);
      const start = from > done ? from : done;
      const to = pageOf(position + length - range.offset + 4095n);
      const end = to < range.length ? to : range.length;
      if (end <= start) continue;
      const last = kept.at(-1);
      // Two runs of data in neighbouring pages are one range.
      if (last && start === done && done > 0n) kept[kept.length - 1] = { ...last, length: last.length + (end - start) };
      else kept.push({ address: range.address + start, length: end - start, offset: range.offset + start });
      done = end;
    }
  }
  return kept;
}

/** Parts of sorted ranges that lie in [start, end). */
export function rangesWithin(ranges: readonly StoredRange[], start: bigint, end: bigint): StoredRange[] {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = ranges[middle] as StoredRange;
    if (range.address + range.length > start) high = middle;
    else low = middle + 1;
  }
  const found: StoredRange[] = [];
  for (let range = ranges[low]; range && range.address < end; range = ranges[++low]) {
    const from = range.address > start ? range.address : start;
    const to = range.address + range.length < end ? range.address + range.length : end;
    found.push({ address: from, length: to - from, offset: range.offset + (from - range.address) });
  }
  return found;
}
