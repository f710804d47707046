// SPDX-License-Identifier: Apache-2.0
/** Inodes: regular file entries, memory files and ghosts ↔ rows of `objects`. */
import { openFlags } from "../../../src/linux/open-flags.js";
import { create } from "@bufbuild/protobuf";
import { decodeText, encodeText } from "../../../src/bytes/text.js";
import { type ObjectKind, type ObjectRow, objectRow, type OpenFileRow, ownerTypeNames, ownerTypeValues } from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { u32Bytes, type ImageSetIds } from "../ids/image-set-ids.js";
import { fileType } from "./file-types.js";
import { type FileEntry, FileEntrySchema, type RegFile, RegFileSchema } from "../gen/files_pb.js";
import { type MemfdInode, MemfdInodeSchema } from "../gen/memory_pb.js";
import { type GhostFile, GhostFileSchema } from "../gen/payload_pb.js";
import { type FileOwner, FileOwnerSchema } from "../gen/sockets_pb.js";

/** st_mode's type bits. */
const modeType = 0o170000;
const kinds: ReadonlyMap<number, ObjectKind> = new Map([
  [0o100000, "file"],
  [0o040000, "directory"],
  [0o020000, "char_device"],
  [0o060000, "block_device"],
  [0o010000, "fifo"],
  [0o140000, "unix_socket"],
  [0o120000, "symlink"],
]);

/** Name under which CRIU sees anonymous shared memory of current kernels. */
const anonymousName = "/dev/zero";

/** What remap-fpath.img says of an entry. */
export const remapType = { linked: 0, ghost: 1, procfs: 2 } as const;

type Owner = Pick<OpenFileRow, "ownerType" | "ownerPid" | "ownerSignal" | "ownerUid" | "ownerEuid">;

/** F_SETOWN_EX's numbers are those of the model less one, which has 0 for "nobody". */
export function ownerFromWire(owner: FileOwner | undefined): Owner {
  const ownerPid = owner?.pid ?? 0;
  return {
    ownerType: ownerPid === 0 ? "none" : (ownerTypeNames.get((owner?.pidType ?? 0) + 1) ?? "none"),
    ownerPid,
    ownerSignal: owner?.signum ?? 0,
    ownerUid: owner?.uid ?? 0,
    ownerEuid: owner?.euid ?? 0,
  };
}

export function ownerToWire(file: Owner): FileOwner {
  return create(FileOwnerSchema, {
    uid: file.ownerUid,
    euid: file.ownerEuid,
    signum: file.ownerSignal,
    pidType: file.ownerType === "none" ? 0 : ownerTypeValues[file.ownerType] - 1,
    pid: file.ownerPid,
  });
}

/** The object that a file names. */
export function objectOf(context: ImageSetIds, file: OpenFileRow): ObjectRow {
  return (file.object === null ? undefined : context.tables.objects[file.object]) ?? objectRow();
}

/** Entries without an owner. */
export const noOwner: Owner = { ownerType: "none", ownerPid: 0, ownerSignal: 0, ownerUid: 0, ownerEuid: 0 };

/** The object row of a regular file entry, made at its first use. Entries of one inode share a row. */
export function objectOfReg(builder: ModelBuilder, reg: RegFile): number {
  const remapped = builder.remaps.get(reg.id);
  const remap = remapped?.remapType === remapType.ghost ? remapped : undefined;
  const key =
    `reg ${remap ? `ghost ${remap.remapId}` : ""} ${reg.mode} ${reg.size} ${Buffer.from(reg.name).toString("latin1")} ` + `${reg.mntId}`;
  const known = builder.objectRows.get(key);
  if (known !== undefined) return known;
  // A linked remap: the file lives on under another name, by which it can be opened.
  const target = remapped?.remapType === remapType.linked ? builder.wire.files.get(remapped.remapId)?.reg : undefined;
  const row = builder.tables.objects.length;
  builder.objectRows.set(key, row);
  builder.tables.objects.push(
    objectRow({
      kind: kindOf(reg.mode, remap !== undefined),
      mode: reg.mode,
      path: decodeText(reg.name),
      linkTarget: target ? decodeText(target.name) : "",
      nlink: remap ? 0 : 1,
      size: reg.size,
      buildId: buildIdFromWire(reg.buildId),
    }),
  );
  if (remap) builder.foreign.add({ table: "objects", row }, "ghost-id", u32Bytes(remap.remapId));
  if (remapped && target) {
    builder.foreign.add({ table: "objects", row }, "link-id", u32Bytes(remapped.remapId));
    builder.linkTargets.add(remapped.remapId);
    const entry = builder.wire.files.get(remapped.remapId);
    builder.deltas.push((context, foreign) => {
      if (entry) foreign.addDelta({ table: "objects", row }, "link", FileEntrySchema, entry, linkTargetToWire(context, row));
    });
  }
  return row;
}

/** Regular files without a name are ghosts; what else is gone keeps its kind and has no links. */
function kindOf(mode: number, isGone: boolean): ObjectKind {
  const kind = kinds.get(mode & modeType) ?? "file";
  return isGone && kind === "file" ? "ghost" : kind;
}

/**
 * The name to open a file by, if not its own. The restorer of a set removes the targets of linked remaps, so only
 * names that a dump made for that purpose may be written as such; a file's other name of its own must stay.
 */
export function nameOnDisk(context: ImageSetIds, row: number | null): string | undefined {
  const object = row === null ? undefined : context.tables.objects[row];
  if (row === null || object?.kind !== "file" || object.linkTarget === "" || context.linkTargetId(row) !== undefined) return undefined;
  return object.linkTarget;
}

/** The entry of the name by which a file that lost its own is still to be found. */
export function linkTargetToWire(context: ImageSetIds, row: number): FileEntry {
  const object = context.tables.objects[row] ?? objectRow();
  return regToWire({ ...object, path: object.linkTarget, linkTarget: "" }, context.linkTargetId(row) ?? 0, {
    ...noOwner,
    flags: 0,
    pos: 0n,
  });
}

/** Words ↔ bytes. The length of a build-id is not stored: 20 bytes (SHA-1) and 16 fill words exactly. */
function buildIdFromWire(words: readonly number[]): Uint8Array {
  return u32Bytes(...words);
}

function buildIdToWire(bytes: Uint8Array): number[] {
  const padded = Buffer.alloc(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return Array.from({ length: padded.length / 4 }, (_, index) => padded.readUInt32LE(index * 4));
}

/** O_ACCMODE, O_WRONLY, O_APPEND. */
const accessMode = 3;
const writeOnly = 1;

/** A regular file entry for an object, by its own name or another. */
export function regToWire(object: ObjectRow, id: number, file: Owner & { flags: number; pos: bigint }, name?: string): FileEntry {
  const reg = create(RegFileSchema, {
    id,
    flags: file.flags,
    pos: file.pos,
    fown: ownerToWire(file),
    name: encodeText(name ?? object.path),
  });
  if (object.mode !== 0) reg.mode = object.mode;
  // A restore compares sizes where one is stored: not those of logs that others may write to.
  const isLog = (file.flags & accessMode) === writeOnly && (file.flags & openFlags.APPEND) !== 0;
  if ((object.kind === "file" || object.kind === "ghost") && !isLog) reg.size = object.size;
  if (object.buildId.length > 0) reg.buildId = buildIdToWire(object.buildId);
  return create(FileEntrySchema, { type: fileType.reg, id, reg });
}

/** The entry of a device that takes the place of a file which an image set cannot hold. */
export function deviceOf(path: string, id: number, file: OpenFileRow): FileEntry {
  const device = objectRow({ kind: "char_device", mode: 0o020666, path });
  return regToWire(device, id, { ...noOwner, flags: file.flags & accessMode, pos: 0n });
}

/** The object row of a memory file. */
export function objectOfMemfd(builder: ModelBuilder, inodeId: number): number | undefined {
  const key = `memfd ${inodeId}`;
  const known = builder.objectRows.get(key);
  if (known !== undefined) return known;
  const inode = builder.memfds.get(inodeId);
  if (!inode) return undefined;
  const name = decodeText(inode.name);
  const row = builder.tables.objects.length;
  builder.objectRows.set(key, row);
  builder.tables.objects.push(
    objectRow({
      kind: name === anonymousName ? "shared_memory" : "memfd",
      path: name === anonymousName ? "" : name,
      mode: inode.mode === 0 ? 0o100777 : inode.mode,
      uid: inode.uid,
      gid: inode.gid,
      size: inode.size,
      ino: BigInt(inode.shmid),
      seals: inode.seals,
      memfdFlags: inode.hugetlbFlag,
    }),
  );
  builder.foreign.add({ table: "objects", row }, "memfd", u32Bytes(Number(BigInt.asUintN(32, inode.inodeId)), inode.shmid));
  builder.deltas.push((context, foreign) => {
    foreign.addDelta({ table: "objects", row }, "inode", MemfdInodeSchema, inode, memfdInodeToWire(context, row));
  });
  return row;
}

/** Shared memory of images whose areas name it directly. */
export function objectOfShmid(builder: ModelBuilder, shmid: bigint, size: bigint): number {
  const key = `shmid ${shmid}`;
  const known = builder.objectRows.get(key);
  if (known !== undefined) {
    const object = builder.tables.objects[known];
    if (object && object.size < size) builder.tables.objects[known] = { ...object, size };
    return known;
  }
  const row = builder.tables.objects.length;
  builder.objectRows.set(key, row);
  builder.tables.objects.push(objectRow({ kind: "shared_memory", mode: 0o100777, size, ino: shmid }));
  builder.foreign.add({ table: "objects", row }, "shmid", u32Bytes(Number(BigInt.asUintN(32, shmid))));
  return row;
}

export function memfdInodeToWire(context: ImageSetIds, row: number): MemfdInode {
  const object = context.tables.objects[row] ?? objectRow();
  const { inodeId, shmid } = context.sharedMemory(row);
  const inode = create(MemfdInodeSchema, {
    name: encodeText(object.kind === "shared_memory" ? anonymousName : object.path),
    uid: object.uid,
    gid: object.gid,
    size: object.size,
    shmid,
    seals: object.seals,
    inodeId: BigInt(inodeId ?? 0),
    mode: object.mode,
  });
  if (object.memfdFlags !== 0) inode.hugetlbFlag = object.memfdFlags;
  return inode;
}

/** Puts what a ghost's own image says into its row. */
export function ghostFromWire(object: ObjectRow, ghost: GhostFile, contentSize: bigint): ObjectRow {
  return {
    ...object,
    kind: kindOf(ghost.mode, true),
    mode: ghost.mode,
    uid: ghost.uid,
    gid: ghost.gid,
    devMajor: (ghost.dev >>> 20) & 0xfff,
    devMinor: ghost.dev & 0xfffff,
    ino: ghost.ino,
    rdevMajor: (ghost.rdev >>> 8) & 0xfff,
    rdevMinor: (ghost.rdev & 0xff) | ((ghost.rdev >>> 12) & 0xfff00),
    linkTarget: decodeText(ghost.symlnkTarget),
    size: ghost.chunks ? ghost.size : contentSize,
    atimeNs: (ghost.atim?.tvSec ?? 0n) * 1_000_000_000n + (ghost.atim?.tvUsec ?? 0n) * 1000n,
    mtimeNs: (ghost.mtim?.tvSec ?? 0n) * 1_000_000_000n + (ghost.mtim?.tvUsec ?? 0n) * 1000n,
  };
}

/** Files of this size and more are stored in chunks, as the tool does. */
const chunkThreshold = 3n * 4096n;

export function ghostToWire(object: ObjectRow): GhostFile {
  const time = (ns: bigint): { tvSec: bigint; tvUsec: bigint } => ({ tvSec: ns / 1_000_000_000n, tvUsec: (ns % 1_000_000_000n) / 1000n });
  const ghost = create(GhostFileSchema, {
    uid: object.uid,
    gid: object.gid,
    mode: object.mode,
    dev: ((object.devMajor << 20) | object.devMinor) >>> 0,
    ino: object.ino,
    atim: time(object.atimeNs),
    mtim: time(object.mtimeNs),
  });
  if (object.kind === "char_device" || object.kind === "block_device") {
    ghost.rdev = (((object.rdevMajor & 0xfff) << 8) | (object.rdevMinor & 0xff) | ((object.rdevMinor & 0xfff00) << 12)) >>> 0;
  }
  if (object.kind === "symlink") ghost.symlnkTarget = encodeText(object.linkTarget);
  if ((object.mode & modeType) === 0o100000 && object.size >= chunkThreshold) {
    ghost.chunks = true;
    ghost.size = object.size;
  }
  return ghost;
}
