// SPDX-License-Identifier: Apache-2.0
/** Netlink messages and attributes (linux/netlink.h): the framing that sock_diag uses. Pure. */
import { CrimgError } from "../../errors/crimg-error.js";

/** A netlink message without its header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

export const netlinkType = { ERROR: 2, DONE: 3 } as const;

/** NLM_F_REQUEST with NLM_F_DUMP (ROOT|MATCH). */
export const dumpRequest = 0x301;

const headerLength = 16;
const align4 = (length: number): number => (length + 3) & ~3;

/** A message with its header (struct nlmsghdr). */
export function encodeMessage(type: number, flags: number, sequence: number, payload: Uint8Array): Buffer {
  const message = Buffer.alloc(headerLength + align4(payload.length));
  message.writeUInt32LE(headerLength + payload.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(sequence, 8);
  message.set(payload, headerLength);
  return message;
}

/** The messages of one datagram from the kernel. */
export function decodeMessages(datagram: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  let at = 0;
  while (at + headerLength <= datagram.length) {
    const length = datagram.readUInt32LE(at);
    if (length < headerLength || at + length > datagram.length) {
      throw new CrimgError("dump.netlink", `expected a netlink message of ${length} bytes, found ${datagram.length - at}`);
    }
    messages.push({
      type: datagram.readUInt16LE(at + 4),
      flags: datagram.readUInt16LE(at + 6),
      payload: datagram.subarray(at + headerLength, at + length),
    });
    at += align4(length);
  }
  return messages;
}

/** Attributes (struct nlattr) by type, the first of each; they begin at `from`. */
export function decodeAttributes(payload: Buffer, from: number): Map<number, Buffer> {
  const attributes = new Map<number, Buffer>();
  let at = from;
  while (at + 4 <= payload.length) {
    const length = payload.readUInt16LE(at);
    if (length < 4 || at + length > payload.length) break;
    // the two upper bits of the type are NLA_F_NESTED and NLA_F_NET_BYTEORDER
    const type = payload.readUInt16LE(at + 2) & 0x3fff;
    if (!attributes.has(type)) attributes.set(type, payload.subarray(at + 4, at + length));
    at += align4(length);
  }
  return attributes;
}
