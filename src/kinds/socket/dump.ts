// SPDX-License-Identifier: Apache-2.0
/** Sockets of every family: rows, options and queues. */
import { messageFileRow, socketOptionRow, type SocketRow, tcpConnectionRow } from "../../gen/tables.js";
import { tryGetsockopt } from "../../native/index.js";
import { type Collecting, type Description, refuseDescription } from "../../dump/fds/context.js";
import { type DescriptorFacts, inodeType } from "../../dump/fds/facts.js";
import type { FileCollector, FileDump, FileFields } from "../../dump/fds/kind.js";
import { inherited } from "../inherited/dump.js";
import { freebindOptions, InetSocketCollector } from "./inet/dump.js";
import type { SocketKind } from "./inet/dump-common.js";
import { OptionReader, type OptionValue, SOL_SOCKET, socketFilter } from "../../dump/fds/socket-options.js";
import { levelOf, socketOptions as optionTable } from "../../state/socket-options.js";
import { type Group, groupsIn, memberships } from "./inet/dump-multicast.js";
import { PacketSocketCollector } from "./packet/dump.js";
import { UnixSocketCollector } from "./unix/dump.js";

const familyNames = new Map<number, string>([
  [15, "AF_KEY"],
  [29, "AF_CAN"],
  [31, "AF_BLUETOOTH"],
  [38, "AF_ALG"],
  [40, "AF_VSOCK"],
  [44, "AF_XDP"],
  [43, "AF_SMC"],
]);

export const dump: FileDump = { recognises: isSocket, collector: (collecting) => new SocketCollector(collecting) };

/** A socket itself, not the file that a unix socket is bound to. */
export function isSocket(facts: DescriptorFacts): boolean {
  return inodeType(facts) === "socket" && /^socket:\[\d+\]$/.test(facts.link);
}

/** Collects the sockets of a tree. Every socket is noted first, then `prepare` makes the rows. */
class SocketCollector implements FileCollector {
  readonly #unix: UnixSocketCollector;
  readonly #inet: InetSocketCollector;
  readonly #packet: PacketSocketCollector;
  readonly #noted: { readonly description: Description; readonly kind: SocketKind }[] = [];
  readonly #rows = new Map<number, number>();
  readonly #optionReader = new OptionReader();
  #groups: readonly Group[] | undefined;
  readonly #inFlight: { readonly message: number; readonly files: readonly Description[] }[] = [];

  constructor(private readonly collecting: Collecting) {
    this.#unix = new UnixSocketCollector(collecting);
    this.#inet = new InetSocketCollector(collecting);
    this.#packet = new PacketSocketCollector(collecting);
  }

  note(description: Description): void {
    const kind = kindOf(description);
    if (kind.family !== 1 && kind.family !== 2 && kind.family !== 10 && kind.family !== 16 && kind.family !== 17) {
      refuseDescription(description, "socket_family", `a socket of family ${familyNames.get(kind.family) ?? kind.family}`);
    }
    if (kind.family === 1) this.#unix.note(description);
    this.#noted.push({ description, kind });
  }

  /** Rows of all noted sockets but the inherited ones. */
  prepare(): void {
    const { tables } = this.collecting.context;
    const kept = this.#noted.filter(({ description, kind }) => kind.family !== 1 || !this.#unix.isInherited(description));
    this.#inet.streams.prepare(kept);
    const byInode = new Map(kept.map((noted) => [Number(noted.description.stat.ino), noted]));
    const order = this.#inet.streams.inOrder(this.#unix.inOrder([...byInode.keys()]));
    order.forEach((ino, index) => this.#rows.set(ino, tables.sockets.length + index));
    for (const ino of order) {
      const { description, kind } = byInode.get(ino) as (typeof kept)[number];
      const row: SocketRow =
        kind.family === 17
          ? this.#packet.collect(description, kind.type)
          : (kind.family === 1 ? this.#unix : this.#inet).collect(description, kind, (ino) => this.#rows.get(ino));
      const socket = tables.sockets.push(row) - 1;
      const connection = this.#inet.streams.connection(description);
      if (connection !== undefined) tables.tcpConnections.push(tcpConnectionRow({ ...connection, socket }));
      this.#options(description, kind, socket, row);
      if (kind.family === 2 || kind.family === 10) this.#inet.collectDatagrams(description, kind, socket);
      if (kind.family === 1) this.#unix.collectMessages(description, socket, (message, files) => this.#inFlight.push({ message, files }));
    }
  }

  /** Rows of descriptors in flight; every description has its row by now. */
  finish(): void {
    const { messageFiles } = this.collecting.context.tables;
    for (const { message, files } of this.#inFlight) {
      for (const file of files) {
        if (file.row !== undefined) messageFiles.push(messageFileRow({ message, file: file.row }));
      }
    }
  }

  collect(description: Description): FileFields {
    const socket = this.#rows.get(Number(description.stat.ino));
    if (socket !== undefined) return { kind: "socket", detail: socket };
    return inherited(description) ?? refuseDescription(description, "outside_socket", "a unix socket whose peer is outside the tree");
  }

  #options(description: Description, kind: SocketKind, socket: number, row: SocketRow): void {
    const { socketOptions } = this.collecting.context.tables;
    const all = this.#optionReader.changed(description.fd, kind.family, kind.type, kind.protocol);
    // TCP_MAXSEG, TCP_WINDOW_CLAMP and SO_INCOMING_CPU of what is or was connected are what the connection made of them.
    const isOrWasConnected = kind.type === 1 && (row.state === "closed" || row.state === "connected");
    const changed = isOrWasConnected && kind.family !== 1 ? all.filter((one) => !isMadeByConnecting(one)) : all;
    for (const option of [...changed, ...freebindOptions(row, changed)]) {
      socketOptions.push(socketOptionRow({ socket, ...option }));
    }
    const filter = socketFilter(description.fd);
    if (filter === undefined) refuseDescription(description, "socket_bpf", "a socket with an eBPF filter");
    if (filter.length > 0)
      socketOptions.push(socketOptionRow({ socket, level: SOL_SOCKET, option: optionTable.SO_ATTACH_FILTER.option, value: filter }));
    for (const option of this.#inet.signatureKeys(description, kind, row)) socketOptions.push(socketOptionRow({ socket, ...option }));
    if (kind.family === 17) {
      for (const option of this.#packet.options(description)) socketOptions.push(socketOptionRow({ socket, ...option }));
    }
    if (kind.family === 16) this.#memberships(description, socket);
    if (kind.family === 2 || kind.family === 10) {
      this.#groups ??= groupsIn(this.collecting.context.view.networkFiles);
      for (const option of memberships(description.fd, this.#groups)) socketOptions.push(socketOptionRow({ socket, ...option }));
    }
  }

  /** Groups of a netlink socket beyond the 32 of its address: one row of NETLINK_ADD_MEMBERSHIP each. */
  #memberships(description: Description, socket: number): void {
    const mask = tryGetsockopt(description.fd, 270, 9, 64);
    if (typeof mask === "number") return;
    for (let group = 33; group <= mask.length * 8; group++) {
      const byte = mask[(group - 1) >> 3] ?? 0;
      if ((byte & (1 << ((group - 1) & 7))) === 0) continue;
      const value = Buffer.alloc(4);
      value.writeUInt32LE(group);
      this.collecting.context.tables.socketOptions.push(socketOptionRow({ socket, level: 270, option: 1, value }));
    }
  }
}

const madeByConnecting = (["TCP_MAXSEG", "TCP_WINDOW_CLAMP", "SO_INCOMING_CPU"] as const).map((name) => ({
  level: levelOf(name),
  option: optionTable[name].option,
}));

function isMadeByConnecting({ level, option }: OptionValue): boolean {
  return madeByConnecting.some((one) => one.level === level && one.option === option);
}

function kindOf(description: Description): SocketKind {
  const read = (option: number): number => {
    const value = tryGetsockopt(description.fd, SOL_SOCKET, option, 4);
    if (typeof value === "number") refuseDescription(description, "socket", "a socket that does not tell what it is");
    return value.readInt32LE(0);
  };
  return { family: read(39), type: read(3), protocol: read(38) };
}
