// SPDX-License-Identifier: Apache-2.0
/**
 * The socket options that are kept, one row each: dump, lowering, `show` and CRIU's mapping go through them. Numbers:
 * asm-generic/socket.h, linux/in.h, in6.h, tcp.h, udp.h, icmp.h, icmpv6.h, netlink.h, if_packet.h.
 */
import type { SocketOptionRow } from "../gen/tables.js";

/** Sockets that have an option. */
export type OptionScope = "any" | "inet" | "inet6" | "tcp" | "udp" | "udpLite" | "rawIcmp" | "rawIcmpv6" | "netlink" | "packet";

const levels: Readonly<Record<OptionScope, number>> = {
  any: 1,
  inet: 0,
  inet6: 41,
  tcp: 6,
  udp: 17,
  udpLite: 136,
  rawIcmp: 255,
  rawIcmpv6: 58,
  netlink: 270,
  packet: 263,
};

export interface SocketOption {
  readonly of: OptionScope;
  /** SO_*, IP_*, … number. */
  readonly option: number;
  /** `kept`: formats/criu/map/socket-options.ts maps it; `lost`: an image set has no field for it. */
  readonly criu: "kept" | "lost";
  /**
   * How it is read and set; absent: as the same bytes. `text`: text of any length. The others are found by code of
   * their own: `size` of a queue, and the `lock` that says that the program chose it; a BPF `filter`; a `membership`
   * (or a peer's key), of which a socket may have several.
   */
  readonly how?: "text" | "size" | "lock" | "filter" | "membership";
  /** The kernel refuses to set it on a stream socket. */
  readonly notForStreams?: true;
  /** It is set after queues are filled and filters attached. */
  readonly isLate?: true;
}

/** In the order in which they are set. */
export const socketOptions = {
  SO_REUSEADDR: { of: "any", option: 2, criu: "kept" },
  SO_DONTROUTE: { of: "any", option: 5, criu: "kept" },
  SO_BROADCAST: { of: "any", option: 6, criu: "kept" },
  SO_KEEPALIVE: { of: "any", option: 9, criu: "kept" },
  SO_OOBINLINE: { of: "any", option: 10, criu: "kept" },
  SO_NO_CHECK: { of: "any", option: 11, criu: "kept" },
  SO_LINGER: { of: "any", option: 13, criu: "kept" },
  SO_REUSEPORT: { of: "any", option: 15, criu: "kept" },
  SO_PASSCRED: { of: "any", option: 16, criu: "kept" },
  SO_RCVLOWAT: { of: "any", option: 18, criu: "kept" },
  SO_RCVTIMEO: { of: "any", option: 20, criu: "kept" },
  SO_SNDTIMEO: { of: "any", option: 21, criu: "kept" },
  SO_TIMESTAMP: { of: "any", option: 29, criu: "lost" },
  SO_PASSSEC: { of: "any", option: 34, criu: "kept" },
  SO_TIMESTAMPNS: { of: "any", option: 35, criu: "lost" },
  SO_MARK: { of: "any", option: 36, criu: "kept" },
  SO_TIMESTAMPING: { of: "any", option: 37, criu: "lost" },
  SO_RXQ_OVFL: { of: "any", option: 40, criu: "lost" },
  SO_PEEK_OFF: { of: "any", option: 42, criu: "lost" },
  SO_NOFCS: { of: "any", option: 43, criu: "lost" },
  SO_SELECT_ERR_QUEUE: { of: "any", option: 45, criu: "lost" },
  SO_BUSY_POLL: { of: "any", option: 46, criu: "lost" },
  SO_MAX_PACING_RATE: { of: "any", option: 47, criu: "lost" },
  SO_ZEROCOPY: { of: "any", option: 60, criu: "lost" },
  SO_PREFER_BUSY_POLL: { of: "any", option: 69, criu: "lost" },
  SO_RCVMARK: { of: "any", option: 75, criu: "lost" },
  SO_PASSPIDFD: { of: "any", option: 76, criu: "lost" },
  SO_PASSRIGHTS: { of: "any", option: 83, criu: "lost" },
  SO_BINDTODEVICE: { of: "any", option: 25, criu: "kept", how: "text" },
  SO_INCOMING_CPU: { of: "any", option: 49, criu: "lost" },
  SO_TXTIME: { of: "any", option: 61, criu: "lost" },
  SO_WIFI_STATUS: { of: "any", option: 41, criu: "lost" },
  SO_RCVPRIORITY: { of: "any", option: 82, criu: "lost" },
  SO_TXREHASH: { of: "any", option: 74, criu: "lost" },
  SO_LOCK_FILTER: { of: "any", option: 44, criu: "lost", isLate: true },
  IP_TOS: { of: "inet", option: 1, criu: "kept" },
  IP_TTL: { of: "inet", option: 2, criu: "kept" },
  IP_HDRINCL: { of: "inet", option: 3, criu: "lost" },
  IP_OPTIONS: { of: "inet", option: 4, criu: "lost" },
  IP_RECVOPTS: { of: "inet", option: 6, criu: "lost" },
  IP_RETOPTS: { of: "inet", option: 7, criu: "lost" },
  IP_PKTINFO: { of: "inet", option: 8, criu: "kept" },
  IP_MTU_DISCOVER: { of: "inet", option: 10, criu: "lost" },
  IP_RECVERR: { of: "inet", option: 11, criu: "lost" },
  IP_RECVTTL: { of: "inet", option: 12, criu: "lost" },
  IP_RECVTOS: { of: "inet", option: 13, criu: "lost" },
  IP_FREEBIND: { of: "inet", option: 15, criu: "kept" },
  IP_PASSSEC: { of: "inet", option: 18, criu: "lost" },
  IP_TRANSPARENT: { of: "inet", option: 19, criu: "lost" },
  IP_RECVORIGDSTADDR: { of: "inet", option: 20, criu: "lost" },
  IP_MINTTL: { of: "inet", option: 21, criu: "lost" },
  IP_NODEFRAG: { of: "inet", option: 22, criu: "lost" },
  IP_CHECKSUM: { of: "inet", option: 23, criu: "lost" },
  IP_BIND_ADDRESS_NO_PORT: { of: "inet", option: 24, criu: "lost" },
  IP_RECVFRAGSIZE: { of: "inet", option: 25, criu: "lost" },
  IP_RECVERR_RFC4884: { of: "inet", option: 26, criu: "lost" },
  IP_MULTICAST_TTL: { of: "inet", option: 33, criu: "lost", notForStreams: true },
  IP_MULTICAST_LOOP: { of: "inet", option: 34, criu: "lost" },
  IP_MULTICAST_ALL: { of: "inet", option: 49, criu: "lost" },
  IP_LOCAL_PORT_RANGE: { of: "inet", option: 51, criu: "lost" },
  IP_ROUTER_ALERT: { of: "inet", option: 5, criu: "lost" },
  IP_UNICAST_IF: { of: "inet", option: 50, criu: "lost" },
  IPV6_UNICAST_HOPS: { of: "inet6", option: 16, criu: "lost" },
  IPV6_MULTICAST_IF: { of: "inet6", option: 17, criu: "lost", notForStreams: true },
  IPV6_MULTICAST_HOPS: { of: "inet6", option: 18, criu: "lost", notForStreams: true },
  IPV6_MULTICAST_LOOP: { of: "inet6", option: 19, criu: "lost" },
  IPV6_MTU_DISCOVER: { of: "inet6", option: 23, criu: "lost" },
  IPV6_RECVERR: { of: "inet6", option: 25, criu: "lost" },
  IPV6_V6ONLY: { of: "inet6", option: 26, criu: "kept" },
  IPV6_MULTICAST_ALL: { of: "inet6", option: 29, criu: "lost" },
  IPV6_RECVERR_RFC4884: { of: "inet6", option: 31, criu: "lost" },
  IPV6_FLOWINFO_SEND: { of: "inet6", option: 33, criu: "lost" },
  IPV6_HDRINCL: { of: "inet6", option: 36, criu: "lost" },
  IPV6_RECVPKTINFO: { of: "inet6", option: 49, criu: "lost" },
  IPV6_RECVHOPLIMIT: { of: "inet6", option: 51, criu: "lost" },
  IPV6_RECVHOPOPTS: { of: "inet6", option: 53, criu: "lost" },
  IPV6_RECVRTHDR: { of: "inet6", option: 56, criu: "lost" },
  IPV6_RECVDSTOPTS: { of: "inet6", option: 58, criu: "lost" },
  IPV6_RECVPATHMTU: { of: "inet6", option: 60, criu: "lost" },
  IPV6_DONTFRAG: { of: "inet6", option: 62, criu: "lost" },
  IPV6_RECVTCLASS: { of: "inet6", option: 66, criu: "lost" },
  IPV6_TCLASS: { of: "inet6", option: 67, criu: "lost" },
  IPV6_AUTOFLOWLABEL: { of: "inet6", option: 70, criu: "lost" },
  IPV6_ADDR_PREFERENCES: { of: "inet6", option: 72, criu: "lost" },
  IPV6_MINHOPCOUNT: { of: "inet6", option: 73, criu: "lost" },
  IPV6_RECVORIGDSTADDR: { of: "inet6", option: 74, criu: "lost" },
  IPV6_TRANSPARENT: { of: "inet6", option: 75, criu: "lost" },
  IPV6_RECVFRAGSIZE: { of: "inet6", option: 77, criu: "lost" },
  IPV6_FREEBIND: { of: "inet6", option: 78, criu: "lost" },
  IPV6_UNICAST_IF: { of: "inet6", option: 76, criu: "lost" },
  TCP_NODELAY: { of: "tcp", option: 1, criu: "kept" },
  TCP_MAXSEG: { of: "tcp", option: 2, criu: "lost" },
  TCP_CORK: { of: "tcp", option: 3, criu: "kept" },
  TCP_KEEPIDLE: { of: "tcp", option: 4, criu: "kept" },
  TCP_KEEPINTVL: { of: "tcp", option: 5, criu: "kept" },
  TCP_KEEPCNT: { of: "tcp", option: 6, criu: "kept" },
  TCP_SYNCNT: { of: "tcp", option: 7, criu: "lost" },
  TCP_LINGER2: { of: "tcp", option: 8, criu: "lost" },
  TCP_DEFER_ACCEPT: { of: "tcp", option: 9, criu: "lost" },
  TCP_WINDOW_CLAMP: { of: "tcp", option: 10, criu: "lost" },
  TCP_THIN_LINEAR_TIMEOUTS: { of: "tcp", option: 16, criu: "lost" },
  TCP_USER_TIMEOUT: { of: "tcp", option: 18, criu: "lost" },
  TCP_FASTOPEN: { of: "tcp", option: 23, criu: "lost" },
  TCP_NOTSENT_LOWAT: { of: "tcp", option: 25, criu: "lost" },
  TCP_SAVE_SYN: { of: "tcp", option: 27, criu: "lost" },
  TCP_FASTOPEN_CONNECT: { of: "tcp", option: 30, criu: "lost" },
  TCP_FASTOPEN_NO_COOKIE: { of: "tcp", option: 34, criu: "lost" },
  TCP_INQ: { of: "tcp", option: 36, criu: "lost" },
  TCP_TX_DELAY: { of: "tcp", option: 37, criu: "lost" },
  TCP_CONGESTION: { of: "tcp", option: 13, criu: "lost", how: "text" },
  TCP_FASTOPEN_KEY: { of: "tcp", option: 33, criu: "lost" },
  TCP_RTO_MAX_MS: { of: "tcp", option: 44, criu: "lost" },
  TCP_RTO_MIN_US: { of: "tcp", option: 45, criu: "lost" },
  TCP_DELACK_MAX_US: { of: "tcp", option: 46, criu: "lost" },
  UDP_NO_CHECK6_TX: { of: "udp", option: 101, criu: "lost" },
  UDP_NO_CHECK6_RX: { of: "udp", option: 102, criu: "lost" },
  UDP_SEGMENT: { of: "udp", option: 103, criu: "lost" },
  UDP_GRO: { of: "udp", option: 104, criu: "lost" },
  UDP_ENCAP: { of: "udp", option: 100, criu: "lost" },
  UDPLITE_SEND_CSCOV: { of: "udpLite", option: 10, criu: "lost" },
  UDPLITE_RECV_CSCOV: { of: "udpLite", option: 11, criu: "lost" },
  ICMP_FILTER: { of: "rawIcmp", option: 1, criu: "lost" },
  ICMPV6_FILTER: { of: "rawIcmpv6", option: 1, criu: "lost" },
  NETLINK_PKTINFO: { of: "netlink", option: 3, criu: "lost" },
  NETLINK_BROADCAST_ERROR: { of: "netlink", option: 4, criu: "lost" },
  NETLINK_NO_ENOBUFS: { of: "netlink", option: 5, criu: "lost" },
  NETLINK_LISTEN_ALL_NSID: { of: "netlink", option: 8, criu: "lost" },
  NETLINK_CAP_ACK: { of: "netlink", option: 10, criu: "lost" },
  NETLINK_EXT_ACK: { of: "netlink", option: 11, criu: "lost" },
  NETLINK_GET_STRICT_CHK: { of: "netlink", option: 12, criu: "lost" },
  PACKET_AUXDATA: { of: "packet", option: 8, criu: "lost" },
  PACKET_ORIGDEV: { of: "packet", option: 9, criu: "lost" },
  PACKET_VERSION: { of: "packet", option: 10, criu: "lost" },
  PACKET_RESERVE: { of: "packet", option: 12, criu: "lost" },
  PACKET_LOSS: { of: "packet", option: 14, criu: "lost" },
  PACKET_VNET_HDR: { of: "packet", option: 15, criu: "lost" },
  PACKET_COPY_THRESH: { of: "packet", option: 7, criu: "lost", how: "membership" },
  PACKET_ADD_MEMBERSHIP: { of: "packet", option: 1, criu: "lost", how: "membership" },
  PACKET_RX_RING: { of: "packet", option: 5, criu: "lost", how: "membership" },
  PACKET_TX_RING: { of: "packet", option: 13, criu: "lost", how: "membership" },
  PACKET_FANOUT: { of: "packet", option: 18, criu: "lost", how: "membership", isLate: true },
  PACKET_QDISC_BYPASS: { of: "packet", option: 20, criu: "lost" },
  PACKET_IGNORE_OUTGOING: { of: "packet", option: 23, criu: "lost" },
  PACKET_TIMESTAMP: { of: "packet", option: 17, criu: "lost" },
  // After IP_TOS, which changes it.
  SO_PRIORITY: { of: "any", option: 12, criu: "kept" },
  SO_SNDBUF: { of: "any", option: 7, criu: "kept", how: "size", isLate: true },
  SO_RCVBUF: { of: "any", option: 8, criu: "kept", how: "size", isLate: true },
  SO_SNDBUFFORCE: { of: "any", option: 32, criu: "kept", how: "size" },
  SO_RCVBUFFORCE: { of: "any", option: 33, criu: "kept", how: "size" },
  // Setting a size locks it.
  SO_BUF_LOCK: { of: "any", option: 72, criu: "kept", how: "lock", isLate: true },
  SO_ATTACH_FILTER: { of: "any", option: 26, criu: "lost", how: "filter" },
  NETLINK_ADD_MEMBERSHIP: { of: "netlink", option: 1, criu: "lost", how: "membership" },
  // The same numbers for IPv4 and IPv6: struct group_req, and struct group_filter of a group that was joined.
  MCAST_JOIN_GROUP: { of: "inet", option: 42, criu: "lost", how: "membership" },
  MCAST_MSFILTER: { of: "inet", option: 48, criu: "lost", how: "membership" },
  IPV6_MCAST_JOIN_GROUP: { of: "inet6", option: 42, criu: "lost", how: "membership" },
  IPV6_MCAST_MSFILTER: { of: "inet6", option: 48, criu: "lost", how: "membership" },
  TCP_MD5SIG_EXT: { of: "tcp", option: 32, criu: "lost", how: "membership" },
} as const satisfies Readonly<Record<string, SocketOption>>;

export type SocketOptionName = keyof typeof socketOptions;

/** Those that CRIU's images have a field for. */
export type KeptSocketOption = {
  [Name in SocketOptionName]: (typeof socketOptions)[Name]["criu"] extends "kept" ? Name : never;
}[SocketOptionName];

/** A row with its name and level. */
export interface NamedSocketOption extends SocketOption {
  readonly name: SocketOptionName;
  readonly level: number;
}

let all: readonly NamedSocketOption[] | undefined;
let byNumber: ReadonlyMap<string, NamedSocketOption> | undefined;

/** Made when it is asked for: many programs have no socket. */
function named(): readonly NamedSocketOption[] {
  return (all ??= Object.entries<SocketOption>(socketOptions).map(([name, row]) => ({
    ...row,
    name: name as SocketOptionName,
    level: levels[row.of],
  })));
}

/** The row of an option by its numbers; undefined for one that the table does not have. */
export function socketOption({ level, option }: Pick<SocketOptionRow, "level" | "option">): NamedSocketOption | undefined {
  byNumber ??= new Map(named().map((row) => [`${row.level}:${row.option}`, row]));
  return byNumber.get(`${level}:${option}`);
}

/** `SO_KEEPALIVE`, or `level 6 option 99`. */
export function socketOptionName(row: Pick<SocketOptionRow, "level" | "option">): string {
  return socketOption(row)?.name ?? `level ${row.level} option ${row.option}`;
}

/** The level of an option of the table. */
export const levelOf = (name: SocketOptionName): number => levels[socketOptions[name].of];

/** The options that are read as they are of a socket of this kind. IPv6 sockets have IPv4's too: they may speak it. */
export function optionsFor(family: number, type: number, protocol: number): NamedSocketOption[] {
  const isInet = family === 2 || family === 10;
  const has: Readonly<Record<OptionScope, boolean>> = {
    any: true,
    inet: isInet,
    inet6: family === 10,
    tcp: isInet && type === 1,
    udp: isInet && type === 2 && protocol === 17,
    udpLite: isInet && protocol === 136,
    rawIcmp: isInet && type === 3 && protocol === 1,
    rawIcmpv6: isInet && type === 3 && protocol === 58,
    netlink: family === 16,
    packet: family === 17,
  };
  return named().filter(({ of, how, notForStreams }) => has[of] && (how === undefined || how === "text") && !(notForStreams && type === 1));
}
