// SPDX-License-Identifier: Apache-2.0
/** Images → messages: everything of a set but the pages, in the shape that the mappings work on. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { type CoreEntry, CoreEntrySchema } from "../gen/core_pb.js";
import {
  type FileLock,
  FileLockSchema,
  type FdinfoEntry,
  FdinfoEntrySchema,
  type FileEntry,
  type TtyData,
  TtyDataSchema,
  type TtyInfo,
  TtyInfoSchema,
} from "../gen/files_pb.js";
import { type MemfdInode, MemfdInodeSchema, type MmEntry, MmEntrySchema } from "../gen/memory_pb.js";
import {
  type PipeData,
  PipeDataSchema,
  type RemapFilePath,
  RemapFilePathSchema,
  type SocketPacket,
  SocketPacketSchema,
} from "../gen/payload_pb.js";
import {
  type FsEntry,
  FsEntrySchema,
  type Inventory,
  InventorySchema,
  type KernelIds,
  KernelIdsSchema,
  SeccompEntrySchema,
  type SeccompFilter,
  type TimensEntry,
  TimensEntrySchema,
  type TreeEntry,
  TreeEntrySchema,
} from "../gen/tree_pb.js";
import { type TcpStream, TcpStreamSchema } from "../gen/sockets_pb.js";
import type { ImageSet } from "./image-set.js";
import { inventoryName, isModelled } from "./image-types.js";
import { list, one, openRaw, optionalList, optionalOne } from "./image-lists.js";
import { segmentIds } from "../map/ipc-images.js";
import { taskStateFromWire } from "../map/map-core.js";
import { actionsOfOldSet, loadFiles, remapsOfPaths } from "./old-forms.js";

/** Pipe and socket contents: a pipe holds at most 1 MiB without privilege, far less than this with it. */
const maxPayload = 64 * 1024 * 1024;
/** Images outside the model are carried along up to this size, each and together. */
const maxCarried = 64 * 1024 * 1024;

export interface PipePayload {
  readonly entry: PipeData;
  readonly data: Uint8Array;
}

/** A TCP connection, and the bytes of its queues. */
export interface StreamPayload {
  readonly entry: TcpStream;
  readonly received: Uint8Array;
  readonly sent: Uint8Array;
}

export interface PacketPayload {
  readonly entry: SocketPacket;
  readonly data: Uint8Array;
}

/** The messages of an image set. */
export interface WireSet {
  readonly set: ImageSet;
  readonly inventory: Inventory;
  readonly tree: readonly TreeEntry[];
  /** By thread id. */
  readonly cores: ReadonlyMap<number, CoreEntry>;
  /** By process id. */
  readonly ids: ReadonlyMap<number, KernelIds>;
  readonly mms: ReadonlyMap<number, MmEntry>;
  readonly fs: ReadonlyMap<number, FsEntry>;
  /** By KernelIds.files_id. */
  readonly fdinfo: ReadonlyMap<number, readonly FdinfoEntry[]>;
  readonly files: ReadonlyMap<number, FileEntry>;
  readonly memfds: readonly MemfdInode[];
  readonly remaps: readonly RemapFilePath[];
  readonly pipeData: readonly PipePayload[];
  readonly fifoData: readonly PipePayload[];
  readonly packets: readonly PacketPayload[];
  /** By the inode of the socket. */
  readonly streams: ReadonlyMap<number, StreamPayload>;
  readonly timens: TimensEntry | undefined;
  readonly terminals: readonly TtyInfo[];
  readonly terminalData: readonly TtyData[];
  readonly fileLocks: readonly FileLock[];
  readonly seccomp: readonly SeccompFilter[];
  /** Ids of the System V segments in an IPC namespace of the tree's own. */
  readonly segments: ReadonlySet<number>;
  /** Images outside the model, by name. */
  readonly carried: ReadonlyMap<string, Uint8Array>;
  /** Images outside the model that are too big to carry. */
  readonly tooBig: readonly string[];
}

/** Reads every image of the set except pages, pagemaps and ghost files. */
export function loadSet(set: ImageSet): WireSet {
  const inventory = withPlainPages(one(set, inventoryName, "inventory", InventorySchema));
  refuseUnknown(set, inventory);
  const tree = list(set, "pstree.img", "pstree", TreeEntrySchema);
  if (tree.length === 0) {
    throw new CrimgError("criu.empty", "The process tree has no entry.", { source: set.labelOf("pstree.img"), format: "criu" });
  }
  const cores = new Map<number, CoreEntry>();
  const ids = new Map<number, KernelIds>();
  const mms = new Map<number, MmEntry>();
  const fs = new Map<number, FsEntry>();
  const fdinfo = new Map<number, readonly FdinfoEntry[]>();
  for (const { pid, threads } of tree) {
    // The thread list of a dead process is not initialised by the tool: one core, under the pid, is all there is.
    const leader = one(set, `core-${pid}.img`, "core", CoreEntrySchema);
    const isDead = taskStateFromWire(leader.tc?.taskState ?? 0) === "zombie";
    actionsOfOldSet(set, pid, leader);
    cores.set(pid, leader);
    for (const tid of isDead ? [] : threads) {
      if (tid === pid) continue;
      if (cores.has(tid)) {
        throw new CrimgError("criu.tid", `Thread ${tid} occurs twice.`, { source: set.labelOf("pstree.img"), format: "criu" });
      }
      cores.set(tid, one(set, `core-${tid}.img`, "core", CoreEntrySchema));
    }
    const own = optionalOne(set, `ids-${pid}.img`, "ids", KernelIdsSchema) ?? cores.get(pid)?.ids;
    if (own) ids.set(pid, own);
    if (!isDead) requireParts(set, pid, own);
    const mm = optionalOne(set, `mm-${pid}.img`, "mm", MmEntrySchema);
    if (mm) mms.set(pid, mm);
    const directories = optionalOne(set, `fs-${pid}.img`, "fs", FsEntrySchema);
    if (directories) fs.set(pid, directories);
    if (own && !fdinfo.has(own.filesId)) {
      const name = `fdinfo-${own.filesId}.img`;
      if (set.has(name)) fdinfo.set(own.filesId, list(set, name, "fdinfo", FdinfoEntrySchema));
    }
  }
  const { files, pathIds } = loadFiles(set);
  return {
    set,
    inventory,
    tree,
    cores,
    ids,
    mms,
    fs,
    fdinfo,
    files,
    memfds: optionalList(set, "memfd.img", "memfd", MemfdInodeSchema),
    remaps: remapsOfPaths(optionalList(set, "remap-fpath.img", "remap-fpath", RemapFilePathSchema), pathIds),
    pipeData: payloads(set, "pipes-data.img", "pipes-data", PipeDataSchema, (entry) => entry.bytes),
    fifoData: payloads(set, "fifo-data.img", "fifo-data", PipeDataSchema, (entry) => entry.bytes),
    packets: payloads(set, "sk-queues.img", "sk-queues", SocketPacketSchema, (entry) => entry.length),
    streams: loadStreams(set),
    timens: optionalOne(set, timensName(set, ids.get(tree[0]?.pid ?? 0)), "timens", TimensEntrySchema),
    terminals: optionalList(set, "tty-info.img", "tty-info", TtyInfoSchema),
    terminalData: optionalList(set, "tty-data.img", "tty-data", TtyDataSchema),
    fileLocks: optionalList(set, "filelocks.img", "filelocks", FileLockSchema),
    seccomp: optionalOne(set, "seccomp.img", "seccomp", SeccompEntrySchema)?.seccompFilters ?? [],
    segments: segmentIds(set, ids.get(tree[0]?.pid ?? 0)?.ipcNsId ?? 0),
    ...carriedImages(set),
  };
}

/** What every version of CRIU writes for each living process: without it nobody could say what the process had. */
function requireParts(set: ImageSet, pid: number, ids: KernelIds | undefined): void {
  const lacks = (name: string, what: string): CrimgError =>
    new CrimgError("criu.missing", `The set lacks ${what} of process ${pid}.`, {
      source: set.labelOf(name),
      format: "criu",
      hint: "The set is not whole: copy all of the directory that criu dump wrote.",
    });
  if (!set.has(`fs-${pid}.img`)) throw lacks(`fs-${pid}.img`, "the working directory, root and umask");
  if (ids === undefined) throw lacks(`ids-${pid}.img`, "the ids");
  const descriptors = `fdinfo-${ids.filesId}.img`;
  if (!set.has(descriptors)) throw lacks(descriptors, "the descriptors");
}

/** The clocks of a tree in a time namespace of its own are in a file that bears its id, else in that of id 0. */
function timensName(set: ImageSet, root: KernelIds | undefined): string {
  const name = `timens-${root?.timeNsId ?? 0}.img`;
  return set.has(name) ? name : "timens-0.img";
}

/**
 * Version 3 (2026) says that pages may be stored in blocks, and fields 15 and 16 of the inventory how; the maps say it for each
 * entry. What is written again has plain pages, which is version 2.
 */
function withPlainPages(inventory: Inventory): Inventory {
  if (inventory.imgVersion === versionWithBlocks) {
    inventory.imgVersion = versionWithBlocks - 1;
    const others = (inventory.$unknown ?? []).filter(({ no }) => no !== 15 && no !== 16);
    inventory.$unknown = others.length === 0 ? undefined : others;
  }
  return inventory;
}

const versionWithBlocks = 3;

/** Version 1 has one magic number a file, version 2 a common one before it. */
function refuseUnknown(set: ImageSet, inventory: Inventory): void {
  if (inventory.imgVersion === 1 || inventory.imgVersion === 2) return;
  throw new CrimgError("criu.version", `Image version ${inventory.imgVersion} is not known.`, {
    source: set.labelOf(inventoryName),
    format: "criu",
    path: "img_version",
    expected: "1, 2 or 3",
  });
}

function carriedImages(set: ImageSet): { carried: Map<string, Uint8Array>; tooBig: string[] } {
  const carried = new Map<string, Uint8Array>();
  const tooBig: string[] = [];
  let total = 0;
  for (const name of [...set.names].sort()) {
    if (isModelled(name) || !/\.img$|^stats-|^irmap-cache$|\.tar\.gz$|^descriptors\.json$/.test(name)) continue;
    const reader = openRaw(set, name);
    try {
      const size = reader.size;
      if (total + size > maxCarried) {
        tooBig.push(name);
        continue;
      }
      total += size;
      carried.set(name, reader.payload(size, maxCarried).slice());
    } finally {
      reader.close();
    }
  }
  return { carried, tooBig };
}

/** tcp-stream-INO.img, INO in hexadecimal. */
function loadStreams(set: ImageSet): Map<number, StreamPayload> {
  const streams = new Map<number, StreamPayload>();
  for (const name of set.names) {
    const ino = /^tcp-stream-([0-9a-f]{1,8})\.img$/.exec(name)?.[1];
    if (ino === undefined) continue;
    const reader = set.open(name, "tcp-stream");
    try {
      const entry = reader.one(TcpStreamSchema);
      const received = reader.payload(entry.inqLen, maxPayload).slice();
      streams.set(Number.parseInt(ino, 16), { entry, received, sent: reader.payload(entry.outqLen, maxPayload).slice() });
    } finally {
      reader.close();
    }
  }
  return streams;
}

function payloads<Schema extends DescMessage>(
  set: ImageSet,
  name: string,
  typeId: string,
  schema: Schema,
  lengthOf: (entry: MessageShape<Schema>) => number,
): { entry: MessageShape<Schema>; data: Uint8Array }[] {
  if (!set.has(name)) return [];
  const reader = set.open(name, typeId);
  try {
    const entries: { entry: MessageShape<Schema>; data: Uint8Array }[] = [];
    for (let entry = reader.next(schema); entry; entry = reader.next(schema)) {
      entries.push({ entry, data: reader.payload(lengthOf(entry), maxPayload).slice() });
    }
    return entries;
  } finally {
    reader.close();
  }
}
