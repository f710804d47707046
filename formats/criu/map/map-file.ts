// SPDX-License-Identifier: Apache-2.0
/** Open file descriptions of files.img ↔ rows of `files` and of the tables that their kinds name. */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  epollWatchRow,
  eventfdRow,
  type FileKind,
  objectRow,
  openFileRow,
  type OpenFileRow,
  pipeRow,
  signalfdRow,
  timerfdRow,
} from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { u32Bytes, type WireContext } from "../ids/context.js";
import { fileType, fileTypeName } from "./file-types.js";
import { type FileEntry, FileEntrySchema, type PidFd } from "../gen/files_pb.js";
import type { FileOwner } from "../gen/sockets_pb.js";
import { nameOnDisk, objectOfMemfd, objectOfReg, ownerFromWire, ownerToWire, regToWire } from "./map-object.js";
import { inetFromWire, socketToWire, unixFromWire } from "./map-socket.js";

const nanoseconds = 1_000_000_000n;

interface Parts {
  readonly kind: FileKind;
  readonly detail?: number;
  readonly object?: number;
  readonly flags: number;
  readonly pos?: bigint;
  readonly fown?: FileOwner | undefined;
}

/** The row of a file entry; undefined for a kind that the model does not have, which is kept for CRIU. */
export function fileOfId(builder: ModelBuilder, id: number, image: string, path: string): number | undefined {
  const known = builder.fileRows.get(id);
  if (known !== undefined) return known;
  const entry = builder.wire.files.get(id);
  if (!entry) throw builder.error("criu.file-id", `File ${id} is not in files.img.`, image, path);
  const parts = partsOf(builder, entry);
  if (!parts) return undefined;
  const { tables } = builder;
  const row = tables.files.length;
  builder.fileRows.set(id, row);
  tables.files.push(
    openFileRow({
      kind: parts.kind,
      detail: parts.detail ?? null,
      object: parts.object ?? null,
      flags: parts.flags,
      pos: parts.pos ?? 0n,
      ...ownerFromWire(parts.fown),
    }),
  );
  builder.foreign.add({ table: "files", row }, "id", u32Bytes(id));
  if (entry.tty) builder.foreign.add({ table: "files", row }, "tty-info-id", u32Bytes(entry.tty.ttyInfoId));
  const pathId = entry.fifo?.regfId ?? entry.tty?.regfId;
  const pathEntry = pathId === undefined ? undefined : builder.wire.files.get(pathId);
  if (pathId !== undefined && pathEntry) {
    builder.pathFileIds.add(pathId);
    builder.foreign.add({ table: "files", row }, "path-id", u32Bytes(pathId));
  }
  builder.rests.push((context, foreign) => {
    const anchor = { table: "files", row } as const;
    foreign.addRest(anchor, "file", FileEntrySchema, entry, fileToWire(context, row));
    if (pathEntry) foreign.addRest(anchor, "path", FileEntrySchema, pathEntry, pathFileToWire(context, row));
  });
  return row;
}

function partsOf(builder: ModelBuilder, entry: FileEntry): Parts | undefined {
  const { tables } = builder;
  if (entry.reg) return { kind: "path", object: objectOfReg(builder, entry.reg), ...entry.reg };
  if (entry.memfd) {
    const object = objectOfMemfd(builder, entry.memfd.inodeId);
    if (object === undefined)
      throw builder.error(
        "criu.memfd",
        `Memory file ${entry.memfd.inodeId} is not in memfd.img.`,
        "files.img",
        `id ${entry.id} memfd.inode_id`,
      );
    return { kind: "memfd", object, ...entry.memfd };
  }
  if (entry.pipe)
    return { kind: "pipe", detail: pipeOf(builder, entry.pipe.pipeId, false), flags: entry.pipe.flags, fown: entry.pipe.fown };
  if (entry.fifo) return fifoParts(builder, entry, entry.fifo.pipeId, entry.fifo.regfId);
  if (entry.efd) {
    const detail = tables.eventfds.push(eventfdRow({ count: entry.efd.counter })) - 1;
    return { kind: "eventfd", detail, flags: entry.efd.flags, fown: entry.efd.fown };
  }
  if (entry.sgfd) {
    const detail = tables.signalfds.push(signalfdRow({ mask: entry.sgfd.sigmask })) - 1;
    return { kind: "signalfd", detail, flags: entry.sgfd.flags, fown: entry.sgfd.fown };
  }
  if (entry.tfd) {
    const { clockid, ticks, settimeFlags, vsec, vnsec, isec, insec } = entry.tfd;
    const timer = { clock: clockid | 0, ticks, settimeFlags, valueNs: vsec * nanoseconds + vnsec, intervalNs: isec * nanoseconds + insec };
    const detail = tables.timerfds.push(timerfdRow(timer)) - 1;
    return { kind: "timerfd", detail, flags: entry.tfd.flags, fown: entry.tfd.fown };
  }
  if (entry.epfd) return { kind: "epoll", flags: entry.epfd.flags, fown: entry.epfd.fown };
  if (entry.usk) return { kind: "socket", detail: unixFromWire(builder, entry.usk), flags: entry.usk.flags, fown: entry.usk.fown };
  if (entry.isk) return { kind: "socket", detail: inetFromWire(builder, entry.isk), flags: entry.isk.flags, fown: entry.isk.fown };
  if (entry.tty) {
    const path = builder.wire.files.get(entry.tty.regfId)?.reg;
    // Masters of pseudo-terminals are not in the model, nor slaves whose master is in the set.
    if (!path || builder.pairedTerminals.has(entry.tty.ttyInfoId)) return undefined;
    return { kind: "tty", object: objectOfReg(builder, path), flags: entry.tty.flags, fown: entry.tty.fown };
  }
  if (entry.pidfd) return pidfdParts(builder, entry.pidfd);
  return undefined;
}

function pidfdParts(builder: ModelBuilder, entry: PidFd): Parts {
  const common = { kind: "pidfd", flags: entry.flags | readWrite, fown: entry.fown } as const;
  if (entry.nspid >= 0) return { ...common, detail: entry.nspid };
  const key = `pidfd ${entry.ino}`;
  const known = builder.objectRows.get(key);
  if (known !== undefined) return { ...common, object: known };
  const object = builder.tables.objects.push(objectRow({ kind: "other", ino: BigInt(entry.ino) })) - 1;
  builder.objectRows.set(key, object);
  return { ...common, object };
}

function fifoParts(builder: ModelBuilder, entry: FileEntry, pipeId: number, regfId: number): Parts {
  const path = builder.wire.files.get(regfId)?.reg;
  if (!path)
    throw builder.error(
      "criu.file-id",
      `File ${regfId} with the path of a FIFO is not in files.img.`,
      "files.img",
      `id ${entry.id} fifo.regf_id`,
    );
  return {
    kind: "pipe",
    detail: pipeOf(builder, pipeId, true),
    object: objectOfReg(builder, path),
    flags: path.flags,
    pos: path.pos,
    fown: path.fown,
  };
}

function pipeOf(builder: ModelBuilder, pipeId: number, isFifo: boolean): number {
  // Pipes and FIFOs are numbered apart from one another.
  const rows = isFifo ? builder.fifoRows : builder.pipeRows;
  const known = rows.get(pipeId);
  if (known !== undefined) return known;
  const payload = (isFifo ? builder.wire.fifoData : builder.wire.pipeData).find(({ entry }) => entry.pipeId === pipeId);
  const row =
    builder.tables.pipes.push(
      pipeRow({ ino: BigInt(pipeId), capacity: payload?.entry.size ?? 0, data: payload?.data ?? new Uint8Array(0) }),
    ) - 1;
  rows.set(pipeId, row);
  return row;
}

/** Watches name descriptors of the task that has the epoll file; called when all descriptors are there. */
export function watchesFromWire(builder: ModelBuilder): void {
  const { tables, wire } = builder;
  const holders = new Map<number, number>();
  const byTask = new Map<number, Map<number, number>>();
  for (const { task, fd, file } of tables.descriptors) {
    if (tables.files[file]?.kind === "epoll" && !holders.has(file)) holders.set(file, task);
    const own = byTask.get(task) ?? new Map<number, number>();
    own.set(fd, file);
    byTask.set(task, own);
  }
  for (const [id, epoll] of builder.fileRows) {
    const task = holders.get(epoll);
    for (const target of wire.files.get(id)?.epfd?.tfd ?? []) {
      const file = task === undefined ? null : (byTask.get(task)?.get(target.tfd) ?? null);
      tables.epollWatches.push(epollWatchRow({ epoll, fd: target.tfd, file, events: target.events, data: target.data }));
    }
  }
}

/** Keeps an entry that the model has no kind for. */
export function keepFile(builder: ModelBuilder, entry: FileEntry): void {
  if (builder.keptFiles.has(entry.id)) return;
  builder.keptFiles.add(entry.id);
  builder.foreign.add({ table: "checkpoint", row: 0 }, "file", toBinary(FileEntrySchema, entry));
  builder.foreign.add({ table: "checkpoint", row: 0 }, "file-id", u32Bytes(entry.id));
}

/** For messages. */
export function describeFile(builder: ModelBuilder, id: number): string {
  return fileTypeName(builder.wire.files.get(id)?.type ?? 0);
}

/** What stands for a pipe or socket of the caller, which a set cannot name. */
const nothing = objectRow({ kind: "char_device", mode: 0o020666, path: "/dev/null", nlink: 1 });

/** The entry of an open file. */
export function fileToWire(context: WireContext, row: number): FileEntry {
  const { tables } = context;
  const file = tables.files[row] ?? openFileRow();
  const id = context.fileId(row);
  const fown = ownerToWire(file);
  const { flags, detail } = file;
  const entry = (type: number, fields: Omit<Partial<FileEntry>, "$typeName" | "$unknown">): FileEntry =>
    create(FileEntrySchema, { type, id, ...fields });
  switch (file.kind) {
    case "path": {
      return regToWire(objectAt(context, file), id, file, nameOnDisk(context, file.object));
    }
    case "memfd":
      return entry(fileType.memfd, {
        memfd: {
          $typeName: "crimg.criu.MemfdFile",
          id,
          flags,
          pos: file.pos,
          fown,
          inodeId: context.sharedMemory(file.object ?? 0).inodeId ?? 0,
        },
      });
    case "pipe": {
      const pipeId = context.pipeId(detail ?? 0);
      if (file.object !== null) {
        return entry(fileType.fifo, { fifo: { $typeName: "crimg.criu.Fifo", id, pipeId, regfId: context.pathFileId(row) } });
      }
      return entry(fileType.pipe, { pipe: { $typeName: "crimg.criu.Pipe", id, pipeId, flags, fown } });
    }
    case "eventfd":
      return entry(fileType.eventfd, {
        efd: { $typeName: "crimg.criu.EventFd", id, flags, fown, counter: tables.eventfds[detail ?? 0]?.count ?? 0n },
      });
    case "signalfd":
      return entry(fileType.signalfd, {
        sgfd: { $typeName: "crimg.criu.SignalFd", id, flags, fown, sigmask: tables.signalfds[detail ?? 0]?.mask ?? 0n },
      });
    case "timerfd":
      return timerfdToWire(context, id, file);
    case "epoll":
      return epollToWire(context, row, id, file);
    case "socket":
      return socketToWire(context, row, file);
    case "tty":
    case "inherited":
      if (!context.isTerminal(row)) return regToWire(nothing, id, file);
      return entry(fileType.tty, {
        tty: { $typeName: "crimg.criu.TtyFile", id, ttyInfoId: context.ttyInfoId(row), flags, fown, regfId: context.pathFileId(row) },
      });
    case "pidfd":
      return pidfdToWire(context, id, file);
  }
}

/** The entry with the path of an open FIFO or terminal. */
export function pathFileToWire(context: WireContext, row: number): FileEntry {
  const file = context.tables.files[row] ?? openFileRow();
  return regToWire(objectAt(context, file), context.pathFileId(row), file);
}

function objectAt(context: WireContext, file: OpenFileRow): ReturnType<typeof objectRow> {
  return (file.object === null ? undefined : context.tables.objects[file.object]) ?? objectRow();
}

/** A process descriptor names its process; those of one that is gone are tied by their inode. */
function pidfdToWire(context: WireContext, id: number, file: OpenFileRow): FileEntry {
  const ino = Number(BigInt.asUintN(32, objectAt(context, file).ino));
  return create(FileEntrySchema, {
    type: fileType.pidfd,
    id,
    pidfd: { id, ino, flags: file.flags & ~readWrite, nspid: file.detail ?? -1, fown: ownerToWire(file) },
  });
}

/** O_RDWR, which every process descriptor has and an image leaves out. */
const readWrite = 2;

function timerfdToWire(context: WireContext, id: number, file: OpenFileRow): FileEntry {
  const timer = context.tables.timerfds[file.detail ?? 0] ?? timerfdRow();
  return create(FileEntrySchema, {
    type: fileType.timerfd,
    id,
    tfd: {
      id,
      flags: file.flags,
      fown: ownerToWire(file),
      clockid: timer.clock >>> 0,
      ticks: timer.ticks,
      settimeFlags: timer.settimeFlags,
      vsec: timer.valueNs / nanoseconds,
      vnsec: timer.valueNs % nanoseconds,
      isec: timer.intervalNs / nanoseconds,
      insec: timer.intervalNs % nanoseconds,
    },
  });
}

function epollToWire(context: WireContext, row: number, id: number, file: OpenFileRow): FileEntry {
  const watches = context.tables.epollWatches.filter((watch) => watch.epoll === row);
  return create(FileEntrySchema, {
    type: fileType.epoll,
    id,
    epfd: {
      id,
      flags: file.flags,
      fown: ownerToWire(file),
      // The restorer finds the watched file by its descriptor number alone.
      tfd: watches.map(({ fd, events, data }) => ({ id: 0, tfd: fd, events, data })),
    },
  });
}
