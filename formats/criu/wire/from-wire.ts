// SPDX-License-Identifier: Apache-2.0
/** The messages of an image set → the model. */
import { decodeText } from "../../../src/bytes/text.js";
import { toBinary } from "@bufbuild/protobuf";
import { checkpointRow, descriptorRow, taskRow, threadRow } from "../../../src/gen/tables.js";
import { Checkpoint } from "../../../src/model/checkpoint.js";
import { statSync } from "node:fs";
import { keepMembers } from "../archive/engine-members.js";
import type { TmpfsContents } from "../archive/tmpfs.js";
import { ModelBuilder } from "../builder.js";
import { u32Bytes, u32Values, ImageSetIds } from "../ids/image-set-ids.js";
import { ForeignReader, formatId, wholeCheckpoint } from "../foreign/foreign.js";
import { type CoreEntry, CoreEntrySchema } from "../gen/core_pb.js";
import { FdinfoEntrySchema, FileEntrySchema } from "../gen/files_pb.js";
import { RemapFilePathSchema } from "../gen/payload_pb.js";
import { FsEntrySchema, InventorySchema, type KernelIds, KernelIdsSchema, type TreeEntry, TreeEntrySchema } from "../gen/tree_pb.js";
import { readGhost } from "../pages/ghost.js";
import { inventoryName } from "./image-types.js";
import type { WireSet } from "./load.js";
import { machineX86, taskStateFromWire, threadFromWire } from "../map/map-core.js";
import { addCgroups } from "../map/cgroup-images.js";
import { fileMappings } from "../map/kinds.js";
import { addLocks } from "../map/map-locks.js";
import { addSeccomp } from "../map/map-seccomp.js";
import { describeFile, fileOfId, finishFiles, keepFile } from "../map/map-file.js";
import { taskStatesFromWire } from "../map/states.js";
import { mmFromWire, objectOfFileId } from "../map/map-mm.js";
import { remapType } from "../map/map-object.js";
import { isRemoved } from "../map/removed.js";
import { addNamespaces } from "../map/namespaces.js";
import type { ContainerFacts } from "../../../src/adapter/container-facts.js";
import { addTmpfs } from "../map/tmpfs.js";
import { inheritStandardStreams } from "../map/standard-streams.js";
import { credsFromWire, processFromWire, queueFromWire } from "../map/map-task.js";
import { lossesOfSet, lostLocks } from "../read-losses.js";
import { xfeaturesOf } from "../map/map-xstate.js";
import { PagemapReader } from "../pages/pagemap.js";
import { coreToWire, deadCoreToWire, fsToWire, idsToWire, inventoryToWire, objectFileToWire, treeToWire } from "./to-wire.js";

/** Builds the checkpoint. Page and ghost files are opened, their content is not read. */
export function fromWire(
  wire: WireSet,
  tmpfs?: TmpfsContents,
  container?: ContainerFacts,
  members: ReadonlyMap<string, Uint8Array> = new Map(),
): { checkpoint: Checkpoint; losses: ModelBuilder["losses"] } {
  const builder = new ModelBuilder(wire);
  builder.losses.push(...lossesOfSet(wire));
  try {
    addCheckpoint(builder);
    const pages = new PagemapReader(builder);
    const mmsByVm = new Map<number, number>();
    for (const entry of wire.tree) addTask(builder, entry, mmsByVm, pages);
    const [main] = builder.tables.checkpoint;
    if (main && builder.vdsoBuildId) builder.tables.checkpoint[0] = { ...main, vdsoBuildId: builder.vdsoBuildId };
    inheritStandardStreams(builder);
    addNamespaces(builder);
    finishFiles(builder);
    addSeccomp(builder);
    addCgroups(builder);
    const unknownLocks = addLocks(builder);
    if (unknownLocks > 0) builder.lose(lostLocks(unknownLocks));
    addObjectContents(builder, pages);
    if (tmpfs) addTmpfs(builder, tmpfs, container);
    keepUnused(builder);
    keepMembers(builder.foreign, members);
    keepDeltas(builder);
  } catch (error) {
    for (const source of builder.sources) source.close();
    throw error;
  }
  return { checkpoint: new Checkpoint({ tables: builder.tables, sources: builder.sources }), losses: builder.losses };
}

function addCheckpoint(builder: ModelBuilder): void {
  const { wire, tables } = builder;
  const ns = (time: { tvSec: bigint; tvNsec: bigint } | undefined): bigint => (time ? time.tvSec * 1_000_000_000n + time.tvNsec : 0n);
  let xfeatures = 0n;
  for (const core of wire.cores.values()) if (core.threadInfo?.fpregs) xfeatures |= xfeaturesOf(core.threadInfo.fpregs);
  tables.checkpoint.push(
    checkpointRow({
      // Images have no date; the inventory is written last.
      createdNs: statSync(wire.set.path(inventoryName), { bigint: true }).mtimeNs,
      monotonicNs: ns(wire.timens?.monotonic),
      boottimeNs: ns(wire.timens?.boottime),
      xfeatures,
      creator: "CRIU",
      sourceFormat: formatId,
      machine: "x86_64",
    }),
  );
  builder.deltas.push((_context, foreign) => {
    foreign.addDelta(wholeCheckpoint, "inventory", InventorySchema, wire.inventory, inventoryToWire(builder.tables));
  });
}

function addTask(builder: ModelBuilder, entry: TreeEntry, mmsByVm: Map<number, number>, pages: PagemapReader): void {
  const { wire, tables } = builder;
  const core = coreOf(builder, entry.pid, entry.pid);
  const state = taskStateFromWire(core.tc?.taskState ?? 0);
  if (!core.tc || !state) {
    throw builder.error(
      "criu.core",
      `The core of process ${entry.pid} does not say what state the process is in.`,
      `core-${entry.pid}.img`,
      "entry 0 tc.task_state",
    );
  }
  const parent = entry.ppid === 0 ? null : builder.taskRows.get(entry.ppid);
  if (parent === undefined) {
    throw builder.error(
      "criu.tree",
      `Process ${entry.pid} has the parent ${entry.ppid}, which is not before it in the tree.`,
      "pstree.img",
      `pid ${entry.pid}`,
    );
  }
  const task = tables.tasks.length;
  builder.taskRows.set(entry.pid, task);
  const isZombie = state === "zombie";
  const ids = wire.ids.get(entry.pid);
  const fs = wire.fs.get(entry.pid);
  const mm = isZombie ? null : addMm(builder, entry.pid, ids, core, mmsByVm, pages);
  tables.tasks.push(
    taskRow({
      ...taskStatesFromWire({ core: core.tc, ...(fs ? { fs } : {}) }),
      pid: entry.pid,
      parent,
      ppid: entry.ppid,
      pgid: entry.pgid,
      sid: entry.sid,
      state,
      waitStatus: core.tc.exitCode,
      comm: isZombie ? decodeText(core.tc.comm) : "",
      stopSignal: core.tc.stopSigno,
      exitSignal: sigchld,
      mm,
      cwd: fs ? objectOfFileId(builder, fs.cwdId, `fs-${entry.pid}.img`, "entry 0 cwd_id") : null,
      root: fs ? rootOf(builder, objectOfFileId(builder, fs.rootId, `fs-${entry.pid}.img`, "entry 0 root_id")) : null,
      taskFlags: core.tc.flags,
      foregroundPgid: -1,
    }),
  );
  processFromWire(builder, task, core.tc);
  // The model has no threads of dead processes.
  const leaderFirst = [entry.pid, ...entry.threads.filter((tid) => tid !== entry.pid)];
  for (const tid of isZombie ? [] : leaderFirst) addThread(builder, task, tid, entry.pid);
  if (ids) builder.foreign.add({ table: "tasks", row: task }, "ids", u32Bytes(ids.filesId, ids.fsId, ids.sighandId));
  if (ids && !isZombie) {
    const sharer = builder.tableOwners.get(ids.filesId);
    const row = tables.tasks[task];
    if (sharer !== undefined && row) tables.tasks[task] = { ...row, descriptorTable: sharer };
    else {
      builder.tableOwners.set(ids.filesId, task);
      addDescriptors(builder, task, ids.filesId);
    }
  }
  builder.deltas.push((context, foreign) => {
    const anchor = { table: "tasks", row: task } as const;
    foreign.addDelta(anchor, "tree", TreeEntrySchema, entry, treeToWire(context, task));
    if (isZombie) foreign.addDelta(anchor, "core", CoreEntrySchema, core, deadCoreToWire(context, task));
    if (fs) foreign.addDelta(anchor, "fs", FsEntrySchema, fs, fsToWire(context, task));
    if (ids) foreign.addDelta(anchor, "kernel-ids", KernelIdsSchema, ids, idsToWire(context, task));
  });
}

const sigchld = 17;

/** "/" is the restoring process's root; anything else would be a chroot. */
function rootOf(builder: ModelBuilder, object: number): number | null {
  return builder.tables.objects[object]?.path === "/" ? null : object;
}

function coreOf(builder: ModelBuilder, tid: number, pid: number): CoreEntry {
  const core = builder.wire.cores.get(tid);
  if (!core) throw builder.error("criu.tree", `Thread ${tid} of ${pid} is not in the list of threads.`, "pstree.img", `pid ${pid} threads`);
  if (core.mtype !== machineX86) {
    throw builder.error(
      "criu.machine",
      `The core is of machine type ${core.mtype}; crimg knows x86-64 (1) only.`,
      `core-${tid}.img`,
      "entry 0 mtype",
    );
  }
  return core;
}

function addMm(
  builder: ModelBuilder,
  pid: number,
  ids: KernelIds | undefined,
  core: CoreEntry,
  mmsByVm: Map<number, number>,
  pages: PagemapReader,
): number {
  const known = ids ? mmsByVm.get(ids.vmId) : undefined;
  if (known !== undefined) return known;
  const entry = builder.wire.mms.get(pid);
  if (!entry) throw builder.error("criu.mm", `Process ${pid} has no memory image.`, `mm-${pid}.img`);
  const mm = mmFromWire(builder, pid, entry, core.tc);
  if (ids) {
    mmsByVm.set(ids.vmId, mm);
    builder.foreign.add({ table: "mms", row: mm }, "vm-id", u32Bytes(ids.vmId));
  }
  pages.add(`pagemap-${pid}.img`, "mm", mm);
  return mm;
}

function addThread(builder: ModelBuilder, task: number, tid: number, pid: number): void {
  const core = coreOf(builder, tid, pid);
  const isLeader = tid === pid;
  if (!core.threadInfo?.gpregs) {
    throw builder.error("criu.core", `The core of thread ${tid} has no registers.`, `core-${tid}.img`, "entry 0 thread_info.gpregs");
  }
  if (core.threadInfo.gpregs.mode === compatMode) {
    throw builder.error(
      "criu.compat",
      `Thread ${tid} is a 32-bit program, which the model does not hold.`,
      `core-${tid}.img`,
      "entry 0 thread_info.gpregs.mode",
    );
  }
  const thread = builder.tables.threads.length;
  const creds = core.threadCore?.creds;
  // Before 3.11 threads have no names in a set; they are created with that of their process.
  const processName = coreOf(builder, pid, pid).tc?.comm;
  builder.tables.threads.push(
    threadRow({ task, tid, ...threadFromWire(core, isLeader, processName), creds: creds ? credsFromWire(builder, creds) : null }),
  );
  queueFromWire(builder, task, thread, core.threadCore?.signalsP);
  builder.deltas.push((context, foreign) => {
    foreign.addDelta({ table: "threads", row: thread }, "core", CoreEntrySchema, core, coreToWire(context, thread));
  });
}

const compatMode = 2;

function addDescriptors(builder: ModelBuilder, task: number, filesId: number): void {
  const { tables } = builder;
  const image = `fdinfo-${filesId}.img`;
  for (const [index, entry] of (builder.wire.fdinfo.get(filesId) ?? []).entries()) {
    const file = fileOfId(builder, entry.id, image, `entry ${index} id`);
    if (file === undefined) {
      const kept = builder.wire.files.get(entry.id);
      if (kept) keepFile(builder, kept);
      builder.foreign.add({ table: "tasks", row: task }, "fdinfo", toBinary(FdinfoEntrySchema, entry));
      builder.lose({
        code: `descriptors.${describeFile(builder, entry.id).replaceAll(" ", "-")}`,
        facet: "files",
        count: 1,
        text: `fd ${entry.fd} of ${tables.tasks[task]?.pid ?? 0} (${describeFile(builder, entry.id)}) is kept for CRIU only.`,
      });
      continue;
    }
    tables.descriptors.push(descriptorRow({ task, fd: entry.fd, file, flags: entry.flags & 1 }));
  }
}

function addObjectContents(builder: ModelBuilder, pages: PagemapReader): void {
  const { objects } = builder.tables;
  const foreign = new ForeignReader(builder.tables);
  objects.forEach((object, row) => {
    const anchor = { table: "objects", row } as const;
    if (isRemoved(object)) readGhost(builder, row, u32Values(foreign.get(anchor, "ghost-id"))[0] ?? 0);
    const shmid = u32Values(foreign.get(anchor, "memfd"))[1] ?? u32Values(foreign.get(anchor, "shmid"))[0];
    if (shmid !== undefined) pages.add(`pagemap-shmem-${shmid}.img`, "object", row);
  });
}

/** Entries and images that have no counterpart in the model. */
function keepUnused(builder: ModelBuilder): void {
  const { wire, foreign } = builder;
  for (const [row, ids] of builder.objectFileIds) {
    foreign.add({ table: "objects", row }, "ids", u32Bytes(...ids));
  }
  const objectIds = new Set([...builder.objectFileIds.values()].flat());
  for (const [id, entry] of wire.files) {
    const isUsed = builder.fileRows.has(id) || objectIds.has(id) || builder.pathFileIds.has(id) || builder.linkTargets.has(id);
    if (!isUsed) keepFile(builder, entry);
  }
  for (const remap of wire.remaps) {
    const isKnown = remap.remapType === remapType.ghost || (remap.remapType === remapType.linked && builder.linkTargets.has(remap.remapId));
    if (!isKnown) foreign.add(wholeCheckpoint, "remap", toBinary(RemapFilePathSchema, remap));
  }
  // External unix sockets are found by their order, not by a number.
  foreign.add(wholeCheckpoint, "order", u32Bytes(...wire.files.keys()));
  for (const [name, bytes] of wire.carried) foreign.add(wholeCheckpoint, `image:${name}`, bytes);
  for (const name of wire.tooBig) {
    builder.lose({ code: "images.too-big", facet: "files", count: 1, text: `${name} is too big to be carried along.` });
  }
}

function keepDeltas(builder: ModelBuilder): void {
  const context = new ImageSetIds(builder.tables, new ForeignReader(builder.tables), fileMappings);
  for (const keep of builder.deltas) keep(context, builder.foreign);
  for (const [row, ids] of builder.objectFileIds) {
    for (const id of ids) {
      const entry = builder.wire.files.get(id);
      // An entry that is also open as a descriptor is kept with its file.
      if (!entry || builder.fileRows.has(id)) continue;
      builder.foreign.addDelta({ table: "objects", row }, `file:${id}`, FileEntrySchema, entry, objectFileToWire(context, row, id));
    }
  }
}
