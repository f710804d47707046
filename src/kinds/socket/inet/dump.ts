// SPDX-License-Identifier: Apache-2.0
/** Inet sockets: TCP, UDP, raw and ICMP sockets; and netlink sockets. */
import { type SocketRow, socketRow, type TcpConnectionRow } from "../../../gen/tables.js";
import { close, errno, failed, socketFlag, tryCall, tryGetsockopt, tryIoctl, trySocketAddress } from "../../../native/index.js";
import { type Collecting, type Description, refuseDescription } from "../../../dump/fds/context.js";
import { pollEvent, polls } from "../dump-poll.js";
import { isBound } from "./dump-address.js";
import { addressesOf, collectConnections, type Connection } from "./dump-connections.js";
import { md5Options } from "./dump-md5.js";
import { tcpStateOf } from "./dump-tcp.js";
import { type InetDiag, inetSockets } from "../dump-sock-diag.js";
import type { OptionValue } from "../../../dump/fds/socket-options.js";

const TCP_INFO = 11;
const tcpState = { CLOSE: 7, LISTEN: 10 } as const;
const UDP_CORK = 1;
const FIONREAD = 0x541b;

/** What SO_DOMAIN, SO_TYPE and SO_PROTOCOL say. */
export interface SocketKind {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
}

/** Collects sockets of AF_INET, AF_INET6 and AF_NETLINK. */
export class InetSocketCollector {
  readonly #diags = new Map<string, Map<number, InetDiag>>();
  #connections: ReadonlyMap<number, Connection> = new Map();

  constructor(private readonly collecting: Collecting) {}

  /** The row, or a refusal that names addresses. `rowOf` gives the row that a socket of the tree has or will have. */
  collect(description: Description, kind: SocketKind, rowOf: (ino: number) => number | undefined): SocketRow {
    if (kind.family === 16) return this.#netlink(description, kind);
    if (kind.type === 1) return this.#stream(description, kind, rowOf);
    return this.#datagram(description, kind);
  }

  #common({ stat, fd }: Description, kind: SocketKind): Partial<SocketRow> {
    const local = trySocketAddress(fd, "getsockname");
    return {
      ino: stat.ino,
      ...kind,
      localAddress: typeof local === "number" || !isBound(local) ? new Uint8Array(0) : Uint8Array.from(local),
    };
  }

  #stream(description: Description, kind: SocketKind, rowOf: (ino: number) => number | undefined): SocketRow {
    if (kind.protocol !== 6) refuseDescription(description, "socket_protocol", `a stream socket of protocol ${kind.protocol}`);
    const info = tryGetsockopt(description.fd, 6, TCP_INFO);
    if (typeof info === "number" || info.length < 32) refuseDescription(description, "tcp_info", "a TCP socket of unknown state");
    const state = info.readUInt8(0);
    if (state === tcpState.LISTEN) {
      const waiting = info.readUInt32LE(24);
      if (waiting > 0 && !this.collecting.options.skipInFlight) {
        refuseDescription(
          description,
          "in_flight",
          `a listening TCP socket with ${waiting} connections that are not accepted yet`,
          "Dump again in a moment, or give --skip-in-flight to drop them.",
        );
      }
      return socketRow({ ...this.#common(description, kind), state: "listening", backlog: info.readUInt32LE(28) });
    }
    // What was connected once has lost its port, although getsockname still shows it.
    if (state === tcpState.CLOSE && wasConnected(description.fd, info))
      return socketRow({ ...this.#common(description, kind), state: "closed" });
    if (state === tcpState.CLOSE) return socketRow({ ...this.#common(description, kind), state: "unconnected" });
    if (this.collecting.options.tcpClose) return socketRow({ ...this.#common(description, kind), state: "closed" });
    const connection = this.#connections.get(Number(description.stat.ino));
    if (connection === undefined) refuseDescription(description, "tcp_info", `a TCP socket in state ${state}`);
    return socketRow({
      ...this.#common(description, kind),
      ...addressesOf(description),
      state: "connected",
      peer: connection.peer === undefined ? null : (rowOf(connection.peer) ?? null),
    });
  }

  /** Looks at all connections at once. `sockets`: every inet socket of the tree. */
  prepare(sockets: readonly { readonly description: Description; readonly kind: SocketKind }[]): void {
    if (this.collecting.options.tcpClose) return;
    const connected = sockets.flatMap(({ description, kind }) => {
      if (kind.type !== 1 || kind.protocol !== 6) return [];
      const info = tryGetsockopt(description.fd, 6, TCP_INFO, 8);
      const number = typeof info === "number" ? 0 : info.readUInt8(0);
      const state = tcpStateOf(number);
      return state === undefined || number === tcpState.CLOSE ? [] : [{ description, state }];
    });
    this.#connections = collectConnections(this.collecting, connected);
  }

  /** The row of a connection; undefined for what is none. */
  connection({ stat }: Description): TcpConnectionRow | undefined {
    return this.#connections.get(Number(stat.ino))?.row;
  }

  #datagram(description: Description, kind: SocketKind): SocketRow {
    const { fd, stat } = description;
    const peer = trySocketAddress(fd, "getpeername");
    const isUdp = kind.type === 2 && (kind.protocol === 17 || kind.protocol === 136);
    if (isUdp) {
      const cork = tryGetsockopt(fd, 17, UDP_CORK, 4);
      if (typeof cork !== "number" && cork.readInt32LE(0) !== 0)
        refuseDescription(description, "udp_cork", "a corked UDP socket (UDP_CORK)");
    }
    const diag = isUdp ? this.#diag(kind, Number(stat.ino)) : undefined;
    const waiting = new Int32Array(1);
    const hasData = (diag?.receiveQueue ?? 0) > 0 || (!failed(tryIoctl(fd, FIONREAD, waiting)) && (waiting[0] ?? 0) > 0);
    if (isUdp && hasData)
      refuseDescription(description, "udp_queue", "a UDP socket with datagrams waiting to be read", "Dump again in a moment.");
    if (kind.type === 3 && hasWaiting(fd))
      refuseDescription(description, "raw_queue", "a raw socket with packets waiting to be read", "Dump again in a moment.");
    return socketRow({
      ...this.#common(description, kind),
      state: typeof peer === "number" ? "unconnected" : "connected",
      peerAddress: typeof peer === "number" ? new Uint8Array(0) : Uint8Array.from(peer),
      shutdown: diag?.shutdown ?? 0,
    });
  }

  #netlink(description: Description, kind: SocketKind): SocketRow {
    if (hasWaiting(description.fd))
      refuseDescription(description, "netlink_queue", "a netlink socket with messages waiting to be read", "Dump again in a moment.");
    const peer = trySocketAddress(description.fd, "getpeername");
    const isConnected = typeof peer !== "number" && peer.length >= 12 && (peer.readUInt32LE(4) !== 0 || peer.readUInt32LE(8) !== 0);
    return socketRow({
      ...this.#common(description, kind),
      state: isConnected ? "connected" : "unconnected",
      peerAddress: isConnected ? Uint8Array.from(peer) : new Uint8Array(0),
    });
  }

  /** Keys of TCP's MD5 signatures. Only of listening sockets does the kernel tell them. */
  signatureKeys(description: Description, kind: SocketKind, { state }: SocketRow): OptionValue[] {
    if (state !== "listening" || (kind.family !== 2 && kind.family !== 10)) return [];
    return md5Options(this.#diag(kind, Number(description.stat.ino))?.md5 ?? Buffer.alloc(0));
  }

  #diag(kind: SocketKind, ino: number): InetDiag | undefined {
    const key = `${kind.family}:${kind.protocol}`;
    let sockets = this.#diags.get(key);
    if (!sockets)
      this.#diags.set(
        key,
        (sockets = inetSockets((protocol) => this.collecting.context.view.netlink(protocol), kind.family, kind.protocol)),
      );
    return sockets.get(ino);
  }
}

const SO_MEMINFO = 55;

/** Whether the queue holds something: its memory is accounted for (SK_MEMINFO_RMEM_ALLOC, the first word). Not for UDP, which is lazy. */
function hasWaiting(fd: number): boolean {
  const memory = tryGetsockopt(fd, 1, SO_MEMINFO, 64);
  return typeof memory !== "number" && memory.length >= 4 && memory.readUInt32LE(0) > 0;
}

/**
 * tcpi_segs_out (linux/tcp.h), or that nothing can come any more, for one that was accepted and sent nothing. Connect(2) to
 * AF_UNSPEC takes both back.
 */
function wasConnected(fd: number, info: Buffer): boolean {
  return (info.length >= 140 && info.readUInt32LE(136) > 0) || polls(fd, pollEvent.RDHUP);
}

/** IP_FREEBIND and IPV6_FREEBIND as level and option. */
const freebind = new Map<number, readonly [number, number]>([
  [2, [0, 15]],
  [10, [41, 78]],
]);

/**
 * Options for a socket bound to an address that this machine does not have now, although the socket may not (the option
 * was taken back after bind): set before bind, and unset after it. Empty if bind does without.
 */
export function freebindOptions(row: SocketRow, options: readonly OptionValue[]): OptionValue[] {
  const name = freebind.get(row.family);
  if (name === undefined || row.localAddress.length === 0 || row.state === "closed") return [];
  const [level, option] = name;
  if (options.some((set) => set.level === level && set.option === option)) return [];
  const probe = tryCall("socket", row.family, 2 | socketFlag.CLOEXEC, 0);
  if (failed(probe)) return [];
  const address = Uint8Array.from(row.localAddress);
  address.fill(0, 2, 4);
  const result = tryCall("bind", probe, address, address.length);
  close(probe);
  if (result !== -errno.EADDRNOTAVAIL) return [];
  return [1, 0].map((value) => ({ level, option, value: Buffer.from(Int32Array.of(value).buffer) }));
}
