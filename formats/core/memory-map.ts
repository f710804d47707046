// SPDX-License-Identifier: Apache-2.0
/** The address space of a core (row 0 of mms) as rows of vmas, objects and extents. */
import { extentRow, vmaRow, type MutableTables, type VmaRow } from "../../src/gen/tables.js";
import { auxType } from "../../src/model/auxv.js";
import type { ElfImage } from "./derive-mm.js";
import type { HostFiles } from "./host-files.js";
import { rangesWithin, type Mapping, type StoredRange } from "./mappings.js";
import { classOf, isSharedMemory, objectFromName } from "./objects.js";
import { ownVdsoLayout } from "./vdso-layout.js";

/** Fixed by the architecture (arch/x86/include/uapi/asm/vsyscall.h). */
const vsyscallStart = 0xffffffffff600000n;
/** VmFlags of the main stack, which is alike everywhere: rd wr mr mw me gd ac. */
const stackFlags = [0, 1, 4, 5, 6, 8, 20].reduce((flags, bit) => flags | (1n << BigInt(bit)), 0n);

export interface MemoryMapInput {
  readonly mappings: readonly Mapping[];
  readonly stored: readonly StoredRange[];
  /** The same without holes. */
  readonly data: readonly StoredRange[];
  readonly aux: ReadonlyMap<bigint, bigint>;
  readonly host: HostFiles;
  /** Mapped ELF files as the core itself shows them, by name of NT_FILE. */
  readonly images: ReadonlyMap<string, ElfImage>;
  readonly stack?: Mapping;
  readonly heap?: Mapping;
  /** PROT_NONE was told by all bytes being zero. */
  readonly isGcore: boolean;
}

/** Appends vmas, objects and extents to the tables. */
export function addMemoryMap(tables: MutableTables, input: MemoryMapInput): void {
  const vdso = input.aux.get(auxType.sysinfoEhdr);
  const kernels = kernelMappings(input.mappings, vdso);
  const objects = new Map<string, number>();
  for (const mapping of input.mappings) {
    const kernel = kernels.get(mapping);
    if (kernel) tables.vmas.push(kernel);
    else if (mapping.file) addFileMapping(tables, input, mapping, mapping.file.path, objects);
    else addAnonymous(tables, input, mapping);
  }
  if (vdso !== undefined) addMissingVvar(tables, vdso);
  tables.vmas.sort((a, b) => (a.start < b.start ? -1 : 1));
  // Extents of one owner are together: the address space first, then each object.
  const ownerOf = ({ ownerKind, owner }: (typeof tables.extents)[number]) => (ownerKind === "mm" ? -1 : owner);
  tables.extents.sort((a, b) => ownerOf(a) - ownerOf(b) || (a.address < b.address ? -1 : 1));
}

/** Rows for [vdso], what lies right below it, and [vsyscall]. Their bytes are the running kernel's: none are kept. */
function kernelMappings(mappings: readonly Mapping[], vdso: bigint | undefined): Map<Mapping, VmaRow> {
  const rows = new Map<Mapping, VmaRow>();
  let below = vdso;
  for (let index = mappings.length - 1; index >= 0; index--) {
    const mapping = mappings[index] as Mapping;
    if (mapping.file) continue;
    const { start, end, prot } = mapping;
    if (start === vsyscallStart) rows.set(mapping, vmaRow({ kind: "vsyscall", start, end, prot, name: "[vsyscall]" }));
    else if (start === vdso) rows.set(mapping, vmaRow({ kind: "vdso", start, end, prot, name: "[vdso]" }));
    else if (end === below && prot === 1) {
      // Upwards: [vvar], [vvar_vclock], [vdso]; before Linux 6.13 there is only one mapping below the vDSO.
      const isNearest = below === vdso;
      const next = mappings[index - 1];
      const hasAnother = next !== undefined && next.end === start && next.prot === 1 && !next.file;
      rows.set(mapping, vmaRow({ kind: "vvar", start, end, prot, name: isNearest && hasAnother ? "[vvar_vclock]" : "[vvar]" }));
      below = start;
    }
  }
  return rows;
}

/** gcore leaves [vvar] out: where the running kernel's vDSO has the same size, its layout says where they were. */
function addMissingVvar(tables: MutableTables, vdso: bigint): void {
  const row = tables.vmas.find(({ kind }) => kind === "vdso");
  if (!row || tables.vmas.some(({ kind }) => kind === "vvar")) return;
  const layout = ownVdsoLayout();
  if (layout.find(({ name }) => name === "vdso")?.length !== row.end - row.start) return;
  for (const { name, distance, length } of layout) {
    if (name === "vdso") continue;
    const [start, end] = [vdso + distance, vdso + distance + length];
    if (tables.vmas.some((vma) => vma.start < end && start < vma.end)) continue;
    tables.vmas.push(vmaRow({ kind: "vvar", start, end, prot: 1, name: `[${name}]` }));
  }
}

function addAnonymous(tables: MutableTables, input: MemoryMapInput, mapping: Mapping): void {
  const { start, end, prot } = mapping;
  const isStack = mapping === input.stack;
  const isHeap = mapping === input.heap;
  tables.vmas.push(
    vmaRow({
      kind: "anon_private",
      start,
      end,
      prot,
      isStack: Number(isStack),
      isHeap: Number(isHeap),
      vmFlags: isStack ? stackFlags : 0n,
    }),
  );
  // Without access and zero (a guard): there is nothing to keep.
  if (prot !== 0 || !input.isGcore) addPrivateExtents(tables, input.data, mapping);
}

function addFileMapping(tables: MutableTables, input: MemoryMapInput, mapping: Mapping, name: string, objects: Map<string, number>): void {
  const { start, end, prot, file } = mapping;
  const kind = classOf(name);
  const offset = (file?.offset ?? 0n) + (start - (file?.start ?? start));
  // All shared anonymous memory has the same name: each mapping is taken for memory of its own.
  const key = kind === "shared_memory" ? `${name}@${start}` : name;
  const size = offset + (end - start);
  const known = objects.get(key);
  let object = known;
  if (object === undefined) {
    object = tables.objects.push(objectFromName(name, size, input.images.get(name)?.buildId, input.host)) - 1;
    objects.set(key, object);
  } else {
    const row = tables.objects[object];
    if (row && row.kind !== "file" && row.size < size) tables.objects[object] = { ...row, size };
  }
  if (!isSharedMemory(kind)) {
    tables.vmas.push(vmaRow({ kind: "file_private", start, end, offset, prot, object }));
    // A hole here is a page of zeros, which differs from the file's: holes are kept.
    addPrivateExtents(tables, input.stored, mapping);
    return;
  }
  tables.vmas.push(vmaRow({ kind: kind === "memfd" ? "file_shared" : "anon_shared", start, end, offset, prot, object }));
  const taken = tables.extents.filter(({ ownerKind, owner }) => ownerKind === "object" && owner === object);
  for (const range of rangesWithin(input.data, start, end)) {
    const address = range.address - start + offset;
    // A second window on the same memory shows the same bytes.
    if (taken.some((one) => one.address < address + range.length && address < one.address + one.length)) continue;
    tables.extents.push(extentRow({ ownerKind: "object", owner: object, address, length: range.length, fileOffset: range.offset }));
  }
}

function addPrivateExtents(tables: MutableTables, ranges: readonly StoredRange[], { start, end }: Mapping): void {
  for (const { address, length, offset } of rangesWithin(ranges, start, end)) {
    tables.extents.push(extentRow({ ownerKind: "mm", owner: 0, address, length, fileOffset: offset }));
  }
}
