// SPDX-License-Identifier: Apache-2.0
/** The loopback device of a network namespace, its addresses and routes (rtnetlink(7), netdevice(7)). */
import type { NetworkAddressRow } from "../../gen/tables.js";
import type { Lowering } from "../lowering.js";
import type { Slot } from "../operands.js";

const [AF_INET, AF_INET6, AF_NETLINK] = [2, 10, 16];
const [SOCK_DGRAM, SOCK_RAW, SOCK_CLOEXEC] = [2, 3, 0o2000000];
const [SIOCSIFFLAGS, SIOCSIFMTU] = [0x8914, 0x8922];
const IFF_UP = 1;
/** IFF_* flags that somebody sets: up, debug, noarp, promisc, allmulti, multicast. */
const settable = 0x1 | 0x4 | 0x80 | 0x100 | 0x200 | 0x1000;
const [RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE] = [20, 21, 24];
const [NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE] = [1, 4, 0x200, 0x400];
const IFA = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;
const IFA_F_PERMANENT = 0x80;
/** The loopback device is the first of every network namespace. */
const loopback = 1;
const loopbackMtu = 65536;

/** What the kernel gives a loopback device that is switched on. */
const byItself: readonly Pick<NetworkAddressRow, "family" | "prefixLength" | "local">[] = [
  { family: AF_INET, prefixLength: 8, local: Uint8Array.of(127, 0, 0, 1) },
  { family: AF_INET6, prefixLength: 128, local: Uint8Array.of(...new Array<number>(15).fill(0), 1) },
];

const isSame = (a: Pick<NetworkAddressRow, "family" | "prefixLength" | "local">, b: typeof a): boolean =>
  a.family === b.family && a.prefixLength === b.prefixLength && Buffer.compare(a.local, b.local) === 0;

/** Ops of the maker, in the new network namespace. */
export function makeNetwork(l: Lowering, namespace: number): void {
  const b = l.builder;
  const { networkDevices, networkAddresses, networkRoutes } = l.checkpoint.tables;
  const index = networkDevices.findIndex((row) => row.namespace === namespace && row.name === "lo");
  const device = networkDevices[index];
  if (device === undefined) return;
  const addresses = networkAddresses.filter((row) => row.device === index);
  const routes = networkRoutes.filter((row) => row.namespace === namespace);
  const isUp = (device.flags & IFF_UP) !== 0;
  const socket = b.slot("a socket for network devices");
  const request = (value: number): Uint8Array => {
    const bytes = new Uint8Array(40);
    bytes.set([0x6c, 0x6f]); // "lo"
    new DataView(bytes.buffer).setUint32(16, value, true);
    return bytes;
  };
  b.syscall("socket", [AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0], { store: socket, message: "ask about network devices" });
  if (device.mtu !== loopbackMtu && device.mtu !== 0)
    b.syscall("ioctl", [socket, SIOCSIFMTU, b.bytes(request(device.mtu))], { message: "set the MTU of lo" });
  if (isUp) b.syscall("ioctl", [socket, SIOCSIFFLAGS, b.bytes(request(device.flags & settable))], { message: "switch lo on" });
  b.syscall("close", [socket]);
  const more = addresses.filter((row) => !isUp || !byItself.some((own) => isSame(own, row)));
  const less = isUp ? byItself.filter((own) => !addresses.some((row) => isSame(own, row))) : [];
  if (more.length + less.length + routes.length === 0) return;
  b.syscall("socket", [AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0], { store: socket, message: "ask about addresses" });
  for (const row of less) {
    // IPv6 may be off.
    send(l, socket, RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK, addressMessage({ ...row, scope: 0, flags: 0 }));
  }
  for (const row of more) {
    const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    send(l, socket, RTM_NEWADDR, flags, addressMessage(row), `add the address ${[...row.local].join(".")} to lo`);
  }
  for (const { message } of routes)
    send(l, socket, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, message, "add a route to the network namespace");
  b.syscall("close", [socket]);
}

/** struct ifaddrmsg and attributes. */
function addressMessage(
  row: Pick<NetworkAddressRow, "family" | "prefixLength" | "scope" | "flags" | "local"> & Partial<NetworkAddressRow>,
): Uint8Array {
  const flags = row.flags & ~IFA_F_PERMANENT;
  const attributes: (readonly [number, Uint8Array])[] = [
    [IFA.local, row.local],
    [IFA.address, row.peer !== undefined && row.peer.length > 0 ? row.peer : row.local],
  ];
  if (row.broadcast !== undefined && row.broadcast.length > 0) attributes.push([IFA.broadcast, row.broadcast]);
  if (flags !== 0) attributes.push([IFA.flags, new Uint8Array(Uint32Array.of(flags).buffer)]);
  const head = new Uint8Array(8);
  head.set([row.family, row.prefixLength, flags & 0xff, row.scope]);
  new DataView(head.buffer).setUint32(4, loopback, true);
  return concat([head, ...attributes.map(([type, value]) => attribute(type, value))]);
}

function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + value.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.length, true);
  view.setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Sends a request and looks at the answer; without a message any answer will do. */
function send(l: Lowering, socket: Slot, type: number, flags: number, payload: Uint8Array, message?: string): void {
  const b = l.builder;
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  const bytes = concat([header, payload]);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  bytes.set(header);
  const answer = b.buffer(1024);
  const problem = b.slot("answer about the network");
  const done = b.label("the network is so");
  b.syscall("sendto", [socket, b.bytes(bytes), bytes.length, 0, 0, 0], { message: message ?? "ask about addresses" });
  b.syscall("recvfrom", [socket, answer, 1024, 0, 0, 0], { message: message ?? "ask about addresses" });
  if (message === undefined) return;
  // struct nlmsgerr behind struct nlmsghdr
  b.compute(problem, "move", answer.at(16).s4);
  b.jumpIf(problem, "eq", 0, done);
  b.fail(message, undefined, problem);
  b.place(done);
}
