// SPDX-License-Identifier: Apache-2.0
/** Rows → messages of a task: the inverses of from-wire.ts, without what was kept aside. */
import { create } from "@bufbuild/protobuf";
import { objectRow, type Tables, taskRow, threadRow } from "../../../src/gen/tables.js";
import { hostNamespaces, type ImageSetIds } from "../ids/image-set-ids.js";
import { type CoreEntry, CoreEntrySchema } from "../gen/core_pb.js";
import { type FileEntry, FileEntrySchema } from "../gen/files_pb.js";
import {
  type FsEntry,
  FsEntrySchema,
  type Inventory,
  InventorySchema,
  type KernelIds,
  KernelIdsSchema,
  type TreeEntry,
  TreeEntrySchema,
} from "../gen/tree_pb.js";
import { cgroupToWire, rootSet } from "../map/cgroup-images.js";
import { fileType } from "../map/file-types.js";
import { seccompToWire } from "../map/map-seccomp.js";
import { machineX86, threadToWire } from "../map/map-core.js";
import { lockToWire } from "../map/network-lock.js";
import { nameOnDisk, noOwner, regToWire } from "../map/map-object.js";
import { taskStatesToWire } from "../map/states.js";
import { credsToWire, queueToWire, taskCoreToWire } from "../map/map-task.js";

/** The root directory, for tasks whose root is the dumper's. */
export const rootDirectory = objectRow({ kind: "directory", mode: 0o040755, path: "/" });

/** Image version with a common magic. */
const imageVersion = 2;

/** CRIU takes away the lock that it finds by the run id (network-lock.ts). */
export function inventoryToWire(tables: Pick<Tables, "networkLocks" | "tcpConnections">): Inventory {
  const { method, runId } = lockToWire(tables);
  return create(InventorySchema, {
    imgVersion: imageVersion,
    fdinfoPerId: true,
    rootIds: { vmId: 1, filesId: 1, fsId: 1, sighandId: 1, ...hostNamespaces },
    nsPerId: true,
    rootCgSet: rootSet,
    lsmtype: 0,
    networkLockMethod: method,
    ...(runId === undefined ? {} : { dumpCriuRunId: Buffer.from(runId) }),
    pluginsEntry: {},
  });
}

export function treeToWire(context: ImageSetIds, row: number): TreeEntry {
  const task = context.tables.tasks[row] ?? taskRow();
  const threads = context.threadsOf(row).map((thread) => context.tables.threads[thread]?.tid ?? 0);
  const parent = task.parent === null ? undefined : context.tables.tasks[task.parent];
  if (threads.length === 0) threads.push(task.pid);
  return create(TreeEntrySchema, { pid: task.pid, ppid: parent?.pid ?? 0, pgid: task.pgid, sid: task.sid, threads });
}

export function idsToWire(context: ImageSetIds, row: number): KernelIds {
  const task = context.tables.tasks[row] ?? taskRow();
  return create(KernelIdsSchema, {
    vmId: task.mm === null ? 0 : context.vmId(task.mm),
    ...context.task(row),
    ...context.namespacesOf(row),
  });
}

export function fsToWire(context: ImageSetIds, row: number): FsEntry {
  const task = context.tables.tasks[row] ?? taskRow();
  const entry = create(FsEntrySchema, {
    cwdId: task.cwd === null ? context.rootDirectoryId : context.objectFileId(task.cwd),
    rootId: task.root === null ? context.rootDirectoryId : context.objectFileId(task.root),
  });
  taskStatesToWire(task, { fs: entry });
  return entry;
}

/** The core entry of a thread with all that hangs on it. */
export function coreToWire(context: ImageSetIds, row: number): CoreEntry {
  const { tables } = context;
  const thread = tables.threads[row] ?? threadRow();
  const task = tables.tasks[thread.task] ?? taskRow();
  const isLeader = thread.tid === task.pid;
  const creds = thread.creds === null ? undefined : tables.creds[thread.creds];
  const core = threadToWire(thread, isLeader, creds && credsToWire(creds));
  if (isLeader) core.tc = taskCoreToWire(tables, thread.task, task, thread);
  if (!core.threadCore) return core;
  seccompToWire(tables, row, core.threadCore, isLeader);
  cgroupToWire(tables, row, core.threadCore, core.tc);
  core.threadCore.signalsP = queueToWire(tables, thread.task, row);
  return core;
}

/** The core entry of a dead process: nothing but its state and status. */
export function deadCoreToWire(context: ImageSetIds, row: number): CoreEntry {
  const task = context.tables.tasks[row] ?? taskRow();
  const tc = taskCoreToWire(context.tables, row, task, undefined);
  return create(CoreEntrySchema, { mtype: machineX86, tc });
}

/** The entry by which an object is mapped, executed, or stood in. */
export function objectFileToWire(context: ImageSetIds, row: number, id: number): FileEntry {
  const object = context.tables.objects[row];
  if (object === undefined) throw new RangeError(`no object ${row}`);
  if (!context.isMemoryFile(row)) return regToWire(object, id, { ...noOwner, flags: 0, pos: 0n }, nameOnDisk(context, row));
  const { inodeId } = context.sharedMemory(row);
  return create(FileEntrySchema, {
    type: fileType.memfd,
    id,
    memfd: { id, flags: 0, pos: 0n, fown: { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }, inodeId: inodeId ?? 0 },
  });
}
