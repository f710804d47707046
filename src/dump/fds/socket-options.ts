// SPDX-License-Identifier: Apache-2.0
/**
 * Socket options that are kept. Only what differs from a fresh socket of the same kind is stored: the rest needs no
 * setting, and several options may be set by root alone.
 * Option numbers: asm-generic/socket.h, linux/in.h, in6.h, tcp.h, udp.h, icmp.h, icmpv6.h.
 */
import { close, failed, socketFlag, tryGetsockopt } from "../../native/index.js";
import { call, tryCall } from "../../native/sys.js";

/** An option to read and set again. */
export interface OptionSpec {
  readonly level: number;
  readonly option: number;
  readonly name: string;
  /** The value is text whose length may vary (device, congestion control). */
  readonly isText?: true;
}

export interface OptionValue {
  readonly level: number;
  readonly option: number;
  readonly value: Buffer;
}

const list = (level: number, options: Readonly<Record<string, number>>): OptionSpec[] =>
  Object.entries(options).map(([name, option]) => ({ level, option, name }));

export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_REUSEPORT = 15;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
/** Get: the classic filter attached; EACCES for one that is not classic BPF. */
export const SO_ATTACH_FILTER = 26;

const generic: readonly OptionSpec[] = [
  ...list(SOL_SOCKET, {
    SO_REUSEADDR,
    SO_DONTROUTE: 5,
    SO_BROADCAST: 6,
    SO_KEEPALIVE: 9,
    SO_OOBINLINE: 10,
    SO_NO_CHECK: 11,
    SO_PRIORITY: 12,
    SO_LINGER: 13,
    SO_REUSEPORT,
    SO_PASSCRED: 16,
    SO_RCVLOWAT: 18,
    SO_RCVTIMEO: 20,
    SO_SNDTIMEO: 21,
    SO_TIMESTAMP: 29,
    SO_PASSSEC: 34,
    SO_TIMESTAMPNS: 35,
    SO_MARK: 36,
    SO_TIMESTAMPING: 37,
    SO_RXQ_OVFL: 40,
    SO_PEEK_OFF: 42,
    SO_NOFCS: 43,
    SO_SELECT_ERR_QUEUE: 45,
    SO_BUSY_POLL: 46,
    SO_MAX_PACING_RATE: 47,
    SO_ZEROCOPY: 60,
    SO_PREFER_BUSY_POLL: 69,
    SO_RCVMARK: 75,
    SO_PASSPIDFD: 76,
    SO_PASSRIGHTS: 83,
  }),
  { level: SOL_SOCKET, option: 25, name: "SO_BINDTODEVICE", isText: true },
];

const ip = list(0, {
  IP_TOS: 1,
  IP_TTL: 2,
  IP_HDRINCL: 3,
  IP_OPTIONS: 4,
  IP_RECVOPTS: 6,
  IP_RETOPTS: 7,
  IP_PKTINFO: 8,
  IP_MTU_DISCOVER: 10,
  IP_RECVERR: 11,
  IP_RECVTTL: 12,
  IP_RECVTOS: 13,
  IP_FREEBIND: 15,
  IP_PASSSEC: 18,
  IP_TRANSPARENT: 19,
  IP_RECVORIGDSTADDR: 20,
  IP_MINTTL: 21,
  IP_NODEFRAG: 22,
  IP_CHECKSUM: 23,
  IP_BIND_ADDRESS_NO_PORT: 24,
  IP_RECVFRAGSIZE: 25,
  IP_RECVERR_RFC4884: 26,
  IP_MULTICAST_TTL: 33,
  IP_MULTICAST_LOOP: 34,
  IP_MULTICAST_ALL: 49,
  IP_LOCAL_PORT_RANGE: 51,
});

const ipv6 = list(41, {
  IPV6_UNICAST_HOPS: 16,
  IPV6_MULTICAST_IF: 17,
  IPV6_MULTICAST_HOPS: 18,
  IPV6_MULTICAST_LOOP: 19,
  IPV6_MTU_DISCOVER: 23,
  IPV6_RECVERR: 25,
  IPV6_V6ONLY: 26,
  IPV6_MULTICAST_ALL: 29,
  IPV6_RECVERR_RFC4884: 31,
  IPV6_FLOWINFO_SEND: 33,
  IPV6_HDRINCL: 36,
  IPV6_RECVPKTINFO: 49,
  IPV6_RECVHOPLIMIT: 51,
  IPV6_RECVHOPOPTS: 53,
  IPV6_RECVRTHDR: 56,
  IPV6_RECVDSTOPTS: 58,
  IPV6_RECVPATHMTU: 60,
  IPV6_DONTFRAG: 62,
  IPV6_RECVTCLASS: 66,
  IPV6_TCLASS: 67,
  IPV6_AUTOFLOWLABEL: 70,
  IPV6_ADDR_PREFERENCES: 72,
  IPV6_MINHOPCOUNT: 73,
  IPV6_RECVORIGDSTADDR: 74,
  IPV6_TRANSPARENT: 75,
  IPV6_RECVFRAGSIZE: 77,
  IPV6_FREEBIND: 78,
});

const tcp: readonly OptionSpec[] = [
  ...list(6, {
    TCP_NODELAY: 1,
    TCP_MAXSEG: 2,
    TCP_CORK: 3,
    TCP_KEEPIDLE: 4,
    TCP_KEEPINTVL: 5,
    TCP_KEEPCNT: 6,
    TCP_SYNCNT: 7,
    TCP_LINGER2: 8,
    TCP_DEFER_ACCEPT: 9,
    TCP_WINDOW_CLAMP: 10,
    TCP_THIN_LINEAR_TIMEOUTS: 16,
    TCP_USER_TIMEOUT: 18,
    TCP_FASTOPEN: 23,
    TCP_NOTSENT_LOWAT: 25,
    TCP_SAVE_SYN: 27,
    TCP_FASTOPEN_CONNECT: 30,
    TCP_FASTOPEN_NO_COOKIE: 34,
    TCP_INQ: 36,
    TCP_TX_DELAY: 37,
  }),
  { level: 6, option: 13, name: "TCP_CONGESTION", isText: true },
];

const udp = list(17, { UDP_NO_CHECK6_TX: 101, UDP_NO_CHECK6_RX: 102, UDP_SEGMENT: 103, UDP_GRO: 104 });
const udpLite = list(136, { UDPLITE_SEND_CSCOV: 10, UDPLITE_RECV_CSCOV: 11 });
const rawIp = list(255, { ICMP_FILTER: 1 });
const icmpv6 = list(58, { ICMPV6_FILTER: 1 });
const netlink = list(270, {
  NETLINK_PKTINFO: 3,
  NETLINK_BROADCAST_ERROR: 4,
  NETLINK_NO_ENOBUFS: 5,
  NETLINK_LISTEN_ALL_NSID: 8,
  NETLINK_CAP_ACK: 10,
  NETLINK_EXT_ACK: 11,
  NETLINK_GET_STRICT_CHK: 12,
});
const packet = list(263, {
  PACKET_AUXDATA: 8,
  PACKET_ORIGDEV: 9,
  PACKET_VERSION: 10,
  PACKET_RESERVE: 12,
  PACKET_LOSS: 14,
  PACKET_VNET_HDR: 15,
  PACKET_TIMESTAMP: 17,
});

/** Options that the kernel refuses to set on stream sockets: IP_MULTICAST_TTL, IPV6_MULTICAST_IF, IPV6_MULTICAST_HOPS. */
const notForStreams = ({ level, option }: OptionSpec): boolean =>
  (level === 0 && option === 33) || (level === 41 && (option === 17 || option === 18));

/** The options that may matter for a socket. IPv6 sockets have IPv4's too: they may speak it. */
export function optionsFor(family: number, type: number, protocol: number): OptionSpec[] {
  const specs = [...generic];
  if (family === 2 || family === 10) specs.push(...ip);
  if (family === 10) specs.push(...ipv6);
  if (family === 2 || family === 10) {
    if (type === 1) specs.push(...tcp);
    if (type === 2 && protocol === 17) specs.push(...udp);
    if (protocol === 136) specs.push(...udpLite);
    if (type === 3 && protocol === 1) specs.push(...rawIp);
    if (type === 3 && protocol === 58) specs.push(...icmpv6);
  }
  if (family === 16) specs.push(...netlink);
  if (family === 17) specs.push(...packet);
  return type === 1 ? specs.filter((spec) => !notForStreams(spec)) : specs;
}

/** Bytes that setsockopt takes for what getsockopt gave. */
function settable(spec: OptionSpec, value: Buffer): Buffer {
  if (!spec.isText) return Buffer.from(value);
  const end = value.indexOf(0);
  return Buffer.concat([value.subarray(0, end < 0 ? value.length : end), Buffer.alloc(1)]);
}

const SO_BUF_LOCK = 72;

/**
 * Sizes of the queues that the program has set (SO_BUF_LOCK says which); others the kernel adapts by itself. The kernel
 * doubles what it is given. Setting a size locks it, so the lock comes last.
 */
function bufferSizes(fd: number, fresh: FreshValues): OptionValue[] {
  const lock = tryGetsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, 4);
  const locked = typeof lock === "number" ? undefined : lock.readInt32LE(0);
  const values: OptionValue[] = [];
  for (const [option, bit] of [
    [SO_SNDBUF, 1],
    [SO_RCVBUF, 2],
  ] as const) {
    const now = tryGetsockopt(fd, SOL_SOCKET, option, 4);
    const isSame = typeof now === "number" || fresh.get(keyOf(SOL_SOCKET, option))?.equals(now) === true;
    if (isSame || (locked !== undefined && (locked & bit) === 0)) continue;
    const half = Buffer.alloc(4);
    half.writeInt32LE(now.readInt32LE(0) >> 1);
    values.push({ level: SOL_SOCKET, option, value: half });
  }
  if (typeof lock !== "number" && locked !== 0) values.push({ level: SOL_SOCKET, option: SO_BUF_LOCK, value: Buffer.from(lock) });
  return values;
}

/** The classic BPF filter as struct sock_filter (8 bytes each); empty for none; undefined if it is eBPF. */
export function socketFilter(fd: number): Buffer | undefined {
  // here the length is a number of instructions, not of bytes
  const length = new Int32Array([0]);
  const count = tryCall("getsockopt", fd, SOL_SOCKET, SO_ATTACH_FILTER, null, length);
  if (count === -13) return undefined;
  const instructions = length[0] ?? 0;
  if (failed(count) || instructions === 0) return Buffer.alloc(0);
  const filter = Buffer.alloc(instructions * 8);
  call("getsockopt", fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, length);
  return filter;
}

/** Values of options by level and number. */
type FreshValues = ReadonlyMap<string, Buffer>;

const keyOf = (level: number, option: number): string => `${level}:${option}`;

/** TCP_MAXSEG of a socket that was connected is what the route allowed; beyond these bounds it cannot have been set. */
function isMeasuredSegment({ name }: OptionSpec, value: Buffer): boolean {
  return name === "TCP_MAXSEG" && value.length >= 4 && (value.readInt32LE(0) < 88 || value.readInt32LE(0) > 32767);
}

/** Reads the options of sockets; what a fresh socket of each kind has is read once. */
export class OptionReader {
  readonly #fresh = new Map<string, FreshValues>();

  /** Options that differ from a fresh socket's, in the order in which they are set again. */
  changed(fd: number, family: number, type: number, protocol: number): OptionValue[] {
    const fresh = this.#freshValues(family, type, protocol);
    const values: OptionValue[] = [];
    for (const spec of optionsFor(family, type, protocol)) {
      const now = tryGetsockopt(fd, spec.level, spec.option);
      if (typeof now === "number" || fresh.get(keyOf(spec.level, spec.option))?.equals(now) || isMeasuredSegment(spec, now)) continue;
      values.push({ level: spec.level, option: spec.option, value: settable(spec, now) });
    }
    return fresh.size === 0 ? values : [...values, ...bufferSizes(fd, fresh)];
  }

  /** Empty where we may not make such a socket. */
  #freshValues(family: number, type: number, protocol: number): FreshValues {
    const key = `${family}:${type}:${protocol}`;
    const known = this.#fresh.get(key);
    if (known) return known;
    const values = new Map<string, Buffer>();
    const fd = tryCall("socket", family, type | socketFlag.CLOEXEC, protocol);
    if (!failed(fd)) {
      const sizes = [SO_SNDBUF, SO_RCVBUF].map((option) => ({ level: SOL_SOCKET, option }));
      for (const { level, option } of [...optionsFor(family, type, protocol), ...sizes]) {
        const value = tryGetsockopt(fd, level, option);
        if (typeof value !== "number") values.set(keyOf(level, option), Buffer.from(value));
      }
      close(fd);
    }
    this.#fresh.set(key, values);
    return values;
  }
}
