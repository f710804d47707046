// SPDX-License-Identifier: Apache-2.0
/** Sockets: what is needed to ask the kernel about them (sock_diag) and to peek into their queues. */
import { addressOf, call, failed, tryCall } from "./sys.js";

export const socketFlag = { CLOEXEC: 0o2000000, NONBLOCK: 0o4000 } as const;
export const messageFlag = { PEEK: 2, CTRUNC: 8, TRUNC: 0x20, DONTWAIT: 0x40 } as const;

/** socket(2), close-on-exec, or throws. */
export function socket(family: number, type: number, protocol: number): number {
  return call("socket", family, type | socketFlag.CLOEXEC, protocol);
}

/** sendto. Returns the bytes sent or −errno. */
export function trySend(fd: number, data: Uint8Array, flags = 0, address: Uint8Array | null = null): number {
  return tryCall("sendto", fd, data, data.length, flags, address, address?.length ?? 0);
}

/** recvfrom without address. Returns the bytes received (the whole length with MSG_TRUNC) or −errno. */
export function tryReceive(fd: number, into: Uint8Array, flags = 0): number {
  return tryCall("recvfrom", fd, into, into.length, flags, null, null);
}

/** getsockopt into a buffer of `maximum` bytes. Returns the value or −errno. */
export function tryGetsockopt(fd: number, level: number, option: number, maximum = 256): Buffer | number {
  const value = Buffer.alloc(maximum);
  const length = new Int32Array([maximum]);
  const result = tryCall("getsockopt", fd, level, option, value, length);
  return failed(result) ? result : value.subarray(0, length[0]);
}

/** getsockname or getpeername: the sockaddr, or −errno. */
export function trySocketAddress(fd: number, whose: "getsockname" | "getpeername"): Buffer | number {
  const value = Buffer.alloc(128);
  const length = new Int32Array([value.length]);
  const result = tryCall(whose, fd, value, length);
  return failed(result) ? result : value.subarray(0, Math.min(length[0] ?? 0, value.length));
}

/** What recvmsg gave. */
export interface ReceivedMessage {
  /** Bytes put into the buffer (with MSG_TRUNC: the whole length). */
  readonly length: number;
  readonly flags: number;
  readonly address: Buffer;
  readonly control: Buffer;
}

/** recvmsg with room for an address and control data. Returns −errno when it fails. */
export function tryReceiveMessage(fd: number, into: Uint8Array, flags: number, controlLength = 4096): ReceivedMessage | number {
  const address = Buffer.alloc(128);
  const control = Buffer.alloc(controlLength);
  const iov = Buffer.alloc(16);
  iov.writeBigUInt64LE(addressOf(into), 0);
  iov.writeBigUInt64LE(BigInt(into.length), 8);
  // struct msghdr: name, namelen (u32 + pad), iov, iovlen, control, controllen, flags
  const header = Buffer.alloc(56);
  header.writeBigUInt64LE(addressOf(address), 0);
  header.writeUInt32LE(address.length, 8);
  header.writeBigUInt64LE(addressOf(iov), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(addressOf(control), 32);
  header.writeBigUInt64LE(BigInt(control.length), 40);
  const length = tryCall("recvmsg", fd, header, flags);
  if (failed(length)) return length;
  return {
    length,
    flags: header.readInt32LE(48),
    address: address.subarray(0, header.readUInt32LE(8)),
    control: control.subarray(0, Number(header.readBigUInt64LE(40))),
  };
}
