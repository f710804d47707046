// SPDX-License-Identifier: Apache-2.0
/**
 * Looking at the datagrams that wait in a UDP socket without taking one out (MSG_PEEK with SO_PEEK_OFF, Linux 4.18): each with
 * who sent it and where it was sent to. The options that this takes are the program's own again afterwards.
 */
import { messageFlag, type ReceivedMessage, tryCall, tryGetsockopt, tryReceiveMessage } from "../../../native/index.js";
import { type Description, refuseDescription } from "../../../dump/fds/context.js";
import { controlMessages } from "../dump-control.js";

const SOL_SOCKET = 1;
const SO_PEEK_OFF = 42;
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SOL_UDP = 17;
const IP_RECVORIGDSTADDR = 20;
const IPV6_RECVORIGDSTADDR = 74;
const UDP_GRO = 104;
const AF_INET6 = 10;

/** A datagram and its addresses, as recvmsg gives them (sockaddr). */
export interface QueuedDatagram {
  readonly data: Uint8Array;
  readonly sender: Uint8Array;
  /** Empty where the kernel does not tell it. */
  readonly target: Uint8Array;
}

/**
 * The waiting datagrams, in order. An empty one is seen once only: the kernel remembers that somebody has looked at it, and
 * skips it then.
 */
export function peekDatagrams(description: Description, family: number): QueuedDatagram[] {
  const { fd } = description;
  const options: readonly (readonly [level: number, option: number, value: number])[] = [
    [SOL_IP, IP_RECVORIGDSTADDR, 1],
    ...(family === AF_INET6 ? [[SOL_IPV6, IPV6_RECVORIGDSTADDR, 1] as const] : []),
    [SOL_SOCKET, SO_PEEK_OFF, 0],
  ];
  const before = options.map(([level, option]) => tryGetsockopt(fd, level, option, 4));
  const set = (index: number, value: number): number => {
    const [level = 0, option = 0] = options[index] ?? [];
    return tryCall("setsockopt", fd, level, option, Int32Array.of(value), 4);
  };
  try {
    options.forEach(([, , value], index) => set(index, value));
    return peekAll(description);
  } finally {
    before.forEach((value, index) => {
      if (typeof value !== "number") set(index, value.readInt32LE(0));
    });
  }
}

function peekAll(description: Description): QueuedDatagram[] {
  const datagrams: QueuedDatagram[] = [];
  const buffer = Buffer.alloc(1 << 16);
  for (;;) {
    const got = tryReceiveMessage(description.fd, buffer, messageFlag.PEEK | messageFlag.DONTWAIT | messageFlag.TRUNC);
    if (typeof got === "number") return datagrams;
    const { target, segment } = controlOf(got);
    if (isForGroup(target)) {
      refuseDescription(
        description,
        "udp_queue",
        "a UDP socket with datagrams waiting that were sent to a group or to everybody",
        "Dump again in a moment.",
      );
    }
    const sender = Uint8Array.from(got.address);
    // Datagrams that the kernel has joined (UDP_GRO) are so many again.
    const step = segment > 0 ? segment : Math.max(got.length, 1);
    for (let at = 0; at === 0 || at < got.length; at += step) {
      datagrams.push({ data: Uint8Array.from(buffer.subarray(at, Math.min(at + step, got.length))), sender, target });
    }
  }
}

/** Where it was sent to, and the length of the datagrams that were joined (0: none were). */
function controlOf(message: ReceivedMessage): { readonly target: Uint8Array; readonly segment: number } {
  let [target, segment] = [new Uint8Array(0), 0];
  for (const { level, type, data } of controlMessages(message)) {
    const isTarget = (level === SOL_IP && type === IP_RECVORIGDSTADDR) || (level === SOL_IPV6 && type === IPV6_RECVORIGDSTADDR);
    if (isTarget) target = Uint8Array.from(data);
    if (level === SOL_UDP && type === UDP_GRO && data.length >= 2) segment = data.readUInt16LE(0);
  }
  return { target, segment };
}

/** Multicast, and IPv4's limited broadcast. A resume takes a directed broadcast for an address that is not its own. */
function isForGroup(target: Uint8Array): boolean {
  if (target[0] === AF_INET6) return target[8] === 0xff;
  const address = target.subarray(4, 8);
  return address.length === 4 && (((address[0] ?? 0) & 0xf0) === 0xe0 || address.every((byte) => byte === 0xff));
}
