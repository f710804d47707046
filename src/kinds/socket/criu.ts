// SPDX-License-Identifier: Apache-2.0
/** Sockets of files.img and their queues ↔ rows of `sockets`. */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import { type FileEntry, FileEntrySchema } from "../../../formats/criu/gen/files_pb.js";
import { InetSocketSchema, type InetSocket, type UnixSocket, UnixSocketSchema } from "../../../formats/criu/gen/sockets_pb.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { fileType } from "../../../formats/criu/map/file-types.js";
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { deviceOf, ownerToWire } from "../../../formats/criu/map/map-object.js";
import {
  inetOptionsFromWire,
  inetOptionsToWire,
  isStorableOption,
  optionsFromWire,
  optionsToWire,
} from "../../../formats/criu/map/socket-options.js";
import { type OpenFileRow, type SocketRow, socketRow, type SocketState, tcpStateValues } from "../../gen/tables.js";
import { socketOptionName } from "../../state/socket-options.js";
import { messagesFromWire, writeQueues } from "./criu-queues.js";
import { finishStreams, streamFromWire, tcpStateFromWire, writeStreams } from "./criu-streams.js";

const family = { unix: 1, inet: 2, inet6: 10, packet: 17 } as const;
/** TCP_* states, which the tool uses for unix sockets too (linux/tcp_states.h). */
const state = { established: 1, close: 7, listen: 10 } as const;
const tcpProtocol = 6;

export const mapping: FileMapping = {
  fromWire(builder, { isk, usk }) {
    if (usk) return { kind: "socket", detail: unixFromWire(builder, usk), flags: usk.flags, fown: usk.fown };
    return isk ? { kind: "socket", detail: inetFromWire(builder, isk), flags: isk.flags, fown: isk.fown } : undefined;
  },
  finishReading(builder, fileOf) {
    tiePeers(builder);
    finishStreams(builder);
    messagesFromWire(builder, fileOf);
  },
  toWire: socketToWire,
  writeImages(output, context) {
    writeQueues(output, context);
    writeStreams(output, context);
  },
  losses: ({ tables }) => [
    {
      code: "sockets.options",
      facet: "sockets",
      names: tables.socketOptions.filter((row) => !isStorableOption(row)).map((row) => socketOptionName(row)),
      what: "socket options without a field",
    },
    {
      code: "sockets.packet",
      facet: "sockets",
      names: tables.sockets.filter((row) => row.family === family.packet).map((row) => `socket ${row.ino}`),
      what: "packet sockets are replaced by /dev/null",
    },
    {
      code: "sockets.sender",
      facet: "sockets",
      names: tables.socketMessages
        .filter((row) => row.senderAddress.length > 0 && tables.sockets[row.socket]?.family === family.unix)
        .map((row) => `a message for socket ${row.socket}`),
      what: "the sender's address of waiting messages is not kept",
    },
    {
      code: "sockets.datagrams",
      facet: "sockets",
      names: tables.socketMessages
        .filter((row) => tables.sockets[row.socket]?.family !== family.unix)
        .map((row) => `a datagram for socket ${row.socket}`),
      what: "datagrams of UDP that wait are not kept",
    },
    {
      code: "sockets.outside",
      facet: "sockets",
      names: tables.sockets.filter((row) => row.isOutside !== 0).map((row) => `socket ${row.ino}`),
      what: "that a unix stream socket is connected again to a name outside is not kept",
    },
    {
      code: "sockets.unread",
      facet: "sockets",
      names: tables.tcpConnections
        .filter((row) => tables.sockets[row.socket]?.state === "closed")
        .map((row) => `${row.receiveQueue.length} bytes for socket ${row.socket}`),
      what: "bytes of TCP connections that are over are not kept",
    },
    {
      code: "sockets.sender-credentials",
      facet: "sockets",
      names: tables.socketMessages.filter((row) => row.senderPid !== 0).map((row) => `a message for socket ${row.socket}`),
      what: "the sender's credentials of waiting messages are not kept",
    },
  ],
};

function stateFromWire(number: number, hasPeer: boolean): SocketState {
  if (number === state.listen) return "listening";
  if (number === state.close) return hasPeer ? "connected" : "unconnected";
  return number === state.established && hasPeer ? "connected" : "closed";
}

function stateToWire(context: ImageSetIds, row: number, socket: SocketRow): number {
  const connection = context.tables.tcpConnections.find((one) => one.socket === row);
  if (connection !== undefined && socket.state !== "closed") return tcpStateValues[connection.tcpState];
  if (socket.state === "listening") return state.listen;
  if (socket.state === "unconnected") return state.close;
  return state.established;
}

/** Adds the row of a unix socket. Peers are tied when all are there (tiePeers). */
function unixFromWire(builder: ModelBuilder, entry: UnixSocket): number {
  const row = builder.tables.sockets.length;
  builder.socketRows.set(entry.ino, row);
  builder.tables.sockets.push(
    socketRow({
      ino: BigInt(entry.ino),
      family: family.unix,
      type: entry.type,
      state: stateFromWire(entry.state, entry.peer !== 0),
      backlog: entry.state === state.listen ? entry.backlog : 0,
      shutdown: entry.shutdown & 3,
      localAddress: unixAddress(entry.name),
      isDeleted: entry.deleted ? 1 : 0,
    }),
  );
  if (entry.opts) builder.tables.socketOptions.push(...optionsFromWire(row, entry.opts));
  return row;
}

function unixAddress(name: Uint8Array): Uint8Array {
  return name.length === 0 ? new Uint8Array(0) : Buffer.concat([Uint8Array.of(family.unix, 0), name]);
}

/** Sets peer, peer address and pairing of unix sockets. */
function tiePeers(builder: ModelBuilder): void {
  const { sockets } = builder.tables;
  const entries = [...builder.wire.files.values()].flatMap((file) => (file.usk ? [file.usk] : []));
  const byInode = new Map(entries.map((entry) => [entry.ino, entry]));
  for (const entry of entries) {
    const row = builder.socketRows.get(entry.ino);
    const socket = row === undefined ? undefined : sockets[row];
    if (row === undefined || !socket || entry.peer === 0) continue;
    const other = byInode.get(entry.peer);
    sockets[row] = {
      ...socket,
      peer: builder.socketRows.get(entry.peer) ?? null,
      isPaired: other?.peer === entry.ino ? 1 : 0,
      peerAddress: other ? unixAddress(other.name) : new Uint8Array(0),
    };
  }
}

/** Addresses are words whose bytes in memory are the address. */
function inetAddress(kind: number, words: readonly number[], port: number): Uint8Array {
  const isV6 = kind === family.inet6;
  const bytes = Buffer.alloc(isV6 ? 28 : 16);
  bytes.writeUInt16LE(kind, 0);
  bytes.writeUInt16BE(port & 0xffff, 2);
  const count = isV6 ? 4 : 1;
  for (let index = 0; index < count; index++) bytes.writeUInt32LE((words[index] ?? 0) >>> 0, (isV6 ? 8 : 4) + index * 4);
  return bytes;
}

function inetAddressToWire(kind: number, address: Uint8Array): { words: number[]; port: number } {
  const isV6 = kind === family.inet6;
  const count = isV6 ? 4 : 1;
  const offset = isV6 ? 8 : 4;
  if (address.length < offset + count * 4) return { words: Array.from({ length: count }, () => 0), port: 0 };
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  return { words: Array.from({ length: count }, (_, index) => view.getUint32(offset + index * 4, true)), port: view.getUint16(2, false) };
}

/** Adds the row of an IP socket. A TCP connection has an image of its own besides (criu-streams.ts). */
function inetFromWire(builder: ModelBuilder, entry: InetSocket): number {
  const row = builder.tables.sockets.length;
  builder.socketRows.set(entry.ino, row);
  const isAddressed = entry.srcPort !== 0 || entry.srcAddr.some((word) => word !== 0);
  const hasPeer = entry.dstPort !== 0;
  const isTcp = entry.proto === tcpProtocol && entry.type === 1;
  const stream = isTcp && tcpStateFromWire(entry.state) !== undefined ? builder.wire.streams.get(entry.ino) : undefined;
  // Without its image a connection was given up (--tcp-close).
  const isOver = isTcp && hasPeer && stream === undefined;
  builder.tables.sockets.push(
    socketRow({
      ino: BigInt(entry.ino),
      family: entry.family,
      type: entry.type,
      protocol: entry.proto,
      state: stream !== undefined ? "connected" : isOver ? "closed" : stateFromWire(entry.state, hasPeer),
      backlog: entry.state === state.listen ? entry.backlog : 0,
      shutdown: entry.shutdown & 3,
      localAddress: isAddressed ? inetAddress(entry.family, entry.srcAddr, entry.srcPort) : new Uint8Array(0),
      peerAddress: hasPeer ? inetAddress(entry.family, entry.dstAddr, entry.dstPort) : new Uint8Array(0),
    }),
  );
  if (entry.opts) builder.tables.socketOptions.push(...optionsFromWire(row, entry.opts));
  builder.tables.socketOptions.push(...inetOptionsFromWire(row, entry));
  if (stream !== undefined) streamFromWire(builder, row, entry, stream);
  return row;
}

/** The entry of an open socket. */
function socketToWire(context: ImageSetIds, fileRow: number, file: OpenFileRow): FileEntry {
  const id = context.fileId(fileRow);
  const row = file.detail ?? 0;
  const socket = context.tables.sockets[row] ?? socketRow();
  if (socket.family === family.packet) return deviceOf("/dev/null", id, file);
  const options = context.tables.socketOptions.filter((option) => option.socket === row);
  const isTcp = socket.family !== family.unix && (socket.protocol === tcpProtocol || (socket.protocol === 0 && socket.type === 1));
  const common = {
    id,
    ino: context.socketInode(row),
    type: socket.type,
    state: stateToWire(context, row, socket),
    flags: file.flags,
    backlog: socket.backlog,
    fown: ownerToWire(file),
    opts: optionsToWire(options, socket.family, isTcp),
    nsId: context.namespacesOf(0).netNsId,
  };
  if (socket.family === family.unix) {
    const usk = create(UnixSocketSchema, {
      ...common,
      uflags: 0,
      peer: socket.peer === null ? 0 : context.socketInode(socket.peer),
      name: socket.localAddress.subarray(2),
    });
    if (socket.shutdown !== 0) usk.shutdown = socket.shutdown;
    if (socket.isDeleted !== 0) usk.deleted = true;
    const object = socket.object === null ? undefined : context.tables.objects[socket.object];
    if (object && usk.name.length > 0 && usk.name[0] !== 0) {
      usk.filePerms = { $typeName: "crimg.criu.FilePermissions", mode: object.mode, uid: object.uid, gid: object.gid };
    }
    return create(FileEntrySchema, { type: fileType.unixSocket, id, usk });
  }
  const source = inetAddressToWire(socket.family, socket.localAddress);
  const target = inetAddressToWire(socket.family, socket.peerAddress);
  const isk = create(InetSocketSchema, {
    ...common,
    family: socket.family,
    proto: isTcp ? tcpProtocol : socket.protocol,
    srcPort: source.port,
    dstPort: target.port,
    srcAddr: source.words,
    dstAddr: target.words,
  });
  if (socket.shutdown !== 0) isk.shutdown = socket.shutdown;
  const connection = context.tables.tcpConnections.find((one) => one.socket === row);
  if (connection !== undefined && isk.opts) {
    // Sizes that the kernel has chosen for it.
    if (connection.sendBuffer > 0 && (isk.opts.soBufLock & 1) === 0) isk.opts.soSndbuf = connection.sendBuffer;
    if (connection.receiveBuffer > 0 && (isk.opts.soBufLock & 2) === 0) isk.opts.soRcvbuf = connection.receiveBuffer;
  }
  inetOptionsToWire(options, isk, isTcp);
  return create(FileEntrySchema, { type: fileType.inetSocket, id, isk });
}
