// SPDX-License-Identifier: Apache-2.0
/**
 * Socket options ↔ rows of `socket_options`. An image has a field for each option, whatever its value; the model has
 * a row for each that was changed. Numbers: asm-generic/socket.h, netinet/tcp.h, linux/in.h, linux/in6.h.
 */
import { create } from "@bufbuild/protobuf";
import { type SocketOptionRow, socketOptionRow } from "../../../src/gen/tables.js";
import { type KeptSocketOption, levelOf, socketOption, socketOptions } from "../../../src/state/socket-options.js";
import { type InetSocket, IpOptionsSchema, type SocketOptions, SocketOptionsSchema, TcpOptionsSchema } from "../gen/sockets_pb.js";

/** SO_BUF_LOCK's bits: the size was set by the program, not chosen by the kernel. */
const lockSend = 1;
const lockReceive = 2;

function int32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return bytes;
}

function intOf(bytes: Uint8Array): number {
  return bytes.length < 4 ? (bytes[0] ?? 0) : new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
}

/** struct timeval and struct linger. */
function pair64(seconds: bigint, micros: bigint): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(seconds, 0);
  bytes.writeBigUInt64LE(micros, 8);
  return bytes;
}

/** A row for an option of the table. */
function optionRow(socket: number, name: KeptSocketOption, value: Uint8Array): SocketOptionRow {
  return socketOptionRow({ socket, level: levelOf(name), option: socketOptions[name].option, value });
}

/** Rows for the options of a socket that are not as they are at first. */
export function optionsFromWire(socket: number, options: SocketOptions): SocketOptionRow[] {
  const rows: SocketOptionRow[] = [];
  const add = (name: KeptSocketOption, value: Uint8Array): void => void rows.push(optionRow(socket, name, value));
  // The kernel doubles what it is given.
  if ((options.soBufLock & lockSend) !== 0) add("SO_SNDBUF", int32(options.soSndbuf >>> 1));
  if ((options.soBufLock & lockReceive) !== 0) add("SO_RCVBUF", int32(options.soRcvbuf >>> 1));
  for (const [name, field] of booleans) if (options[field]) add(name, int32(1));
  if (options.soOobinline !== 0) add("SO_OOBINLINE", int32(1));
  if (options.soPriority !== 0) add("SO_PRIORITY", int32(options.soPriority));
  if (options.soRcvlowat > 1) add("SO_RCVLOWAT", int32(options.soRcvlowat));
  if (options.soMark !== 0) add("SO_MARK", int32(options.soMark));
  if (options.soSndTmoSec !== 0n || options.soSndTmoUsec !== 0n) add("SO_SNDTIMEO", pair64(options.soSndTmoSec, options.soSndTmoUsec));
  if (options.soRcvTmoSec !== 0n || options.soRcvTmoUsec !== 0n) add("SO_RCVTIMEO", pair64(options.soRcvTmoSec, options.soRcvTmoUsec));
  if (options.soBoundDev.length > 0) add("SO_BINDTODEVICE", options.soBoundDev);
  if (lingerIsSet(options)) add("SO_LINGER", Buffer.concat([int32(1), int32(options.soLinger)]));
  return rows;
}

const booleans = [
  ["SO_REUSEADDR", "reuseaddr"],
  ["SO_REUSEPORT", "soReuseport"],
  ["SO_PASSCRED", "soPasscred"],
  ["SO_PASSSEC", "soPasssec"],
  ["SO_DONTROUTE", "soDontroute"],
  ["SO_NO_CHECK", "soNoCheck"],
  ["SO_BROADCAST", "soBroadcast"],
  ["SO_KEEPALIVE", "soKeepalive"],
] as const satisfies readonly (readonly [KeptSocketOption, keyof SocketOptions])[];

/** The field is there only if SO_LINGER is on. */
function lingerIsSet(options: SocketOptions): boolean {
  return Object.hasOwn(options, "soLinger");
}

/** Sizes as the kernel chooses them where nothing else is known: net.core.*mem_default, tcp_*mem's middle values. */
const bufferSizes = { other: { send: 212_992, receive: 212_992 }, tcp: { send: 16_384, receive: 131_072 } } as const;

/** Options of SOL_SOCKET from rows. */
export function optionsToWire(rows: readonly SocketOptionRow[], family: number, isTcp: boolean): SocketOptions {
  const sizes = isTcp ? bufferSizes.tcp : bufferSizes.other;
  const options = create(SocketOptionsSchema, {
    soSndbuf: sizes.send,
    soRcvbuf: sizes.receive,
    soSndTmoSec: 0n,
    soSndTmoUsec: 0n,
    soRcvTmoSec: 0n,
    soRcvTmoUsec: 0n,
    reuseaddr: false,
    soPriority: 0,
    soRcvlowat: 1,
    soDontroute: false,
    soNoCheck: false,
    soReuseport: false,
    soBroadcast: false,
    soKeepalive: false,
    soOobinline: 0,
    soBufLock: 0,
  });
  if (family === 1) {
    options.soPasscred = false;
    options.soPasssec = false;
  }
  for (const row of rows) ofEvery[keptName(row) ?? "none"]?.(options, row.value);
  return options;
}

/** The row's name if an image has a field for it. */
function keptName(row: SocketOptionRow): KeptSocketOption | undefined {
  const found = socketOption(row);
  return found?.criu === "kept" ? (found.name as KeptSocketOption) : undefined;
}

/** Options of IP sockets, which are in another message. */
type InetOption = Extract<KeptSocketOption, `IP_${string}` | `IPV6_${string}` | `TCP_${string}`>;

type Setter = (options: SocketOptions, value: Uint8Array) => void;

const flag =
  (field: (typeof booleans)[number][1]): Setter =>
  (options, value) => {
    options[field] = intOf(value) !== 0;
  };
const sendSize: Setter = (options, value) => {
  options.soSndbuf = (intOf(value) * 2) >>> 0;
  options.soBufLock |= lockSend;
};
const receiveSize: Setter = (options, value) => {
  options.soRcvbuf = (intOf(value) * 2) >>> 0;
  options.soBufLock |= lockReceive;
};
const timeOf = (value: Uint8Array): [bigint, bigint] | undefined => {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  return value.length >= 16 ? [view.getBigUint64(0, true), view.getBigUint64(8, true)] : undefined;
};

/** Where each option of SOL_SOCKET goes; complete by type. */
const setters: Record<Exclude<KeptSocketOption, InetOption>, Setter> = {
  SO_REUSEADDR: flag("reuseaddr"),
  SO_REUSEPORT: flag("soReuseport"),
  SO_PASSCRED: flag("soPasscred"),
  SO_PASSSEC: flag("soPasssec"),
  SO_DONTROUTE: flag("soDontroute"),
  SO_NO_CHECK: flag("soNoCheck"),
  SO_BROADCAST: flag("soBroadcast"),
  SO_KEEPALIVE: flag("soKeepalive"),
  SO_SNDBUF: sendSize,
  SO_SNDBUFFORCE: sendSize,
  SO_RCVBUF: receiveSize,
  SO_RCVBUFFORCE: receiveSize,
  SO_OOBINLINE: (options, value) => {
    options.soOobinline = intOf(value) !== 0 ? 1 : 0;
  },
  SO_PRIORITY: (options, value) => {
    options.soPriority = intOf(value) >>> 0;
  },
  SO_RCVLOWAT: (options, value) => {
    options.soRcvlowat = intOf(value) >>> 0;
  },
  SO_MARK: (options, value) => {
    options.soMark = intOf(value) >>> 0;
  },
  SO_BUF_LOCK: (options, value) => {
    options.soBufLock = intOf(value) >>> 0;
  },
  SO_BINDTODEVICE: (options, value) => {
    options.soBoundDev = value;
  },
  SO_LINGER: (options, value) => {
    if (value.length >= 8 && intOf(value) !== 0) options.soLinger = intOf(value.subarray(4)) >>> 0;
  },
  SO_SNDTIMEO: (options, value) => {
    [options.soSndTmoSec, options.soSndTmoUsec] = timeOf(value) ?? [options.soSndTmoSec, options.soSndTmoUsec];
  },
  SO_RCVTIMEO: (options, value) => {
    [options.soRcvTmoSec, options.soRcvTmoUsec] = timeOf(value) ?? [options.soRcvTmoSec, options.soRcvTmoUsec];
  },
};
const ofEvery: Readonly<Record<string, Setter | undefined>> = setters;

/** Rows for the options of an IP socket beyond those of every socket. */
export function inetOptionsFromWire(socket: number, entry: InetSocket): SocketOptionRow[] {
  const rows: SocketOptionRow[] = [];
  const add = (name: InetOption, value: number): void => void rows.push(optionRow(socket, name, int32(value)));
  if (entry.family === 10) add("IPV6_V6ONLY", entry.v6only ? 1 : 0);
  if (entry.ipOpts?.freebind) add("IP_FREEBIND", 1);
  if (entry.ipOpts?.pktinfo) add("IP_PKTINFO", 1);
  if ((entry.ipOpts?.tos ?? 0) !== 0) add("IP_TOS", entry.ipOpts?.tos ?? 0);
  if (![undefined, 0, defaultTtl].includes(entry.ipOpts?.ttl)) add("IP_TTL", entry.ipOpts?.ttl ?? 0);
  const { tcpOpts } = entry;
  if (tcpOpts?.nodelay) add("TCP_NODELAY", 1);
  if (tcpOpts?.cork) add("TCP_CORK", 1);
  if (tcpOpts && tcpOpts.keepcnt !== 0 && tcpOpts.keepcnt !== defaultKeep.count) add("TCP_KEEPCNT", tcpOpts.keepcnt);
  if (tcpOpts && tcpOpts.keepidle !== 0 && tcpOpts.keepidle !== defaultKeep.idle) add("TCP_KEEPIDLE", tcpOpts.keepidle);
  if (tcpOpts && tcpOpts.keepintvl !== 0 && tcpOpts.keepintvl !== defaultKeep.interval) add("TCP_KEEPINTVL", tcpOpts.keepintvl);
  return rows;
}

const defaultTtl = 64;
const defaultKeep = { count: 9, idle: 7200, interval: 75 } as const;

/** Where each option of an IP socket goes, with its value or what a socket has at first; complete by type. */
const inetSetters: Record<InetOption, (entry: InetSocket, value: number | undefined, isTcp: boolean) => void> = {
  IPV6_V6ONLY: (entry, value = 0) => {
    if (entry.family === 10) entry.v6only = value !== 0;
  },
  IP_FREEBIND: ({ ipOpts }, value = 0) => {
    if (ipOpts && value !== 0) ipOpts.freebind = true;
  },
  IP_PKTINFO: ({ ipOpts }, value = 0) => {
    if (ipOpts && value !== 0) ipOpts.pktinfo = true;
  },
  IP_TOS: ({ ipOpts }, value = 0) => {
    if (ipOpts && value !== 0) ipOpts.tos = value;
  },
  IP_TTL: ({ ipOpts }, value = defaultTtl) => {
    if (ipOpts) ipOpts.ttl = value;
  },
  TCP_CORK: ({ tcpOpts }, value = 0, isTcp) => {
    if (tcpOpts && isTcp && value !== 0) tcpOpts.cork = true;
  },
  TCP_NODELAY: ({ tcpOpts }, value = 0, isTcp) => {
    if (tcpOpts && isTcp && value !== 0) tcpOpts.nodelay = true;
  },
  TCP_KEEPCNT: ({ tcpOpts }, value = defaultKeep.count, isTcp) => {
    if (tcpOpts && isTcp) tcpOpts.keepcnt = value;
  },
  TCP_KEEPIDLE: ({ tcpOpts }, value = defaultKeep.idle, isTcp) => {
    if (tcpOpts && isTcp) tcpOpts.keepidle = value;
  },
  TCP_KEEPINTVL: ({ tcpOpts }, value = defaultKeep.interval, isTcp) => {
    if (tcpOpts && isTcp) tcpOpts.keepintvl = value;
  },
};

/** Puts the rows beyond SOL_SOCKET into an IP socket entry. */
export function inetOptionsToWire(rows: readonly SocketOptionRow[], entry: InetSocket, isTcp: boolean): void {
  entry.ipOpts = create(IpOptionsSchema, {});
  entry.tcpOpts = create(TcpOptionsSchema, {});
  for (const [name, set] of Object.entries(inetSetters)) {
    const row = rows.find((candidate) => keptName(candidate) === name);
    set(entry, row && intOf(row.value), isTcp);
  }
}

/** True if an image has a field for the option. */
export function isStorableOption(row: SocketOptionRow): boolean {
  return keptName(row) !== undefined;
}
