// SPDX-License-Identifier: Apache-2.0
/**
 * TCP and MPTCP sockets: listening, unconnected, over, connected. The kernel repairs no MPTCP connection, so these are refused
 * or given up; MPTCP sockets that are not connected are like those of TCP.
 */
import { type SocketRow, socketRow, type TcpConnectionRow, tcpConnectionRow } from "../../../gen/tables.js";
import { failed, messageFlag, tryGetsockopt, tryIoctl, tryReceive } from "../../../native/index.js";
import { type Collecting, type Description, refuseDescription } from "../../../dump/fds/context.js";
import { connectionKey, endsOf } from "../../../state/tcp.js";
import { pollEvent, polls } from "../dump-poll.js";
import { printableAddress } from "./dump-address.js";
import { commonFields, type SocketKind } from "./dump-common.js";
import { addressesOf, collectConnections, type Connected, type Connection, localAddressOf } from "./dump-connections.js";
import { tcpStateOf } from "./dump-tcp.js";

const IPPROTO_TCP = 6;
const IPPROTO_MPTCP = 262;
const TCP_INFO = 11;
const FIONREAD = 0x541b;
const tcpState = { CLOSE: 7, LISTEN: 10 } as const;
/** struct tcp_info (linux/tcp.h): state; connections that wait and the backlog (listening); segments and segments with data sent. */
const info = { state: 0, waiting: 24, backlog: 28, segmentsOut: 136, dataSegmentsOut: 156 } as const;

/** A stream socket of the tree that has been looked at. */
interface Stream {
  readonly description: Description;
  readonly kind: SocketKind;
  readonly info: Buffer;
}

export class StreamCollector {
  #connections: ReadonlyMap<number, Connection> = new Map();
  /** The rest of a connection that is over: bytes that nobody has read. */
  readonly #remains = new Map<number, TcpConnectionRow>();
  /** Clients that nobody has accepted yet, by inode, with the inode of the listener. */
  #pending: ReadonlyMap<number, number> = new Map();

  constructor(private readonly collecting: Collecting) {}

  /** Looks at all connections at once. `sockets`: every IP socket of the tree. */
  prepare(sockets: readonly { readonly description: Description; readonly kind: SocketKind }[]): void {
    const leftOut = [...(this.collecting.leftOut ?? [])];
    if (this.collecting.options.tcpClose) {
      const closing = [...leftOut, ...sockets.filter(({ kind }) => isStream(kind)).map(({ description }) => description)];
      collectConnections(this.collecting, [], closing.filter(isConnection));
      return;
    }
    const streams = sockets.filter(({ kind }) => isStream(kind)).map(look);
    const connected = streams.flatMap((stream): Connected[] => {
      const state = tcpStateOf(stream.info.readUInt8(info.state));
      const isHere = stream.kind.protocol === IPPROTO_TCP && state !== undefined && state !== "ended";
      return isHere ? [{ description: stream.description, state }] : [];
    });
    this.#pending = findPending(streams, connected);
    this.#connections = collectConnections(
      this.collecting,
      connected.filter(({ description }) => !this.#pending.has(inodeOf(description))),
      leftOut.filter(isConnection),
    );
  }

  /** The row, or a refusal that names addresses. `rowOf` gives the row that a socket of the tree has or will have. */
  collect(description: Description, kind: SocketKind, rowOf: (ino: number) => number | undefined): SocketRow {
    if (!isStream(kind)) refuseDescription(description, "socket_protocol", `a stream socket of protocol ${kind.protocol}`);
    const stream = look({ description, kind });
    const state = stream.info.readUInt8(info.state);
    const common = commonFields(description, kind);
    if (state === tcpState.LISTEN) return this.#listening(stream);
    if (state === tcpState.CLOSE && !wasConnected(stream)) return socketRow({ ...common, state: "unconnected" });
    // What was connected once has lost its port, although getsockname still shows it.
    if (state === tcpState.CLOSE || this.collecting.options.tcpClose) {
      if (state === tcpState.CLOSE) this.#keepRemains(description);
      return socketRow({ ...common, state: "closed" });
    }
    if (kind.protocol === IPPROTO_MPTCP) refuseMultipath(description);
    const listener = this.#pending.get(inodeOf(description));
    const connection = this.#connections.get(inodeOf(description));
    if (connection === undefined && listener === undefined) refuseDescription(description, "tcp_info", `a TCP socket in state ${state}`);
    const peer = listener ?? connection?.peer;
    const isReadingOver = connection !== undefined && !isEndReceived(connection.row) && polls(description.fd, pollEvent.RDHUP);
    return socketRow({
      ...common,
      ...addressesOf(description),
      state: "connected",
      peer: peer === undefined ? null : (rowOf(peer) ?? null),
      shutdown: isReadingOver ? 1 : 0,
    });
  }

  /** The row of a connection; undefined for what is none. */
  connection(description: Description): TcpConnectionRow | undefined {
    return this.#connections.get(inodeOf(description))?.row ?? this.#remains.get(inodeOf(description));
  }

  /** Clients that wait at a listener, in the order in which they are to be connected again. */
  inOrder(inodes: readonly number[]): number[] {
    return [...inodes.filter((ino) => !this.#pending.has(ino)), ...inodes.filter((ino) => this.#pending.has(ino))];
  }

  #listening({ description, kind, info: bytes }: Stream): SocketRow {
    const waiting = bytes.readUInt32LE(info.waiting);
    const known = [...this.#pending.values()].filter((listener) => listener === inodeOf(description)).length;
    if (waiting > known && !this.collecting.options.skipInFlight) {
      refuseDescription(
        description,
        "in_flight",
        `a listening TCP socket with ${waiting - known} connections that are not accepted yet`,
        "Dump again in a moment, or give --skip-in-flight to drop them.",
      );
    }
    return socketRow({ ...commonFields(description, kind), state: "listening", backlog: bytes.readUInt32LE(info.backlog) });
  }

  /** What came before a connection was over can still be read. */
  #keepRemains({ fd, stat }: Description): void {
    const waiting = new Int32Array(1);
    const length = failed(tryIoctl(fd, FIONREAD, waiting)) ? 0 : (waiting[0] ?? 0);
    if (length <= 0) return;
    const bytes = Buffer.alloc(length);
    const got = tryReceive(fd, bytes, messageFlag.PEEK | messageFlag.DONTWAIT);
    if (got > 0)
      this.#remains.set(Number(stat.ino), tcpConnectionRow({ tcpState: "ended", receiveQueue: Uint8Array.from(bytes.subarray(0, got)) }));
  }
}

const inodeOf = ({ stat }: Description): number => Number(stat.ino);
const isStream = ({ type, protocol }: SocketKind): boolean => type === 1 && (protocol === IPPROTO_TCP || protocol === IPPROTO_MPTCP);
const isEndReceived = ({ tcpState: state }: TcpConnectionRow): boolean => state !== "established" && !/^fin_wait|^syn_sent/.test(state);

/** Whether a descriptor is a TCP connection; it may be anything. */
function isConnection({ fd }: Description): boolean {
  const bytes = tryGetsockopt(fd, IPPROTO_TCP, TCP_INFO, 8);
  const state = typeof bytes === "number" ? undefined : tcpStateOf(bytes.readUInt8(info.state));
  return state !== undefined && state !== "ended";
}

function look({ description, kind }: Omit<Stream, "info">): Stream {
  const bytes = tryGetsockopt(description.fd, IPPROTO_TCP, TCP_INFO);
  if (typeof bytes === "number" || bytes.length < 32) refuseDescription(description, "tcp_info", "a TCP socket of unknown state");
  return { description, kind, info: bytes };
}

/**
 * tcpi_segs_out, or that nothing can come any more, for one that was accepted and sent nothing. Connect(2) to AF_UNSPEC takes
 * both back.
 */
function wasConnected({ description, info: bytes }: Stream): boolean {
  return hasSent(bytes, info.segmentsOut) || polls(description.fd, pollEvent.RDHUP);
}

const hasSent = (bytes: Buffer, counter: number): boolean => bytes.length >= counter + 4 && bytes.readUInt32LE(counter) > 0;

/**
 * Clients of the tree that wait at a listener of the tree. The other end has no descriptor yet, so that what such a client has
 * sent cannot be seen: then it is refused.
 */
function findPending(streams: readonly Stream[], connected: readonly Connected[]): Map<number, number> {
  const pending = new Map<number, number>();
  const waiting = streams.filter(
    ({ info: bytes }) => bytes.readUInt8(info.state) === tcpState.LISTEN && bytes.readUInt32LE(info.waiting) > 0,
  );
  if (waiting.length === 0) return pending;
  const ends = new Set(connected.map(({ description }) => keyOf(description)));
  for (const { description, state } of connected) {
    if (state !== "established" || ends.has(keyOf(description, true) ?? "")) continue;
    const listener = waiting.find((one) => listensAt(one.description, description));
    if (listener === undefined) continue;
    const bytes = streams.find((one) => one.description === description)?.info;
    if (bytes !== undefined && hasSent(bytes, info.dataSegmentsOut)) {
      refuseDescription(description, "in_flight", "a TCP socket that has sent data and is not accepted yet", "Dump again in a moment.");
    }
    pending.set(inodeOf(description), inodeOf(listener.description));
  }
  return pending;
}

function keyOf(description: Description, isReversed = false): string | undefined {
  const ends = endsOf(addressesOf(description));
  return ends && connectionKey(ends, isReversed);
}

/** The same port, and the same address or any. */
function listensAt(listener: Description, client: Description): boolean {
  const [at, to] = [localAddressOf(listener), addressesOf(client).peerAddress];
  if (at[2] !== to[2] || at[3] !== to[3]) return false;
  const isAny = at.subarray(at[0] === 2 ? 4 : 8, at[0] === 2 ? 8 : 24).every((byte) => byte === 0);
  const listening = endsOf({ localAddress: at, peerAddress: to });
  return isAny || (listening !== undefined && Buffer.from(listening.source).equals(listening.target));
}

function refuseMultipath(description: Description): never {
  const { localAddress, peerAddress } = addressesOf(description);
  const ends = `${printableAddress(Buffer.from(localAddress))} to ${printableAddress(Buffer.from(peerAddress))}`;
  refuseDescription(
    description,
    "tcp_multipath",
    `an MPTCP connection (${ends}), which the kernel cannot make again`,
    "Give --tcp-close: then the program finds it closed. A Go program started with GODEBUG=multipathtcp=0 speaks TCP.",
  );
}
