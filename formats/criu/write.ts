// SPDX-License-Identifier: Apache-2.0
/** The model → an image directory that `criu restore` takes. */
import { writeLocks } from "./map/map-locks.js";
import { writeSeccomp } from "./map/map-seccomp.js";
import { create, fromBinary } from "@bufbuild/protobuf";
import type { WriteOptions } from "../../src/adapter/format.js";
import type { Output } from "../../src/adapter/output.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Tables } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { lengthOf, PageCopies } from "../../src/pages/page-copies.js";
import { compressionByName, writeArchive } from "./archive/write-archive.js";
import { u32Values, ImageSetIds } from "./ids/image-set-ids.js";
import { ForeignReader, wholeCheckpoint } from "./foreign/foreign.js";
import { CoreEntrySchema } from "./gen/core_pb.js";
import { FdinfoEntrySchema, type FileEntry, FileEntrySchema } from "./gen/files_pb.js";
import { MemfdInodeSchema, MmEntrySchema, VmaEntrySchema } from "./gen/memory_pb.js";
import { RemapFilePathSchema } from "./gen/payload_pb.js";
import {
  FsEntrySchema,
  type Inventory,
  InventorySchema,
  type KernelIds,
  KernelIdsSchema,
  TimensEntrySchema,
  TreeEntrySchema,
} from "./gen/tree_pb.js";
import { ImageWriter } from "./wire/image-writer.js";
import { inventoryName, isModelled } from "./wire/image-types.js";
import { writeCgroups } from "./map/cgroup-images.js";
import { fileMappings } from "./map/kinds.js";
import { fileToWire, pathFileToWire } from "./map/map-file.js";
import { mmToWire, vmasToWire } from "./map/map-mm.js";
import { isNamespaceImage, writeNamespaces } from "./map/namespace-images.js";
import { linkTargetToWire, memfdInodeToWire, noOwner, regToWire, remapType } from "./map/map-object.js";
import { isRemoved } from "./map/removed.js";
import {
  coreToWire,
  deadCoreToWire,
  fsToWire,
  idsToWire,
  inventoryToWire,
  objectFileToWire,
  rootDirectory,
  treeToWire,
} from "./wire/to-wire.js";
import { countForms } from "./pages/page-flags.js";
import { descriptorsName, descriptorsToWire } from "./map/standard-streams.js";
import { withVdso } from "./map/vdso.js";
import { writeGhost } from "./pages/write-ghost.js";
import { type MapRun, runsOfMm, runsOfObject, writePages } from "./pages/write-pages.js";

/** Writes the set as a directory, or as an archive if its name asks for one. Losses are told by losses.ts. */
export async function writeCriu(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  const compression = compressionByName(output.path);
  if (compression === undefined) return await writeSet(checkpoint, output, options);
  const like = options.extra?.["like"];
  await writeArchive(checkpoint, output, compression, typeof like === "string" ? like : undefined, (set, enginePoints) =>
    writeSet(checkpoint, set, options, enginePoints),
  );
}

async function writeSet(
  checkpoint: Checkpoint,
  output: Output,
  options: WriteOptions,
  enginePoints: ReadonlySet<string> = new Set(),
): Promise<void> {
  const context = new ImageSetIds(checkpoint.tables, new ForeignReader(checkpoint.tables), fileMappings, enginePoints);
  const files = collectFiles(context);
  writeTree(output, checkpoint, context);
  writeTasks(output, checkpoint, context, files);
  writeFiles(output, context, files);
  for (const mapping of Object.values(fileMappings)) mapping.writeImages?.(output, context);
  writeLocks(output, context);
  writeCgroups(output, context);
  await writeNamespaces(output, checkpoint, context);
  writeCarried(output, context);
  const descriptors = descriptorsToWire(context);
  if (descriptors !== undefined) {
    const writer = new ImageWriter(output, descriptorsName, null);
    writer.raw(Buffer.from(descriptors));
    writer.flush();
  }
  await writeContents(output, checkpoint, context, options);
}

const inventoryOf = ({ tables, foreign }: ImageSetIds): Inventory =>
  foreign.apply(wholeCheckpoint, "inventory", InventorySchema, inventoryToWire(tables));

const idsOf = (context: ImageSetIds, row: number): KernelIds =>
  context.foreign.apply({ table: "tasks", row }, "kernel-ids", KernelIdsSchema, idsToWire(context, row));

function writeTree(output: Output, _checkpoint: Checkpoint, context: ImageSetIds): void {
  const { tables, foreign } = context;
  const inventory = new ImageWriter(output, inventoryName, "inventory");
  const stored = inventoryOf(context);
  inventory.entry(InventorySchema, stored);
  inventory.flush();
  const tree = new ImageWriter(output, "pstree.img", "pstree");
  tables.tasks.forEach((_, row) => {
    tree.entry(TreeEntrySchema, foreign.apply({ table: "tasks", row }, "tree", TreeEntrySchema, treeToWire(context, row)));
  });
  tree.flush();
  const [main] = tables.checkpoint;
  // CRIU lets the clocks go on from what is here; without it they are those of the machine.
  if (main === undefined || main.clock === "host" || main.monotonicNs <= 0n) return;
  const time = (ns: bigint): { tvSec: bigint; tvNsec: bigint } => ({ tvSec: ns / 1_000_000_000n, tvNsec: ns % 1_000_000_000n });
  // Of a tree in a time namespace of its own they bear its number.
  const [inventoryRoot, ids] = [stored.rootIds, idsOf(context, 0)];
  const number = ids.timeNsId === (inventoryRoot?.timeNsId ?? ids.timeNsId) ? 0 : ids.timeNsId;
  const timens = new ImageWriter(output, `timens-${number}.img`, "timens");
  timens.entry(TimensEntrySchema, create(TimensEntrySchema, { monotonic: time(main.monotonicNs), boottime: time(main.boottimeNs) }));
  timens.flush();
}

/** CRIU names anonymous shared memory by its mappings: nothing can be open on it, or map it privately. @throws CrimgError */
function refuseOpenSharedMemory({ objects, files, vmas }: Tables): void {
  const isSharedMemory = (object: number | null): boolean => object !== null && objects[object]?.kind === "shared_memory";
  const refuse = (path: string): never => {
    throw new CrimgError(
      "criu.shared-memory",
      "a descriptor on, or a private mapping of, anonymous shared memory has no place in CRIU's images",
      {
        path,
        hint: "Keep it as an executable image (crimg dump PID -o image.elf), which has it.",
      },
    );
  };
  for (const [row, { object }] of files.entries()) if (isSharedMemory(object)) refuse(`files[${row}]`);
  for (const [row, { kind, object }] of vmas.entries()) if (kind === "file_private" && isSharedMemory(object)) refuse(`vmas[${row}]`);
}

/** Entries of files.img by id, in the order in which they are written. */
function collectFiles(context: ImageSetIds): Map<number, FileEntry> {
  const { tables, foreign } = context;
  refuseOpenSharedMemory(tables);
  const files = new Map<number, FileEntry>();
  tables.files.forEach((_, row) => {
    const anchor = { table: "files", row } as const;
    const entry = foreign.apply(anchor, "file", FileEntrySchema, fileToWire(context, row));
    files.set(entry.id, entry);
    const pathId = context.pathFileId(row);
    if (pathId !== 0) files.set(pathId, foreign.apply(anchor, "path", FileEntrySchema, pathFileToWire(context, row)));
  });
  for (const row of context.objectsWithFiles()) {
    for (const id of context.objectFileIds(row)) {
      if (files.has(id)) continue;
      files.set(id, foreign.apply({ table: "objects", row }, `file:${id}`, FileEntrySchema, objectFileToWire(context, row, id)));
    }
  }
  tables.objects.forEach((_, row) => {
    const id = context.linkTargetId(row);
    if (id !== undefined) files.set(id, foreign.apply({ table: "objects", row }, "link", FileEntrySchema, linkTargetToWire(context, row)));
  });
  if (!files.has(context.rootDirectoryId)) {
    files.set(context.rootDirectoryId, regToWire(rootDirectory, context.rootDirectoryId, { ...noOwner, flags: 0, pos: 0n }));
  }
  for (const { value } of foreign.whole("file").filter(({ key }) => key === "file")) {
    const entry = fromBinary(FileEntrySchema, value);
    if (!files.has(entry.id)) files.set(entry.id, entry);
  }
  return files;
}

function writeTasks(output: Output, checkpoint: Checkpoint, context: ImageSetIds, files: ReadonlyMap<number, FileEntry>): void {
  const { tables, foreign } = context;
  const tablesWritten = new Set<number>();
  tables.tasks.forEach((task, row) => {
    const anchor = { table: "tasks", row } as const;
    for (const thread of context.threadsOf(row)) {
      const tid = tables.threads[thread]?.tid ?? 0;
      const core = new ImageWriter(output, `core-${tid}.img`, "core");
      core.entry(CoreEntrySchema, foreign.apply({ table: "threads", row: thread }, "core", CoreEntrySchema, coreToWire(context, thread)));
      core.flush();
    }
    if (task.state === "zombie") {
      const core = new ImageWriter(output, `core-${task.pid}.img`, "core");
      core.entry(CoreEntrySchema, foreign.apply(anchor, "core", CoreEntrySchema, deadCoreToWire(context, row)));
      core.flush();
      return;
    }
    const ids = new ImageWriter(output, `ids-${task.pid}.img`, "ids");
    ids.entry(KernelIdsSchema, idsOf(context, row));
    ids.flush();
    const fs = new ImageWriter(output, `fs-${task.pid}.img`, "fs");
    fs.entry(FsEntrySchema, foreign.apply(anchor, "fs", FsEntrySchema, fsToWire(context, row)));
    fs.flush();
    if (task.mm !== null) writeMm(output, checkpoint, context, task.pid, task.mm);
    if (task.descriptorTable !== null) return;
    const { filesId } = context.task(row);
    if (tablesWritten.has(filesId)) return;
    tablesWritten.add(filesId);
    const fdinfo = new ImageWriter(output, `fdinfo-${filesId}.img`, "fdinfo");
    for (const index of checkpoint.descriptorsOf(row)) {
      const descriptor = tables.descriptors[index];
      if (!descriptor) continue;
      const id = context.fileId(descriptor.file);
      fdinfo.add(FdinfoEntrySchema, { id, flags: descriptor.flags, type: files.get(id)?.type ?? 0, fd: descriptor.fd });
    }
    for (const value of foreign.all(anchor, "fdinfo")) fdinfo.entry(FdinfoEntrySchema, fromBinary(FdinfoEntrySchema, value));
    fdinfo.flush();
  });
}

function writeMm(output: Output, checkpoint: Checkpoint, context: ImageSetIds, pid: number, mm: number): void {
  const { foreign } = context;
  const anchor = { table: "mms", row: mm } as const;
  const entry = foreign.apply(anchor, "mm", MmEntrySchema, mmToWire(context, mm));
  entry.vmas = vmasToWire(context, checkpoint.vmasOf(mm));
  for (const value of foreign.all(anchor, "guard")) entry.vmas.push(fromBinary(VmaEntrySchema, value));
  const image = new ImageWriter(output, `mm-${pid}.img`, "mm");
  image.entry(MmEntrySchema, entry);
  image.flush();
}

function writeFiles(output: Output, context: ImageSetIds, files: ReadonlyMap<number, FileEntry>): void {
  const { tables, foreign } = context;
  const image = new ImageWriter(output, "files.img", "files");
  for (const entry of inOrder(files, u32Values(foreign.get(wholeCheckpoint, "order")))) image.entry(FileEntrySchema, entry);
  image.flush();
  const memfds = tables.objects.flatMap((_, row) => (context.isMemoryFile(row) ? [row] : []));
  if (memfds.length > 0) {
    const writer = new ImageWriter(output, "memfd.img", "memfd");
    for (const row of memfds) {
      writer.entry(MemfdInodeSchema, foreign.apply({ table: "objects", row }, "inode", MemfdInodeSchema, memfdInodeToWire(context, row)));
    }
    writer.flush();
  }
  const remaps = remapsOf(context).map((fields) => create(RemapFilePathSchema, fields));
  for (const { value } of foreign.whole("remap")) remaps.push(fromBinary(RemapFilePathSchema, value));
  if (remaps.length > 0) {
    const writer = new ImageWriter(output, "remap-fpath.img", "remap-fpath");
    for (const remap of remaps) writer.entry(RemapFilePathSchema, remap);
    writer.flush();
  }
}

/** Entries that a set had in the order in which it had them, then all others. */
function inOrder(files: ReadonlyMap<number, FileEntry>, order: readonly number[]): FileEntry[] {
  const known = new Set(order);
  const first = [...known].flatMap((id) => files.get(id) ?? []);
  return [...first, ...[...files].flatMap(([id, entry]) => (known.has(id) ? [] : [entry]))];
}

/** Every entry of an unlinked file refers to its ghost, or to the name that a dump gave it. */
function remapsOf(context: ImageSetIds): { origId: number; remapId: number; remapType: number }[] {
  const { tables } = context;
  const remaps: { origId: number; remapId: number; remapType: number }[] = [];
  const seen = new Set<number>();
  const add = (origId: number, object: number | null): void => {
    if (object === null || seen.has(origId)) return;
    seen.add(origId);
    const linkId = context.linkTargetId(object);
    if (isRemoved(tables.objects[object])) remaps.push({ origId, remapId: context.ghostId(object), remapType: remapType.ghost });
    else if (linkId !== undefined) remaps.push({ origId, remapId: linkId, remapType: remapType.linked });
  };
  tables.files.forEach((file, row) => {
    const id = fileMappings[file.kind].pathEntryId?.(context, row);
    if (id !== undefined) add(id, file.object);
  });
  for (const row of context.objectsWithFiles()) for (const id of context.objectFileIds(row)) add(id, row);
  return remaps;
}

/** Names of carried images come from a file that may be hostile: one plain component, and none that is written here. */
const carriedName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/;

function writeCarried(output: Output, context: ImageSetIds): void {
  const written = new Set<string>();
  for (const { key, value } of context.foreign.whole("image:")) {
    const name = key.slice("image:".length);
    if (!carriedName.test(name) || isModelled(name) || name === "tty-info.img" || written.has(name)) continue;
    if (isNamespaceImage(context, name)) continue;
    written.add(name);
    const writer = new ImageWriter(output, name, null);
    writer.raw(value);
    writer.flush();
  }
  writeSeccomp(output, context);
}

/** Pages of address spaces and shared memory, and the content of ghosts. */
async function writeContents(output: Output, checkpoint: Checkpoint, context: ImageSetIds, options: WriteOptions): Promise<void> {
  const { tables } = context;
  const copies = new PageCopies(options.onProgress);
  const jobs: { mapName: string; typeId: string; kept: number | undefined; countForm: number; runs: MapRun[] }[] = [];
  const keptOf = (table: "mms" | "objects", row: number): { kept: number | undefined; countForm: number } => {
    const [kept, countForm = countForms.both] = u32Values(context.foreign.get({ table, row }, "pages-id"));
    return { kept, countForm };
  };
  const seen = new Set<number>();
  for (const task of tables.tasks) {
    if (task.mm === null) continue;
    const { kept, countForm } = keptOf("mms", task.mm);
    jobs.push({
      mapName: `pagemap-${task.pid}.img`,
      typeId: "pagemap",
      kept: seen.has(task.mm) ? undefined : kept,
      countForm,
      runs: withVdso(checkpoint, task.mm, runsOfMm(checkpoint, task.mm)),
    });
    seen.add(task.mm);
  }
  tables.objects.forEach((object, row) => {
    if (object.kind !== "memfd" && object.kind !== "shared_memory") return;
    const { shmid } = context.sharedMemory(row);
    jobs.push({
      mapName: `pagemap-shmem-${shmid}.img`,
      typeId: "pagemap-shmem",
      ...keptOf("objects", row),
      runs: runsOfObject(checkpoint, row),
    });
  });
  const ghosts = [...context.ghosts];
  for (const { runs } of jobs) copies.expect(lengthOf(runs));
  for (const row of ghosts) copies.expect(tables.objects[row]?.size ?? 0n);
  const used = new Set(jobs.flatMap(({ kept }) => (kept === undefined ? [] : [kept])));
  const taken = new Set<number>();
  let next = 1;
  for (const { mapName, typeId, kept, countForm, runs } of jobs) {
    let id = kept;
    if (id === undefined || taken.has(id)) {
      while (used.has(next)) next++;
      id = next;
      used.add(id);
    }
    taken.add(id);
    await writePages(output, mapName, typeId, id, countForm, runs, copies);
  }
  for (const row of ghosts) await writeGhost(output, checkpoint, context, row, copies);
}
