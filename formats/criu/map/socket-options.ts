// SPDX-License-Identifier: Apache-2.0
/**
 * Socket options ↔ rows of `socket_options`. An image has a field for each option, whatever its value; the model has
 * a row for each that was changed. Numbers: asm-generic/socket.h, netinet/tcp.h, linux/in.h, linux/in6.h.
 */
import { create } from "@bufbuild/protobuf";
import { type SocketOptionRow, socketOptionRow } from "../../../src/gen/tables.js";
import { type InetSocket, IpOptionsSchema, type SocketOptions, SocketOptionsSchema, TcpOptionsSchema } from "../gen/sockets_pb.js";

const level = { ip: 0, socket: 1, tcp: 6, ipv6: 41 } as const;
const option = {
  reuseAddr: 2,
  dontRoute: 5,
  broadcast: 6,
  sendBuffer: 7,
  receiveBuffer: 8,
  keepAlive: 9,
  oobInline: 10,
  noCheck: 11,
  priority: 12,
  linger: 13,
  reusePort: 15,
  passCred: 16,
  receiveLowWater: 18,
  receiveTimeout: 20,
  sendTimeout: 21,
  bindToDevice: 25,
  sendBufferForce: 32,
  receiveBufferForce: 33,
  passSec: 34,
  mark: 36,
  bufferLock: 72,
} as const;

const tcp = { noDelay: 1, cork: 3, keepIdle: 4, keepInterval: 5, keepCount: 6 } as const;
const ip = { tos: 1, ttl: 2, packetInfo: 8, freeBind: 15 } as const;
const v6Only = 26;

/** SO_BUF_LOCK's bits: the size was set by the program, not chosen by the kernel. */
const lockSend = 1;
const lockReceive = 2;

type BooleanName = "reuseaddr" | "soDontroute" | "soBroadcast" | "soKeepalive" | "soNoCheck" | "soReuseport" | "soPasscred" | "soPasssec";
const booleans: readonly (readonly [BooleanName, number])[] = [
  ["reuseaddr", option.reuseAddr],
  ["soReuseport", option.reusePort],
  ["soPasscred", option.passCred],
  ["soPasssec", option.passSec],
  ["soDontroute", option.dontRoute],
  ["soNoCheck", option.noCheck],
  ["soBroadcast", option.broadcast],
  ["soKeepalive", option.keepAlive],
];

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

/** Rows for the options of a socket that are not as they are at first. */
export function optionsFromWire(socket: number, options: SocketOptions): SocketOptionRow[] {
  const rows: SocketOptionRow[] = [];
  const add = (number: number, value: Uint8Array): void => {
    rows.push(socketOptionRow({ socket, level: level.socket, option: number, value }));
  };
  // The kernel doubles what it is given.
  if ((options.soBufLock & lockSend) !== 0) add(option.sendBuffer, int32(options.soSndbuf >>> 1));
  if ((options.soBufLock & lockReceive) !== 0) add(option.receiveBuffer, int32(options.soRcvbuf >>> 1));
  for (const [name, number] of booleans) if (options[name]) add(number, int32(1));
  if (options.soOobinline !== 0) add(option.oobInline, int32(1));
  if (options.soPriority !== 0) add(option.priority, int32(options.soPriority));
  if (options.soRcvlowat > 1) add(option.receiveLowWater, int32(options.soRcvlowat));
  if (options.soMark !== 0) add(option.mark, int32(options.soMark));
  if (options.soSndTmoSec !== 0n || options.soSndTmoUsec !== 0n) add(option.sendTimeout, pair64(options.soSndTmoSec, options.soSndTmoUsec));
  if (options.soRcvTmoSec !== 0n || options.soRcvTmoUsec !== 0n)
    add(option.receiveTimeout, pair64(options.soRcvTmoSec, options.soRcvTmoUsec));
  if (options.soBoundDev.length > 0) add(option.bindToDevice, options.soBoundDev);
  if (lingerIsSet(options)) add(option.linger, Buffer.concat([int32(1), int32(options.soLinger)]));
  return rows;
}

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
  for (const row of rows) if (row.level === level.socket) setOption(options, row);
  return options;
}

function setOption(options: SocketOptions, { option: number, value }: SocketOptionRow): void {
  const boolean = booleans.find(([, candidate]) => candidate === number);
  if (boolean) {
    options[boolean[0]] = intOf(value) !== 0;
    return;
  }
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  switch (number) {
    case option.sendBuffer:
    case option.sendBufferForce:
      options.soSndbuf = (intOf(value) * 2) >>> 0;
      options.soBufLock |= lockSend;
      break;
    case option.receiveBuffer:
    case option.receiveBufferForce:
      options.soRcvbuf = (intOf(value) * 2) >>> 0;
      options.soBufLock |= lockReceive;
      break;
    case option.oobInline:
      options.soOobinline = intOf(value) !== 0 ? 1 : 0;
      break;
    case option.priority:
      options.soPriority = intOf(value) >>> 0;
      break;
    case option.receiveLowWater:
      options.soRcvlowat = intOf(value) >>> 0;
      break;
    case option.mark:
      options.soMark = intOf(value) >>> 0;
      break;
    case option.bufferLock:
      options.soBufLock = intOf(value) >>> 0;
      break;
    case option.bindToDevice:
      options.soBoundDev = value;
      break;
    case option.linger:
      if (value.length >= 8 && intOf(value) !== 0) options.soLinger = view.getUint32(4, true);
      break;
    case option.sendTimeout:
      if (value.length >= 16) [options.soSndTmoSec, options.soSndTmoUsec] = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
      break;
    case option.receiveTimeout:
      if (value.length >= 16) [options.soRcvTmoSec, options.soRcvTmoUsec] = [view.getBigUint64(0, true), view.getBigUint64(8, true)];
      break;
    default:
      break;
  }
}

/** Rows for the options of an IP socket beyond those of every socket. */
export function inetOptionsFromWire(socket: number, entry: InetSocket): SocketOptionRow[] {
  const rows: SocketOptionRow[] = [];
  const add = (at: number, number: number, value: number): void => {
    rows.push(socketOptionRow({ socket, level: at, option: number, value: int32(value) }));
  };
  if (entry.family === 10) add(level.ipv6, v6Only, entry.v6only ? 1 : 0);
  if (entry.ipOpts?.freebind) add(level.ip, ip.freeBind, 1);
  if (entry.ipOpts?.pktinfo) add(level.ip, ip.packetInfo, 1);
  if ((entry.ipOpts?.tos ?? 0) !== 0) add(level.ip, ip.tos, entry.ipOpts?.tos ?? 0);
  if (![undefined, 0, defaultTtl].includes(entry.ipOpts?.ttl)) add(level.ip, ip.ttl, entry.ipOpts?.ttl ?? 0);
  const { tcpOpts } = entry;
  if (tcpOpts?.nodelay) add(level.tcp, tcp.noDelay, 1);
  if (tcpOpts?.cork) add(level.tcp, tcp.cork, 1);
  if (tcpOpts && tcpOpts.keepcnt !== 0 && tcpOpts.keepcnt !== defaultKeep.count) add(level.tcp, tcp.keepCount, tcpOpts.keepcnt);
  if (tcpOpts && tcpOpts.keepidle !== 0 && tcpOpts.keepidle !== defaultKeep.idle) add(level.tcp, tcp.keepIdle, tcpOpts.keepidle);
  if (tcpOpts && tcpOpts.keepintvl !== 0 && tcpOpts.keepintvl !== defaultKeep.interval) add(level.tcp, tcp.keepInterval, tcpOpts.keepintvl);
  return rows;
}

const defaultTtl = 64;
const defaultKeep = { count: 9, idle: 7200, interval: 75 } as const;

/** Puts the rows beyond SOL_SOCKET into an IP socket entry. */
export function inetOptionsToWire(rows: readonly SocketOptionRow[], entry: InetSocket, isTcp: boolean): void {
  const find = (at: number, number: number): number | undefined => {
    const row = rows.find((candidate) => candidate.level === at && candidate.option === number);
    return row ? intOf(row.value) : undefined;
  };
  if (entry.family === 10) entry.v6only = (find(level.ipv6, v6Only) ?? 0) !== 0;
  entry.ipOpts = create(IpOptionsSchema, {});
  if ((find(level.ip, ip.freeBind) ?? 0) !== 0) entry.ipOpts.freebind = true;
  if ((find(level.ip, ip.packetInfo) ?? 0) !== 0) entry.ipOpts.pktinfo = true;
  const tos = find(level.ip, ip.tos);
  if (tos !== undefined && tos !== 0) entry.ipOpts.tos = tos;
  entry.ipOpts.ttl = find(level.ip, ip.ttl) ?? defaultTtl;
  entry.tcpOpts = create(TcpOptionsSchema, {});
  if (!isTcp) return;
  if ((find(level.tcp, tcp.cork) ?? 0) !== 0) entry.tcpOpts.cork = true;
  if ((find(level.tcp, tcp.noDelay) ?? 0) !== 0) entry.tcpOpts.nodelay = true;
  entry.tcpOpts.keepcnt = find(level.tcp, tcp.keepCount) ?? defaultKeep.count;
  entry.tcpOpts.keepidle = find(level.tcp, tcp.keepIdle) ?? defaultKeep.idle;
  entry.tcpOpts.keepintvl = find(level.tcp, tcp.keepInterval) ?? defaultKeep.interval;
}

/** True if an image has a field for the option. */
export function isStorableOption(row: SocketOptionRow): boolean {
  if (row.level === level.socket) return (Object.values(option) as number[]).includes(row.option);
  if (row.level === level.tcp) return (Object.values(tcp) as number[]).includes(row.option);
  if (row.level === level.ip) return (Object.values(ip) as number[]).includes(row.option);
  return row.level === level.ipv6 && row.option === v6Only;
}
