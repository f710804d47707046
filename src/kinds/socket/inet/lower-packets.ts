// SPDX-License-Identifier: Apache-2.0
/**
 * TCP segments of a peer that a restore puts into a socket itself: a FIN that came before the dump, or the acknowledgement of
 * one that was sent. No system call does either. Pure.
 */
import type { Ends } from "../../../linux/nftables.js";

export const tcpFlag = { FIN: 1, ACK: 16 } as const;
const IPPROTO_TCP = 6;
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
  tcp.writeUInt16BE(checksum(Buffer.concat([pseudoHeader(ends), tcp])), 16);
  return Buffer.concat([ends.source.length === 4 ? header4(ends) : header6(ends), tcp]);
}

/** The kernel fills in length, identification and checksum. */
function header4({ source, target }: Ends): Buffer {
  const ip = Buffer.alloc(20);
  ip.writeUInt8(0x45, 0);
  ip.writeUInt16BE(ip.length + headerLength, 2);
  ip.writeUInt8(timeToLive, 8);
  ip.writeUInt8(IPPROTO_TCP, 9);
  ip.set(target, 12);
  ip.set(source, 16);
  return ip;
}

function header6({ source, target }: Ends): Buffer {
  const ip = Buffer.alloc(40);
  ip.writeUInt8(0x60, 0);
  ip.writeUInt16BE(headerLength, 4);
  ip.writeUInt8(IPPROTO_TCP, 6);
  ip.writeUInt8(timeToLive, 7);
  ip.set(target, 8);
  ip.set(source, 24);
  return ip;
}

/** RFC 9293 and RFC 8200: what the checksum covers of the IP header. */
function pseudoHeader({ source, target }: Ends): Buffer {
  const rest = Buffer.alloc(source.length === 4 ? 4 : 8);
  if (source.length === 4) {
    rest.writeUInt8(IPPROTO_TCP, 1);
    rest.writeUInt16BE(headerLength, 2);
  } else {
    rest.writeUInt32BE(headerLength, 0);
    rest.writeUInt8(IPPROTO_TCP, 7);
  }
  return Buffer.concat([target, source, rest]);
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
