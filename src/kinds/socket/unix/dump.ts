// SPDX-License-Identifier: Apache-2.0
/** Unix sockets: who is connected with whom (sock_diag), bound names, and the messages that wait in their queues. */
import { dirname } from "node:path";
import { decodeText } from "../../../bytes/text.js";
import { lossRow, socketMessageRow, type SocketRow, socketRow } from "../../../gen/tables.js";
import {
  close,
  failed,
  tryFstat,
  tryFstatfsType,
  tryGetsockopt,
  tryIoctl,
  tryReadlink,
  trySocketAddress,
  tryStat,
} from "../../../native/index.js";
import { type Collecting, type Description, nameOf, pidAsSeen, refuseDescription, stdioNumber } from "../../../dump/fds/context.js";
import { leadsTo } from "../../../dump/fds/files.js";
import { type UnixDiag, unixSockets } from "../dump-sock-diag.js";
import { SOL_SOCKET } from "../../../dump/fds/socket-options.js";
import { addressBytes, peekQueue } from "./dump-queue.js";

const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const TCP_LISTEN = 10;
const SO_PEERCRED = 17;
/** Gives an O_PATH descriptor of the socket file (linux/un.h; CAP_NET_ADMIN). */
const SIOCUNIXFILE = 0x89e0;

/** A unix socket of the tree. */
interface Member {
  readonly description: Description;
  readonly diag: UnixDiag;
}

/** Collects the unix sockets of a tree; all of them must be noted before the first is collected. */
export class UnixSocketCollector {
  readonly #members = new Map<number, Member>();
  readonly #foreign = new Set<Description>();
  #all: Map<number, UnixDiag> | undefined;

  constructor(private readonly collecting: Collecting) {}

  note(description: Description): void {
    this.#all ??= unixSockets((protocol) => this.collecting.context.view.netlink(protocol));
    const ino = Number(description.stat.ino);
    const diag = this.#all.get(ino);
    if (!diag) {
      // A standard stream from outside of a network namespace of the tree's own is the caller's, like any other.
      if (stdioNumber(description) === undefined)
        refuseDescription(description, "foreign_netns", "a unix socket of another network namespace");
      this.#foreign.add(description);
      return;
    }
    this.#members.set(ino, { description, diag });
  }

  /** Inodes of sockets that are part of the tree and get a row, or a refusal. Undefined: inherited. */
  isInherited(description: Description): boolean {
    if (this.#foreign.has(description)) return true;
    const { diag } = this.#member(description);
    if (diag.type === SOCK_DGRAM && this.collecting.options.extUnixSk) return false;
    return diag.peer !== 0 && !this.#members.has(diag.peer) && stdioNumber(description) !== undefined;
  }

  /** The row; `rowOf` gives the row that a socket of the tree has or will have. */
  collect(description: Description, _kind: unknown, rowOf: (ino: number) => number | undefined): SocketRow {
    const { diag } = this.#member(description);
    this.#refusePending(description, diag);
    const local = addressBytes(trySocketAddress(description.fd, "getsockname"));
    const peerName = trySocketAddress(description.fd, "getpeername");
    const isListening = diag.state === TCP_LISTEN;
    const isConnected = !isListening && typeof peerName !== "number";
    const listener = this.#listenerOf(diag);
    const peerIno = listener?.ino ?? diag.peer;
    const peer = peerIno === 0 ? undefined : rowOf(peerIno);
    const isOutside = peerIno !== 0 && peer === undefined;
    if (isOutside && this.collecting.options.extUnixSk !== true) this.#refuseOutside(description, diag);
    const isNamed = typeof peerName !== "number" && isLastingName(peerName);
    const isStream = diag.type !== SOCK_DGRAM;
    if (isOutside && isNamed && isStream && diag.receiveQueue > 0) {
      refuseDescription(
        description,
        "socket_queue",
        `a unix socket with ${diag.receiveQueue} bytes from outside the tree waiting to be read`,
        "Dump again in a moment.",
      );
    }
    if (isOutside && !isNamed) this.#loseOutside(description, diag);
    const credentials = tryGetsockopt(description.fd, SOL_SOCKET, SO_PEERCRED, 12);
    const hasCredentials = typeof credentials !== "number" && credentials.length === 12 && credentials.readInt32LE(0) > 0;
    return socketRow({
      ino: description.stat.ino,
      family: 1,
      type: diag.type,
      protocol: 0,
      state: isListening ? "listening" : isConnected ? "connected" : "unconnected",
      peer: peer ?? null,
      backlog: isListening ? diag.sendQueue : 0,
      shutdown: isListening ? 0 : diag.shutdown,
      localAddress: local,
      peerAddress: isConnected ? addressBytes(peerName) : new Uint8Array(0),
      peerPid: hasCredentials ? (pidAsSeen(credentials.readInt32LE(0)) ?? credentials.readInt32LE(0)) : 0,
      peerUid: hasCredentials ? credentials.readUInt32LE(4) : 0,
      peerGid: hasCredentials ? credentials.readUInt32LE(8) : 0,
      isOutside: isOutside && isNamed && isStream ? 1 : 0,
      isPaired: peer !== undefined && !listener && this.#members.get(diag.peer)?.diag.peer === diag.ino ? 1 : 0,
      ...(diag.file ? this.#boundFile(description, diag, local) : {}),
    });
  }

  /** Appends the rows of the waiting messages; `noteFiles` gets what travels with one. */
  collectMessages(description: Description, socket: number, noteFiles: (message: number, files: readonly Description[]) => void): void {
    const { diag } = this.#member(description);
    if (diag.state === TCP_LISTEN || (diag.type === SOCK_STREAM && diag.receiveQueue === 0)) return;
    const { socketMessages } = this.collecting.context.tables;
    for (const { data, sender, credentials, files } of (description.queue ??= peekQueue(description, () =>
      refuseDescription(description, "scm_rights", "a descriptor arrived in its queue"),
    ))) {
      const message =
        socketMessages.push(
          socketMessageRow({
            socket,
            data,
            senderAddress: sender,
            senderPid: credentials?.pid ?? 0,
            senderUid: credentials?.uid ?? 0,
            senderGid: credentials?.gid ?? 0,
          }),
        ) - 1;
      if (files.length > 0) noteFiles(message, files);
    }
  }

  #member(description: Description): Member {
    return this.#members.get(Number(description.stat.ino)) as Member;
  }

  #refuseOutside(description: Description, diag: UnixDiag): never {
    const name = diag.name.length > 0 ? ` (${printable(diag.name)})` : "";
    refuseDescription(
      description,
      "outside_socket",
      `a unix socket${name} whose peer is outside the tree`,
      "Dump the tree that holds both ends, or give --ext-unix-sk: then it is connected again to the name of its peer, or found closed.",
    );
  }

  /** A client of the tree's own listener, or the other end of a pair: nobody can be asked for it again. */
  #loseOutside(description: Description, diag: UnixDiag): void {
    const name = diag.name.length > 0 ? ` (${printable(diag.name)})` : "";
    const text = `${nameOf(description)}: a unix socket${name} whose peer is outside the tree and has no name; the program finds it closed`;
    this.collecting.context.tables.losses.push(lossRow({ code: "dump.outside-socket", count: 1, text }));
  }

  /**
   * Connections that nobody has accepted yet are made again if their client is of the tree and has sent nothing: what it
   * has sent lies in a socket that no process can look into.
   */
  #refusePending(description: Description, diag: UnixDiag): void {
    if (diag.state !== TCP_LISTEN || this.collecting.options.skipInFlight) return;
    for (const ino of diag.pending) {
      const client = this.#members.get(ino);
      if (!client) {
        refuseDescription(
          description,
          "in_flight",
          "a listening unix socket with connections from outside the tree that are not accepted yet",
          "Dump again in a moment, or give --skip-in-flight to drop them.",
        );
      }
      if (client.diag.sendQueue > 0) {
        refuseDescription(
          client.description,
          "in_flight",
          "a unix socket that has sent data and is not accepted yet",
          "Dump again in a moment.",
        );
      }
    }
  }

  /** The listener that a client waits at. */
  #listenerOf(diag: UnixDiag): UnixDiag | undefined {
    if (diag.peer !== 0 || diag.state === TCP_LISTEN) return undefined;
    for (const other of this.#all?.values() ?? []) if (other.pending.includes(diag.ino)) return other;
    return undefined;
  }

  /** Inodes in the order in which rows are wanted: clients that wait at a listener in the order of its queue. */
  inOrder(inodes: readonly number[]): number[] {
    const waiting = [...this.#members.values()].flatMap(({ diag }) => (diag.state === TCP_LISTEN ? diag.pending : []));
    const last = new Set(waiting);
    return [...inodes.filter((ino) => !last.has(ino)), ...waiting.filter((ino) => inodes.includes(ino))];
  }

  /** The socket file that a name stands for, and whether the name still leads to it. */
  #boundFile(description: Description, diag: UnixDiag, local: Uint8Array): Partial<SocketRow> {
    const { objects } = this.collecting.context;
    const holder = nameOf(description);
    const fd = tryIoctl(description.fd, SIOCUNIXFILE);
    if (!failed(fd)) {
      try {
        const stat = tryFstat(fd);
        const link = tryReadlink(`/proc/self/fd/${fd}`);
        if (typeof stat !== "number" && link) {
          const magic = tryFstatfsType(fd);
          const object = objects.add({ stat, link, fsMagic: typeof magic === "number" ? 0n : magic, holder });
          return { object, isDeleted: leadsTo(this.collecting.context.view.path(decodeText(link)), stat) ? 0 : 1 };
        }
      } finally {
        close(fd);
      }
    }
    return this.#boundFileByName(description, diag, local);
  }

  /** Without privilege: the name, taken from where a holder stands, leads to the inode, or nobody knows where it was. */
  #boundFileByName(description: Description, diag: UnixDiag, local: Uint8Array): Partial<SocketRow> {
    const name = pathOf(local);
    const holder = nameOf(description);
    for (const { process } of description.holders) {
      const path = name.startsWith("/") ? name : `${decodeText(tryReadlink(`/proc/${process.pid}/cwd`) ?? Buffer.alloc(0))}/${name}`;
      const stat = tryStat(this.collecting.context.view.path(path));
      if (typeof stat === "number" || Number(stat.ino) !== diag.file?.ino) continue;
      const object = this.collecting.context.objects.add({ stat, link: Buffer.from(path), fsMagic: 0n, holder });
      return { object, isDeleted: 0 };
    }
    if (!name.startsWith("/")) {
      // Most likely it is deleted; it may also be where no holder stands now.
      const text = `${holder}: a unix socket bound to ${name}, which was not found; it comes back as deleted`;
      this.collecting.context.tables.losses.push(lossRow({ code: "dump.socket-name", count: 1, text }));
      return { isDeleted: 1 };
    }
    if (typeof tryStat(this.collecting.context.view.path(dirname(name))) === "number") {
      refuseDescription(description, "socket_name", `a unix socket bound to ${name}, whose directory is gone`);
    }
    return { isDeleted: 1 };
  }
}

/** A name that leads to the same socket from anywhere: abstract, or an absolute path. */
function isLastingName(address: Buffer): boolean {
  return address.length > 2 && (address[2] === 0 || address[2] === 0x2f);
}

/** sun_path of a sockaddr_un with a path. */
function pathOf(address: Uint8Array): string {
  const path = address.subarray(2);
  const end = path.indexOf(0);
  return decodeText(end < 0 ? path : path.subarray(0, end));
}

/** A name for messages: abstract ones with @. */
function printable(name: Buffer): string {
  return name[0] === 0 ? `@${decodeText(name.subarray(1))}` : decodeText(name).replace(/\0+$/, "");
}
