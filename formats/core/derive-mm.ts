// SPDX-License-Identifier: Apache-2.0
/** The mm fields that a core does not state: program layout, heap, stack, and which mapping is which. */
import { auxType } from "../../src/model/auxv.js";
import { buildIdOf, layOutProgram, readProgramHeaders, readSegments, type ProgramLayout, type ReadBytes } from "./elf-facts.js";
import { segmentTypeValues, type ProgramHeader } from "../../src/gen/elf64.js";
import type { ReadMemory } from "../../src/model/initial-stack.js";
import type { HostFiles } from "./host-files.js";
import type { Mapping } from "./mappings.js";
import type { CoreMapping } from "./process-notes.js";

export interface Program {
  /** Name in NT_FILE. */
  readonly path?: string;
  readonly layout?: ProgramLayout;
}

/** The executable: the file whose mapping holds the program headers that AT_PHDR points to. */
export function findProgram(read: ReadMemory, aux: ReadonlyMap<bigint, bigint>, files: readonly CoreMapping[], host: HostFiles): Program {
  const headers = aux.get(auxType.phdr);
  const entry = aux.get(auxType.entry);
  const holder = files.find(({ start, end }) =>
    [headers, entry].some((address) => address !== undefined && start <= address && address < end),
  );
  const count = Number(aux.get(auxType.phnum) ?? 0n);
  const inMemory = headers === undefined ? undefined : readProgramHeaders(read, headers, count);
  const segments = inMemory ?? (holder && host.get(holder.path)?.segments);
  if (!segments || headers === undefined) return { path: holder?.path };
  // PT_PHDR says where the headers are without the bias; without one (static programs) they follow the ELF header of
  // the first segment.
  const own = segments.find(({ pType }) => pType === segmentTypeValues.phdr);
  const first = segments.find(({ pType }) => pType === segmentTypeValues.load);
  const bias = own ? headers - own.pVaddr : first ? headers - 64n - (first.pVaddr - first.pOffset) : 0n;
  return { path: holder?.path, layout: layOutProgram(segments, bias) };
}

/** An ELF file as its first page in memory shows it. */
export interface ElfImage {
  readonly segments: readonly ProgramHeader[];
  readonly buildId?: Uint8Array;
}

/** Mapped ELF files whose first page is in the core (coredump_filter has it so by default), by name. */
export function imagesInCore(read: ReadMemory, files: readonly CoreMapping[]): Map<string, ElfImage> {
  const images = new Map<string, ElfImage>();
  for (const { path, start, end, offset } of files) {
    if (offset !== 0n || images.has(path)) continue;
    const within = readWithin(read, start, end);
    const segments = readSegments(within);
    if (segments) images.set(path, { segments, buildId: buildIdOf(within, segments, ({ pOffset }) => pOffset) });
  }
  return images;
}

/** Build-id of an ELF image in memory. */
export function buildIdAt(read: ReadMemory, start: bigint, end: bigint): Uint8Array | undefined {
  const within = readWithin(read, start, end);
  const segments = readSegments(within);
  return segments && buildIdOf(within, segments, ({ pOffset }) => pOffset);
}

function readWithin(read: ReadMemory, start: bigint, end: bigint): ReadBytes {
  return (position, length) => (position >= 0n && start + position + BigInt(length) <= end ? read(start + position, length) : undefined);
}

/** The mapping of the main stack: it holds the strings that the auxiliary vector points to. */
export function findStack(mappings: readonly Mapping[], aux: ReadonlyMap<bigint, bigint>, stackPointer: bigint): Mapping | undefined {
  for (const address of [aux.get(auxType.random), aux.get(auxType.execfn), stackPointer]) {
    const found = mappings.find(({ start, end, file }) => !file && address !== undefined && start <= address && address < end);
    if (found) return found;
  }
  return undefined;
}

/** How far above bss the kernel may put the heap (arch/x86/kernel/process.c: arch_randomize_brk). */
const maxHeapDistance = 1n << 30n;

/**
 * The heap: anonymous, writable, not executable, at most 1 GiB above bss. Where several mappings fit, the one that
 * begins like glibc's arena (a chunk with the per-thread cache), else the highest that does not begin at a round
 * address: those are what programs choose for fixed mappings.
 */
export function findHeap(
  read: ReadMemory,
  mappings: readonly Mapping[],
  layout: ProgramLayout | undefined,
  stack: Mapping | undefined,
): Mapping | undefined {
  if (!layout) return undefined;
  const floor = (layout.endBss + 4095n) & ~4095n;
  const candidates = mappings.filter(
    (one) =>
      !one.file &&
      one !== stack &&
      one.prot === 3 &&
      one.end > floor &&
      one.start >= layout.startData &&
      one.start <= floor + maxHeapDistance,
  );
  const startsArena = ({ start }: Mapping) => {
    const head = read(start, 16);
    if (!head) return false;
    const view = new DataView(head.buffer, head.byteOffset, 16);
    return view.getBigUint64(0, true) === 0n && [0x251n, 0x291n].includes(view.getBigUint64(8, true));
  };
  return candidates.find(startsArena) ?? candidates.findLast(({ start }) => start <= floor || start % (1n << 20n) !== 0n);
}
