// SPDX-License-Identifier: Apache-2.0
/** The vmas table, and the objects behind mappings. */
import { ByteWriter } from "../bytes/byte-writer.js";
import { HeapWriter } from "../bytes/heaps.js";
import { decodeText } from "../bytes/text.js";
import { vmaRowSize, writeVmaRow } from "../gen/ckpt-elf-v2.js";
import { tableSpecs } from "../gen/table-specs.js";
import type { VmaRow, VmaKind } from "../gen/tables.js";
import { noteRecords } from "../elf/known-records.js";
import { lazyRows } from "../model/lazy-rows.js";
import { noteColumns } from "../model/space-columns.js";
import {
  close,
  encodeMappings,
  failed,
  fcntlCommand,
  openFlag,
  readMemory,
  smapsRow,
  type SortedMappings,
  sortMappings,
  tryFcntl,
  tryOpen,
  tryStat,
  tryStatfsType,
} from "../native/index.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { fileBuildId } from "./file-build-id.js";
import type { ObjectTable } from "./objects.js";
import { refusal } from "./refusal.js";
import { ringName } from "../linux/io-uring.js";
import { MFD_HUGE_SHIFT, MFD_HUGETLB } from "../linux/huge-pages.js";
import { type Mapping, type MappingTable, vmFlag, vmFlags } from "./smaps.js";

/** A mapping with what was found out about it. */
export interface VmaInfo {
  readonly mapping: Mapping;
  readonly kind: VmaKind;
  /** Row in objects, or null. */
  readonly object: number | null;
}

const special: ReadonlyMap<string, VmaKind> = new Map([
  ["[vdso]", "vdso"],
  ["[vvar]", "vvar"],
  ["[vvar_vclock]", "vvar"],
  ["[vsyscall]", "vsyscall"],
]);

const deviceMemory = vmFlags("io", "pf");
const userfault = vmFlags("um", "uw", "ui");

/** Mappings that crimg cannot make again are refused by name. */
function assertRestorable(process: DumpedProcess, mapping: Mapping, name: string): void {
  const where = `${process.pid} (${process.name}): memory at 0x${mapping.start.toString(16)}`;
  const has = (flag: bigint): boolean => (mapping.vmFlags & flag) !== 0n;
  if (special.has(name)) return;
  if (isRing(mapping)) return;
  if (name.startsWith("anon_inode:") || name.startsWith("/anon_inode:")) {
    throw refusal("mapping", `${where}: a mapping of ${name.replace(/^\/?anon_inode:/, "")}`);
  }
  if (name === "[uprobes]") throw refusal("uprobes", `${where}: uprobes are attached`);
  if (has(userfault)) throw refusal("userfaultfd", `${where}: registered with userfaultfd`);
  if (has(vmFlag("ss"))) throw refusal("shadow-stack", `${where}: a shadow stack`);
  if (has(deviceMemory)) throw refusal("device-memory", `${where}: memory of a device (${name || "no name"})`);
}

/** Mapped files by device, inode and name: most processes of a tree map the same ones. */
const knownFiles = new WeakMap<ObjectTable, Map<string, number>>();

/** Adds the rows of one address space. */
export function collectVmas(context: DumpContext, process: DumpedProcess, mm: number, mappings: readonly Mapping[]): VmaInfo[] {
  const files = knownFiles.get(context.objects) ?? new Map<string, number>();
  knownFiles.set(context.objects, files);
  const { tables } = context;
  const { table } = mappings[0] ?? {};
  if (table === undefined) return [];
  const { others } = table.summary;
  // Anonymous memory, of which there may be very many mappings, is not among these: nothing is to be found out about it.
  const found = Array.from(others, (index) => ofOther(mappings[index] as Mapping));
  const plain = (index: number): VmaInfo => ({ mapping: mappings[index] as Mapping, kind: "anon_private", object: null });
  const isWhole = !found.includes(undefined);
  if (isWhole && tables.vmas.length === 0 && mappings.length >= worthColumns) {
    const infos = lazyRows(mappings.length, plain);
    const rows = lazyRows(mappings.length, (index) => ordinaryRow(mm, table, index));
    others.forEach((index, place) => {
      const info = found[place] as VmaInfo;
      infos[index] = info;
      rows[index] = rowOf(mm, info);
    });
    tables.vmas = rows;
    noteAllAtOnce(rows, table);
    return infos;
  }
  const infos: VmaInfo[] = [];
  for (let index = 0, next = 0; index < mappings.length; index++) {
    const isOther = others[next] === index;
    const info = isOther ? found[next++] : plain(index);
    if (info === undefined) continue;
    infos.push(info);
    tables.vmas.push(isOther ? rowOf(mm, info) : ordinaryRow(mm, table, index));
  }
  return infos;

  function ofOther(mapping: Mapping): VmaInfo | undefined {
    const name = mapping.text;
    return context.blockers.attempt(() => {
      assertRestorable(process, mapping, name);
      return classify(context, process, mapping, name, files);
    });
  }
}

/** Mappings of the first process from which on it pays to pass them on as the addon has them. */
const worthColumns = 256;

/** Says of the table of mappings what its columns are, and most of its records. */
function noteAllAtOnce(vmas: readonly VmaRow[], table: MappingTable): void {
  let sorted: SortedMappings | undefined;
  const sort = (): SortedMappings => (sorted ??= sortMappings(table.rows, table.summary.others));
  noteColumns(vmas, () => {
    const { starts, ends, kinds, samples, alone } = sort();
    return { starts, ends, kinds, samples: Array.from(samples, (index) => vmas[index] as VmaRow), others: alone };
  });
  noteRecords(vmas, () => {
    const { kinds, alone, samples } = sort();
    const [sample] = samples;
    if (sample === undefined) return { bytes: new Uint8Array(vmas.length * vmaRowSize), open: Int32Array.from(vmas.keys()) };
    const template = encodeRow(vmas[sample] as VmaRow);
    return { bytes: encodeMappings(table.rows, kinds, template, vmaRecord), open: alone };
  });
}

/** Where in a record is what. */
const vmaRecord = {
  start: placeOf("start"),
  end: placeOf("end"),
  flags: placeOf("vmFlags"),
  prot: placeOf("prot"),
  key: placeOf("pkey"),
};

function placeOf(name: keyof VmaRow): number {
  const field = tableSpecs.find(({ table }) => table === "vmas")?.fields.find((one) => one.name === name);
  if (field === undefined) throw new Error(`no field ${name}`);
  return field.offset;
}

function encodeRow(row: VmaRow): Uint8Array {
  const writer = new ByteWriter(vmaRowSize);
  writeVmaRow(writer, row, new HeapWriter());
  return writer.finish();
}

/** Those that have a name, an inode or an unusual flag, found without a look at each of many thousands that have none. */
export function* unusualVmas(vmas: readonly VmaInfo[]): Generator<VmaInfo> {
  const { table } = vmas[0]?.mapping ?? {};
  if (table === undefined) return;
  // Refused ones are missing.
  const missing = table.rows.length / smapsRow.length - vmas.length;
  for (const index of table.summary.others) {
    for (let at = Math.max(0, index - missing); at < vmas.length; at++) {
      const vma = vmas[at] as VmaInfo;
      if (vma.mapping.index === index) yield vma;
      if (vma.mapping.index >= index) break;
    }
  }
}

function ordinaryRow(mm: number, { words, halves }: MappingTable, index: number): VmaRow {
  const at = index * smapsRow.length;
  const how = halves[(at + smapsRow.how) >> 2] as number;
  return {
    mm,
    kind: "anon_private",
    start: words[(at + smapsRow.start) >> 3] as bigint,
    end: words[(at + smapsRow.end) >> 3] as bigint,
    offset: words[(at + smapsRow.offset) >> 3] as bigint,
    prot: how & 7,
    object: null,
    vmFlags: words[(at + smapsRow.flags) >> 3] as bigint,
    isHeap: 0,
    isStack: 0,
    pkey: how >>> 8,
    hugeShift: 0,
    name: "",
  };
}

function rowOf(mm: number, { mapping, kind, object }: VmaInfo): VmaRow {
  const name = mapping.text;
  return {
    ...ordinaryRow(mm, mapping.table, mapping.index),
    kind,
    object,
    isHeap: name === "[heap]" ? 1 : 0,
    isStack: name === "[stack]" ? 1 : 0,
    hugeShift: hugeShiftOf(mapping),
    name: name === "" ? "" : vmaName(mapping, kind),
  };
}

/** The name that PR_SET_VMA_ANON_NAME gave, or of special mappings the name shown. */
function vmaName(mapping: Mapping, kind: VmaKind): string {
  const match = /^\[anon(?:_shmem)?:(.*)\]$/s.exec(mapping.text);
  if (match) return decodeText(Buffer.from(match[1] ?? "", "latin1"));
  return kind === "vdso" || kind === "vvar" || kind === "vsyscall" || kind === "special" ? decodeText(mapping.name) : "";
}

function classify(context: DumpContext, process: DumpedProcess, mapping: Mapping, name: string, files: Map<string, number>): VmaInfo {
  const known = special.get(name);
  if (known !== undefined) return { mapping, kind: known, object: null };
  const end = mapping.offset + (mapping.end - mapping.start);
  if (isAioRing(mapping)) {
    assertAioContext(process, mapping);
    return { mapping, kind: "aio_ring", object: null };
  }
  if (name === hugePages) {
    if (!mapping.isShared) return { mapping, kind: "anon_private", object: null };
    const object = context.objects.addSharedMemory(mapping.devMajor, mapping.devMinor, mapping.ino, end);
    context.objects.update(object, { memfdFlags: hugeFlags(mapping) });
    return { mapping, kind: "anon_shared", object };
  }
  // The first segment of a host has inode number 0.
  if (isSegment(mapping)) return { mapping, kind: "anon_shared", object: addSegment(context, process, mapping, end) };
  if (mapping.ino === 0n) return { mapping, kind: "anon_private", object: null };
  if (name === "/dev/zero (deleted)" || name.startsWith("[anon_shmem:")) {
    const object = context.objects.addSharedMemory(mapping.devMajor, mapping.devMinor, mapping.ino, end);
    return { mapping, kind: mapping.isShared ? "anon_shared" : "file_private", object };
  }
  const key = `${mapping.devMajor}:${mapping.devMinor}:${mapping.ino}:${name}`;
  if (name.startsWith("socket:[") || isRing(mapping)) {
    const object = context.objects.addMappedDescriptor(mapping.ino, isRing(mapping) ? ringName : name);
    return { mapping, kind: mapping.isShared ? "file_shared" : "file_private", object };
  }
  let object = files.get(key);
  if (object === undefined) {
    object = addMappedFile(context, process, mapping);
    files.set(key, object);
  }
  return { mapping, kind: mapping.isShared ? "file_shared" : "file_private", object };
}

/** Anonymous memory of huge pages. */
const hugePages = "/anon_hugepage (deleted)";

/** Logarithm of the page size of hugetlb memory; 0 for all other memory. */
function hugeShiftOf({ vmFlags, pageSize }: Mapping): number {
  return (vmFlags & vmFlag("ht")) === 0n ? 0 : 31 - Math.clz32(pageSize);
}

/** As memfd_create takes it: MFD_HUGETLB and the size. */
function hugeFlags(mapping: Mapping): number {
  const shift = hugeShiftOf(mapping);
  return shift === 0 ? 0 : (MFD_HUGETLB | (shift << MFD_HUGE_SHIFT)) >>> 0;
}

/** A window of huge pages cannot be taken from another mapping (mremap): the whole segment is attached where it was. */
function addSegment(context: DumpContext, process: DumpedProcess, mapping: Mapping, end: bigint): number {
  const object = context.objects.addSegment(Number(mapping.ino), end);
  const flags = hugeFlags(mapping);
  if (flags === 0) return object;
  context.objects.update(object, { memfdFlags: flags });
  if (mapping.offset !== 0n) {
    throw refusal(
      "sysv-hugetlb",
      `${process.pid} (${process.name}): memory at 0x${mapping.start.toString(16)}: a part of a System V segment of huge pages`,
      { hint: "The program unmapped or protected a part of it: let it attach it as a whole." },
    );
  }
  return object;
}

/** The queues and requests of an io_uring: pages of the kernel, of which a new ring has none. */
export function isRing({ text, isShared }: Mapping): boolean {
  return isShared && /^\/?anon_inode:\[io_uring\]$/.test(text);
}

function isAioRing({ text, devMajor }: Mapping): boolean {
  return devMajor === 0 && text.startsWith("/[aio]");
}

/** A child has the ring of its parent mapped, but not the context; and a part of a ring names none. */
function assertAioContext(process: DumpedProcess, { start, end, offset }: Mapping): void {
  const where = `${process.pid} (${process.name}): memory at 0x${start.toString(16)}`;
  const found = process.injector().call("io_getevents", start, 0, 0, 0, 0);
  if (failed(found)) {
    throw refusal("aio", `${where}: the ring of an asynchronous I/O context (io_setup) that is not this process's`, {
      hint: "A child inherits the mapping but not the context: let it unmap that, or call exec.",
    });
  }
  const counts = Buffer.alloc(4);
  readMemory(process.pid, start + 4n, counts);
  if (offset === 0n && counts.readUInt32LE() === Number(end - start - 32n) / 32) return;
  throw refusal("aio", `${where}: a part of the ring of an asynchronous I/O context (io_setup)`, {
    hint: "The program changed the protection of a part of the ring: let it undo that.",
  });
}

/** System V shared memory; its inode number is the id. Another file of that name would have a device and a folder. */
export function isSegment({ text, devMajor, isShared }: Mapping): boolean {
  return isShared && devMajor === 0 && /^\/SYSV[0-9a-f]{8} \(deleted\)$/.test(text);
}

/** The link in /proc/PID/map_files, which leads to the very file whatever its name says today. */
export function mapFilesPath(pid: number, mapping: Mapping): string {
  return `/proc/${pid}/map_files/${mapping.start.toString(16)}-${mapping.end.toString(16)}`;
}

function addMappedFile(context: DumpContext, process: DumpedProcess, mapping: Mapping): number {
  const holder = `${process.pid} (${process.name}): file mapped at 0x${mapping.start.toString(16)}`;
  const link = mapFilesPath(process.pid, mapping);
  const byLink = tryStat(link);
  const exact = typeof byLink !== "number";
  // Following links of map_files takes CAP_CHECKPOINT_RESTORE; the path is as good if it still names that inode.
  const path = exact ? link : context.view.path(decodeText(mapping.name), context.view.spaceOfTask(process));
  const stat = exact ? byLink : tryStat(path);
  const isSame =
    typeof stat !== "number" &&
    (exact || (stat.ino === mapping.ino && stat.devMajor === mapping.devMajor && stat.devMinor === mapping.devMinor));
  if (typeof stat === "number" || !isSame) {
    if (mapping.text.endsWith(" (deleted)")) return addUnreachable(context, mapping, holder);
    throw refusal("mapped-file", `${holder}: ${path} is no longer the file that is mapped`);
  }
  const magic = tryStatfsType(path);
  return context.objects.add({
    stat,
    link: mapping.name,
    fsMagic: typeof magic === "number" ? 0n : magic,
    holder,
    space: context.view.spaceOfFile(process, mapping.name, stat),
    fields: {
      ...fileBuildId(path, stat),
      ...(isMemfd(mapping) ? { seals: sealsOf(path), memfdFlags: hugeFlags(mapping) } : {}),
    },
  });
}

const isMemfd = ({ text }: Mapping): boolean => text.startsWith("/memfd:");

/** Seals of a memfd that is mapped, and perhaps open nowhere. */
function sealsOf(path: string): number {
  const fd = tryOpen(path, openFlag.RDONLY);
  if (failed(fd)) return 0;
  const seals = tryFcntl(fd, fcntlCommand.GET_SEALS);
  close(fd);
  return failed(seals) ? 0 : seals;
}

/** An unlinked file or memfd that an ordinary user sees only through the mapping itself. */
function addUnreachable(context: DumpContext, mapping: Mapping, holder: string): number {
  const memfd = isMemfd(mapping);
  if (memfd && !context.objects.isKnown(mapping.devMajor, mapping.devMinor, mapping.ino)) {
    context.lose("dump.memfd-seals", `${holder}: only root can see the seals of a memfd that is open nowhere; it comes back without any`);
  }
  return context.objects.add({
    stat: {
      dev: 0n,
      devMajor: mapping.devMajor,
      devMinor: mapping.devMinor,
      rdevMajor: 0,
      rdevMinor: 0,
      ino: mapping.ino,
      mode: memfd ? 0o100777 : 0o100600,
      nlink: 0,
      uid: 0,
      gid: 0,
      size: 0n,
      atimeNs: 0n,
      mtimeNs: 0n,
    },
    link: mapping.name,
    fsMagic: 0n,
    holder,
  });
}
