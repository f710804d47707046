// SPDX-License-Identifier: Apache-2.0
/** Inet sockets: TCP, UDP, raw and ICMP sockets; and netlink sockets. */
import { socketMessageRow, type SocketRow, socketRow } from "../../../gen/tables.js";
import { close, errno, failed, socketFlag, tryCall, tryGetsockopt, tryIoctl, trySocketAddress } from "../../../native/index.js";
import { type Collecting, type Description, refuseDescription } from "../../../dump/fds/context.js";
import type { OptionValue } from "../../../dump/fds/socket-options.js";
import { type InetDiag, inetSockets } from "../dump-sock-diag.js";
import { commonFields, type SocketKind } from "./dump-common.js";
import { peekDatagrams } from "./dump-datagrams.js";
import { md5Options } from "./dump-md5.js";
import { StreamCollector } from "./dump-stream.js";

const UDP_CORK = 1;
const FIONREAD = 0x541b;

/** Collects sockets of AF_INET, AF_INET6 and AF_NETLINK. */
export class InetSocketCollector {
  readonly #diags = new Map<string, Map<number, InetDiag>>();
  readonly streams: StreamCollector;
  /** Inodes of UDP sockets with datagrams. */
  readonly #waiting = new Set<number>();

  constructor(private readonly collecting: Collecting) {
    this.streams = new StreamCollector(collecting);
  }

  /** The row, or a refusal that names addresses. `rowOf` gives the row that a socket of the tree has or will have. */
  collect(description: Description, kind: SocketKind, rowOf: (ino: number) => number | undefined): SocketRow {
    if (kind.family === 16) return this.#netlink(description, kind);
    if (kind.type === 1) return this.streams.collect(description, kind, rowOf);
    return this.#datagram(description, kind);
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
    if (isUdp && hasData) this.#waiting.add(Number(stat.ino));
    if (kind.type === 3 && hasWaiting(fd))
      refuseDescription(description, "raw_queue", "a raw socket with packets waiting to be read", "Dump again in a moment.");
    return socketRow({
      ...commonFields(description, kind),
      state: typeof peer === "number" ? "unconnected" : "connected",
      peerAddress: typeof peer === "number" ? new Uint8Array(0) : Uint8Array.from(peer),
      shutdown: diag?.shutdown ?? 0,
    });
  }

  /** Rows of the datagrams that wait in a socket. */
  collectDatagrams(description: Description, { family }: SocketKind, socket: number): void {
    if (!this.#waiting.has(Number(description.stat.ino))) return;
    for (const { data, sender, target } of peekDatagrams(description, family)) {
      this.collecting.context.tables.socketMessages.push(socketMessageRow({ socket, data, senderAddress: sender, targetAddress: target }));
    }
  }

  #netlink(description: Description, kind: SocketKind): SocketRow {
    if (hasWaiting(description.fd))
      refuseDescription(description, "netlink_queue", "a netlink socket with messages waiting to be read", "Dump again in a moment.");
    const peer = trySocketAddress(description.fd, "getpeername");
    const isConnected = typeof peer !== "number" && peer.length >= 12 && (peer.readUInt32LE(4) !== 0 || peer.readUInt32LE(8) !== 0);
    return socketRow({
      ...commonFields(description, kind),
      state: isConnected ? "connected" : "unconnected",
      peerAddress: isConnected ? Uint8Array.from(peer) : new Uint8Array(0),
    });
  }

  /** Keys of TCP's MD5 signatures. Only of listening sockets does the kernel tell them. */
  signatureKeys(description: Description, kind: SocketKind, { state }: SocketRow): OptionValue[] {
    if (state !== "listening" || kind.protocol !== 6 || (kind.family !== 2 && kind.family !== 10)) return [];
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
