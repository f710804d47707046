// SPDX-License-Identifier: Apache-2.0
/** Puts the processes of a 2011 image together into a checkpoint. Both formats use it. */
import type { CoreEntry, VmaEntry } from "../gen/ckpt-elf-v1.js";
import {
  type ExtentRow,
  type MutableTables,
  checkpointRow,
  descriptorRow,
  emptyTables,
  extentRow,
  objectRow,
  openFileRow,
  pipeRow,
} from "../gen/tables.js";
import { Checkpoint } from "../model/checkpoint.js";
import type { PageSource } from "../model/page-source.js";
import type { ClassifiedArea } from "./classify.js";
import { coreBytes, coreToWire, mmFromWire, taskFromWire, threadFromWire } from "./core.js";
import { type ForeignKey, foreignKeys, foreignOf, sameBytes } from "./foreign.js";
import { type ReadMemory, argumentsFromStack, exeOf, fieldsFromAreas, isPlausible } from "./mm-fields.js";
import type { PageRun } from "./page-list.js";
import { RangeSet } from "./range-set.js";
import { namesOfEntries, vmaEntryBytes, vmaFromWire, vmaToWire } from "./vma.js";

/** Capacity of a new pipe, bytes. */
const pipeCapacity = 65536;

/** A process as its core describes it. */
export interface WireProcess {
  readonly pid: number;
  /** Row of the parent in `tasks`. */
  readonly parent: number | null;
  readonly core: CoreEntry;
  /** The 16,384 bytes of `core`. */
  readonly coreBytes: Uint8Array;
  readonly vmas: readonly VmaEntry[];
  /** What each of `vmas` becomes. */
  readonly areas: readonly ClassifiedArea[];
}

/** Rows that a process got. */
export interface ProcessRows {
  readonly task: number;
  readonly mm: number;
  /** Row of its first area in `vmas`. */
  readonly firstVma: number;
}

export class ModelBuilder {
  readonly tables: MutableTables = emptyTables();
  readonly #sources: PageSource[] = [];
  readonly #objects = new Map<string, number>();
  readonly #covered = new Map<number, RangeSet>();
  readonly #objectExtents = new Map<number, ExtentRow[]>();
  readonly #mappedFiles = new Map<string, number>();
  readonly #pipes = new Map<string, number>();
  readonly #standardFiles: number[] = [];

  constructor(readonly sourceFormat: string) {}

  addSource(source: PageSource): number {
    return this.#sources.push(source) - 1;
  }

  addProcess(process: WireProcess): ProcessRows {
    const { tables } = this;
    const { core, pid } = process;
    const task = tables.tasks.length;
    const mm = tables.mms.length;
    const firstVma = tables.vmas.length;
    const ppid = process.parent === null ? 0 : (tables.tasks[process.parent]?.pid ?? 0);
    const taskRow = taskFromWire(core, { pid, parent: process.parent, ppid, mm });
    const thread = threadFromWire(core, task, pid);
    const mmRow = mmFromWire(core);
    tables.tasks.push(taskRow);
    tables.threads.push(thread);
    tables.mms.push(mmRow);
    if (!sameBytes(coreBytes(coreToWire(taskRow, thread, mmRow)), process.coreBytes))
      this.keep("tasks", task, foreignKeys.core, process.coreBytes);
    const names = namesOfEntries(process.vmas);
    process.vmas.forEach((entry, index) => {
      const area = process.areas[index];
      if (area) this.#addVma(entry, area, mm, names[index] ?? "", pid);
    });
    this.#settleMm(mm, firstVma, process);
    return { task, mm, firstVma };
  }

  #addVma(entry: VmaEntry, area: ClassifiedArea, mm: number, name: string, pid: number): void {
    const { tables } = this;
    const row = vmaFromWire(entry, area.kind, mm, this.#objectOf(entry, area), name);
    const index = tables.vmas.push(row) - 1;
    const derived = vmaToWire(row, row.object === null ? undefined : tables.objects[row.object], pid);
    const bytes = vmaEntryBytes(entry);
    if (!sameBytes(vmaEntryBytes(derived), bytes)) this.keep("vmas", index, foreignKeys.vma, bytes);
  }

  /** Corrects what cannot be true and adds what follows from the areas. */
  #settleMm(mm: number, firstVma: number, { core, coreBytes: raw }: WireProcess): void {
    const { tables } = this;
    const vmas = tables.vmas.slice(firstVma);
    let row = tables.mms[mm];
    if (!row) return;
    if (!isPlausible(row)) {
      row = fieldsFromAreas(row, vmas, core.gpregs.sp);
      const task = tables.tasks.length - 1;
      if (!tables.foreign.some((one) => one.key === foreignKeys.core && one.row === task)) this.keep("tasks", task, foreignKeys.core, raw);
    }
    const vdsoBase = vmas.find((vma) => vma.kind === "vdso")?.start ?? 0n;
    tables.mms[mm] = { ...row, vdsoBase, exe: exeOf(row, vmas, tables.objects) };
  }

  #objectOf(entry: VmaEntry, { kind, path }: ClassifiedArea): number | null {
    const inode = { devMajor: entry.devMaj, devMinor: entry.devMin, ino: entry.ino };
    const key = `${entry.devMaj}:${entry.devMin}:${entry.ino}`;
    if (kind === "anon_shared") {
      const object = this.#object(`shm ${key}`, () => objectRow({ kind: "shared_memory", nlink: 0, ...inode }));
      const size = entry.pgoff + (entry.end - entry.start);
      const row = this.tables.objects[object];
      if (row && row.size < size) this.tables.objects[object] = { ...row, size };
      return object;
    }
    if (kind !== "file_private" && kind !== "file_shared") return null;
    const object = this.#object(`file ${key} ${path ?? ""}`, () => objectRow({ kind: "file", path: path ?? "", nlink: 1, ...inode }));
    if (path !== undefined && !this.#mappedFiles.has(path)) this.#mappedFiles.set(path, object);
    return object;
  }

  #object(key: string, make: () => MutableTables["objects"][number]): number {
    const known = this.#objects.get(key);
    if (known !== undefined) return known;
    const index = this.tables.objects.push(make()) - 1;
    this.#objects.set(key, index);
    return index;
  }

  /** The object of a path that a descriptor names; that of a mapping of the same path if there is one. */
  fileObject(path: string): number {
    return this.#mappedFiles.get(path) ?? this.#object(`path ${path}`, () => objectRow({ kind: "file", path, nlink: 1 }));
  }

  /**
   * The open file of a pipe's end: ends of one pipe with the same flags are taken for one, as fork leaves them.
   * @param flags without O_CLOEXEC
   */
  pipeFile(pipeid: number, flags: number, data: Uint8Array): number {
    const { tables } = this;
    const pipe = this.#indexed(`pipe ${pipeid}`, () => tables.pipes.push(pipeRow({ ino: BigInt(pipeid), capacity: pipeCapacity })) - 1);
    const row = tables.pipes[pipe];
    if (row && row.data.length === 0 && data.length > 0) {
      const capacity = Math.max(pipeCapacity, 2 ** Math.ceil(Math.log2(data.length)));
      tables.pipes[pipe] = { ...row, capacity, data: data.slice() };
    }
    return this.#indexed(`end ${pipeid} ${flags}`, () => tables.files.push(openFileRow({ kind: "pipe", detail: pipe, flags })) - 1);
  }

  #indexed(key: string, add: () => number): number {
    const known = this.#pipes.get(key);
    if (known !== undefined) return known;
    const index = add();
    this.#pipes.set(key, index);
    return index;
  }

  /** Descriptors 0 to 2, which the formats leave out: they are the caller's, as with the restorer of 2011. */
  addStandardDescriptors(task: number, taken: ReadonlySet<number>): void {
    for (let fd = 0; fd < 3; fd++) {
      if (taken.has(fd)) continue;
      const file = (this.#standardFiles[fd] ??= this.tables.files.push(openFileRow({ kind: "inherited", detail: fd, flags: 2 })) - 1);
      this.tables.descriptors.push(descriptorRow({ task, fd, file }));
    }
  }

  /** Pages of private areas. Rows are ascending whatever the order of the runs. */
  addPrivatePages(mm: number, runs: readonly PageRun[], source: number): void {
    const sorted = [...runs].sort((a, b) => (a.va < b.va ? -1 : a.va > b.va ? 1 : 0));
    for (const run of sorted) {
      this.tables.extents.push(
        extentRow({ ownerKind: "mm", owner: mm, address: run.va, length: run.length, fileOffset: run.position, source }),
      );
    }
  }

  /** Pages of shared memory by offset in the object. What another process gave already is left out. */
  addSharedPages(object: number, offset: bigint, run: PageRun, source: number): void {
    let covered = this.#covered.get(object);
    if (!covered) this.#covered.set(object, (covered = new RangeSet()));
    let rows = this.#objectExtents.get(object);
    if (!rows) this.#objectExtents.set(object, (rows = []));
    for (const gap of covered.add(offset, run.length)) {
      rows.push(
        extentRow({
          ownerKind: "object",
          owner: object,
          address: gap.start,
          length: gap.length,
          fileOffset: run.position + (gap.start - offset),
          source,
        }),
      );
    }
  }

  keep(table: "checkpoint" | "tasks" | "vmas", row: number, key: ForeignKey, value: Uint8Array): void {
    this.tables.foreign.push(foreignOf(table, row, key, value.slice()));
  }

  /** Closes the page sources after a failure. */
  discard(): void {
    for (const source of this.#sources) source.close();
  }

  finish(): Checkpoint {
    const { tables } = this;
    for (const [object] of tables.objects.entries()) {
      const rows = this.#objectExtents.get(object) ?? [];
      rows.sort((a, b) => (a.address < b.address ? -1 : 1));
      for (const row of rows) tables.extents.push(row);
    }
    tables.checkpoint.push(
      checkpointRow({ xfeatures: 3n, rootTask: 0, pageSize: 4096, sourceFormat: this.sourceFormat, machine: "x86_64" }),
    );
    const checkpoint = new Checkpoint({ tables, sources: this.#sources });
    tables.mms.forEach((row, mm) => {
      tables.mms[mm] = argumentsFromStack(row, stackReader(checkpoint, mm, row.startStack));
    });
    return checkpoint;
  }
}

/** Reads stored bytes of the area that holds an address, where they lie in one extent. */
function stackReader(checkpoint: Checkpoint, mm: number, stack: bigint): ReadMemory {
  const area = checkpoint
    .vmasOf(mm)
    .map((index) => checkpoint.tables.vmas[index])
    .find((vma) => vma && vma.start <= stack && stack < vma.end);
  const extents = area ? checkpoint.extentsOf({ mm }).filter((row) => row.address >= area.start && row.address < area.end) : [];
  return (address, length) => {
    const end = address + BigInt(length);
    const extent = extents.find((row) => row.address <= address && end <= row.address + row.length);
    const source = extent && checkpoint.sources[extent.source];
    if (!extent || !source) return undefined;
    const bytes = new Uint8Array(length);
    source.read(extent.fileOffset + (address - extent.address), bytes);
    return bytes;
  };
}
