// SPDX-License-Identifier: Apache-2.0
/**
 * Packets of a peer that a restore puts into a socket itself: a FIN that came before the dump, the acknowledgement of one that
 * was sent, or a datagram that nobody has read yet. No system call does any of it. Pure.
 */
import type { Ends } from "../../../linux/nftables.js";

export const tcpFlag = { FIN: 1, ACK: 16 } as const;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const headerLength = 20;
const timeToLive = 64;

/** What a segment without data says. */
export interface Segment {
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  /** As the header has it, before it is scaled. */
  readonly window: number;
}

/** A whole packet from the target of a connection to its source, for a raw socket that is given headers (IPPROTO_RAW). */
export function packetFromPeer(ends: Ends, segment: Segment): Buffer {
  const tcp = Buffer.alloc(headerLength);
  tcp.writeUInt16BE(ends.targetPort, 0);
  tcp.writeUInt16BE(ends.sourcePort, 2);
  tcp.writeUInt32BE(segment.sequence >>> 0, 4);
  tcp.writeUInt32BE(segment.acknowledgement >>> 0, 8);
  tcp.writeUInt8((headerLength / 4) << 4, 12);
  tcp.writeUInt8(segment.flags, 13);
  tcp.writeUInt16BE(segment.window, 14);
  tcp.writeUInt16BE(checksum(Buffer.concat([pseudoHeader(ends, IPPROTO_TCP, tcp.length), tcp])), 16);
  return inPacket(ends, IPPROTO_TCP, tcp);
}

/** Longest datagram of UDP in a packet without extension headers. */
export const longestDatagram = 65_507;

/** A whole packet with a datagram of UDP, from target to source, for such a socket. */
export function datagramFromPeer(ends: Ends, data: Uint8Array): Buffer {
  const udp = Buffer.alloc(8 + data.length);
  udp.writeUInt16BE(ends.targetPort, 0);
  udp.writeUInt16BE(ends.sourcePort, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(data, 8);
  // 0 would say that there is none.
  udp.writeUInt16BE(checksum(Buffer.concat([pseudoHeader(ends, IPPROTO_UDP, udp.length), udp])) || 0xffff, 6);
  return inPacket(ends, IPPROTO_UDP, udp);
}

function inPacket(ends: Ends, protocol: number, content: Buffer): Buffer {
  const header = ends.source.length === 4 ? header4 : header6;
  return Buffer.concat([header(ends, protocol, content.length), content]);
}

/** The kernel fills in length, identification and checksum. */
function header4({ source, target }: Ends, protocol: number, length: number): Buffer {
  const ip = Buffer.alloc(20);
  ip.writeUInt8(0x45, 0);
  ip.writeUInt16BE(ip.length + length, 2);
  ip.writeUInt8(timeToLive, 8);
  ip.writeUInt8(protocol, 9);
  ip.set(target, 12);
  ip.set(source, 16);
  return ip;
}

function header6({ source, target }: Ends, protocol: number, length: number): Buffer {
  const ip = Buffer.alloc(40);
  ip.writeUInt8(0x60, 0);
  ip.writeUInt16BE(length, 4);
  ip.writeUInt8(protocol, 6);
  ip.writeUInt8(timeToLive, 7);
  ip.set(target, 8);
  ip.set(source, 24);
  return ip;
}

/** RFC 9293 and RFC 8200: what the checksum covers of the IP header. */
function pseudoHeader({ source, target }: Ends, protocol: number, length: number): Buffer {
  const rest = Buffer.alloc(source.length === 4 ? 4 : 8);
  if (source.length === 4) {
    rest.writeUInt8(protocol, 1);
    rest.writeUInt16BE(length, 2);
  } else {
    rest.writeUInt32BE(length, 0);
    rest.writeUInt8(protocol, 7);
  }
  return Buffer.concat([target, source, rest]);
}

/** The Internet checksum (RFC 1071). */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  if (bytes.length % 2 === 1) sum += (bytes.at(-1) ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
