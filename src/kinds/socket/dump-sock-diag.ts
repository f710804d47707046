// SPDX-License-Identifier: Apache-2.0
/** sock_diag (linux/sock_diag.h, unix_diag.h, inet_diag.h): what the kernel tells about sockets by inode. */
import { close, errno, failed, socket, SysError, tryReceive, trySend } from "../../native/index.js";
import { decodeAttributes, decodeMessages, dumpRequest, encodeMessage, netlinkType } from "./dump-netlink-messages.js";

const SOCK_DIAG_BY_FAMILY = 20;
const AF_NETLINK = 16;
const NETLINK_SOCK_DIAG = 4;
const IPPROTO_TCP = 6;
const TCP_LISTEN = 10;
const INET_DIAG_INFO = 2;

/** A unix socket as unix_diag describes it. */
export interface UnixDiag {
  readonly type: number;
  /** TCP_ESTABLISHED 1, TCP_CLOSE 7, TCP_LISTEN 10. */
  readonly state: number;
  readonly ino: number;
  /** sun_path as bound: abstract names begin with NUL; empty if unbound. */
  readonly name: Buffer;
  /** Inode and device of the socket file, if bound to a path. */
  readonly file?: { readonly ino: number; readonly device: number };
  /** Inode of the peer; 0 for none, or one that is gone or not yet accepted. */
  readonly peer: number;
  /** Listening: inodes of the clients whose connections wait to be accepted. */
  readonly pending: readonly number[];
  /** Bytes to read (listening: connections waiting). */
  readonly receiveQueue: number;
  /** Listening: the backlog. */
  readonly sendQueue: number;
  /** RCV_SHUTDOWN 1, SEND_SHUTDOWN 2. */
  readonly shutdown: number;
}

/** struct unix_diag_req asking for every unix socket of the network namespace with all that can be shown. */
export function encodeUnixRequest(): Buffer {
  const request = Buffer.alloc(24);
  request.writeUInt8(1, 0);
  request.writeUInt32LE(0xffffffff, 4);
  // UDIAG_SHOW_NAME, VFS, PEER, ICONS, RQLEN
  request.writeUInt32LE(0x1f, 12);
  request.writeUInt32LE(0xffffffff, 16);
  request.writeUInt32LE(0xffffffff, 20);
  return request;
}

/** struct unix_diag_msg and its attributes. */
export function decodeUnixDiag(payload: Buffer): UnixDiag | undefined {
  if (payload.length < 16) return undefined;
  const attributes = decodeAttributes(payload, 16);
  const file = attributes.get(1);
  const pending = attributes.get(3);
  const queues = attributes.get(4);
  const inodes: number[] = [];
  for (let at = 0; pending && at + 4 <= pending.length; at += 4) inodes.push(pending.readUInt32LE(at));
  return {
    type: payload.readUInt8(1),
    state: payload.readUInt8(2),
    ino: payload.readUInt32LE(4),
    name: attributes.get(0) ?? Buffer.alloc(0),
    file: file && file.length >= 8 ? { ino: file.readUInt32LE(0), device: file.readUInt32LE(4) } : undefined,
    peer: attributes.get(2)?.readUInt32LE(0) ?? 0,
    pending: inodes,
    receiveQueue: queues?.readUInt32LE(0) ?? 0,
    sendQueue: queues?.readUInt32LE(4) ?? 0,
    shutdown: attributes.get(6)?.readUInt8(0) ?? 0,
  };
}

/** struct inet_diag_req_v2 for all sockets of a protocol, asking for INET_DIAG_SHUTDOWN besides. */
export function encodeInetRequest(family: number, protocol: number, states = 0xffffffff): Buffer {
  const request = Buffer.alloc(56);
  request.writeUInt8(family, 0);
  request.writeUInt8(protocol, 1);
  // Keys come with INET_DIAG_INFO (2), though in an attribute of their own.
  if (protocol === IPPROTO_TCP) request.writeUInt8(1 << (INET_DIAG_INFO - 1), 2);
  request.writeUInt32LE(states, 4);
  return request;
}

/** What inet_diag says beyond getsockopt. */
export interface InetDiag {
  readonly ino: number;
  readonly shutdown: number;
  readonly receiveQueue: number;
  /** struct tcp_diag_md5sig of each peer that has a key (TCP_MD5SIG); told to CAP_NET_ADMIN only. */
  readonly md5: Buffer;
}

/** struct inet_diag_msg, INET_DIAG_SHUTDOWN (8) and INET_DIAG_MD5SIG (18). */
export function decodeInetDiag(payload: Buffer): InetDiag | undefined {
  if (payload.length < 72) return undefined;
  const attributes = decodeAttributes(payload, 72);
  return {
    ino: payload.readUInt32LE(68),
    shutdown: attributes.get(8)?.readUInt8(0) ?? 0,
    // the buffer is used again for the next answer
    md5: Buffer.from(attributes.get(18) ?? []),
    receiveQueue: payload.readUInt32LE(56),
  };
}

/** Runs one dump request; calls `onMessage` for every answer. Throws SysError when the kernel lacks sock_diag. */
function ask(own: number | undefined, request: Buffer, onMessage: (payload: Buffer) => void): void {
  const fd = own ?? socket(AF_NETLINK, 3, NETLINK_SOCK_DIAG);
  try {
    askNetlink(fd, SOCK_DIAG_BY_FAMILY, request, onMessage, "sock_diag");
  } finally {
    close(fd);
  }
}

/** Runs a dump request of some kind on a netlink socket. A payload is only valid during its `onMessage`. */
export function askNetlink(fd: number, type: number, request: Buffer, onMessage: (payload: Buffer) => void, what = "netlink"): void {
  const sent = trySend(fd, encodeMessage(type, dumpRequest, 1, request));
  if (failed(sent)) throw new SysError(what, -sent);
  const answer = Buffer.alloc(1 << 16);
  for (;;) {
    const length = tryReceive(fd, answer);
    if (length === -errno.EINTR) continue;
    if (failed(length)) throw new SysError(what, -length);
    for (const message of decodeMessages(answer.subarray(0, length))) {
      if (message.type === netlinkType.DONE) return;
      if (message.type === netlinkType.ERROR) {
        throw new SysError(what, -(message.payload.length >= 4 ? message.payload.readInt32LE(0) : -errno.EIO));
      }
      onMessage(message.payload);
    }
  }
}

/** A socket to ask with, of another network namespace than crimg's; undefined for crimg's own. It is closed. */
export type Diag = (protocol: number) => number | undefined;

/** A packet socket as packet_diag describes it. */
export interface PacketDiag {
  readonly ino: number;
  /** ETH_P_*. */
  readonly protocol: number;
  readonly copyThreshold: number;
  /** struct packet_mreq each, as PACKET_ADD_MEMBERSHIP takes it. */
  readonly memberships: readonly Buffer[];
  /** struct tpacket_req3; undefined for none. */
  readonly receiveRing: Buffer | undefined;
  readonly sendRing: Buffer | undefined;
  /** As PACKET_FANOUT takes it; undefined for none. */
  readonly fanout: number | undefined;
  /** Bytes to read. */
  readonly receiveQueue: number;
}

const AF_PACKET = 17;
const PACKET_DIAG = { info: 0, memberships: 1, receiveRing: 2, sendRing: 3, fanout: 4, memory: 6 } as const;
/** struct packet_diag_mclist: device, count, type, length of the address, and room for 32 bytes of that. */
const membershipSize = 44;

/** struct packet_diag_msg and its attributes. */
function decodePacketDiag(payload: Buffer): PacketDiag | undefined {
  if (payload.length < 16) return undefined;
  const attributes = decodeAttributes(payload, 16);
  const list = attributes.get(PACKET_DIAG.memberships) ?? Buffer.alloc(0);
  const memberships: Buffer[] = [];
  for (let at = 0; at + membershipSize <= list.length; at += membershipSize) {
    // struct packet_mreq_max: device, type, length, address
    const one = Buffer.alloc(40);
    list.copy(one, 0, at, at + 4);
    list.copy(one, 4, at + 8, at + membershipSize);
    for (let count = list.readUInt32LE(at + 4); count > 0 && memberships.length < 10_000; count--) memberships.push(one);
  }
  const copied = (kind: number): Buffer | undefined => {
    const found = attributes.get(kind);
    return found === undefined ? undefined : Buffer.from(found);
  };
  return {
    ino: payload.readUInt32LE(4),
    protocol: payload.readUInt16LE(2),
    copyThreshold: attributes.get(PACKET_DIAG.info)?.readUInt32LE(12) ?? 0,
    memberships,
    receiveRing: copied(PACKET_DIAG.receiveRing),
    sendRing: copied(PACKET_DIAG.sendRing),
    fanout: attributes.get(PACKET_DIAG.fanout)?.readUInt32LE(0),
    receiveQueue: attributes.get(PACKET_DIAG.memory)?.readUInt32LE(0) ?? 0,
  };
}

/** Every packet socket of a network namespace by inode. */
export function packetSockets(open: Diag): Map<number, PacketDiag> {
  const request = Buffer.alloc(20);
  request.writeUInt8(AF_PACKET, 0);
  // PACKET_SHOW_INFO, MCLIST, RING_CFG, FANOUT, MEMINFO
  request.writeUInt32LE(0x1f, 8);
  request.writeUInt32LE(0xffffffff, 12);
  request.writeUInt32LE(0xffffffff, 16);
  const found = new Map<number, PacketDiag>();
  ask(open(NETLINK_SOCK_DIAG), request, (payload) => {
    const diag = decodePacketDiag(payload);
    if (diag) found.set(diag.ino, diag);
  });
  return found;
}

/** Every unix socket of a network namespace by inode. */
export function unixSockets(open: Diag): Map<number, UnixDiag> {
  const found = new Map<number, UnixDiag>();
  ask(open(NETLINK_SOCK_DIAG), encodeUnixRequest(), (payload) => {
    const diag = decodeUnixDiag(payload);
    // the buffer is used again for the next answer
    if (diag) found.set(diag.ino, { ...diag, name: Buffer.from(diag.name) });
  });
  return found;
}

/** Every hashed inet socket of a family and protocol by inode (unbound datagram sockets are in no hash). */
export function inetSockets(open: Diag, family: number, protocol: number): Map<number, InetDiag> {
  const found = new Map<number, InetDiag>();
  // Of TCP, connections are not asked about: there may be very many.
  ask(open(NETLINK_SOCK_DIAG), encodeInetRequest(family, protocol, protocol === IPPROTO_TCP ? 1 << TCP_LISTEN : undefined), (payload) => {
    const diag = decodeInetDiag(payload);
    if (diag) found.set(diag.ino, diag);
  });
  return found;
}
