// SPDX-License-Identifier: Apache-2.0
/**
 * Devices, addresses and routes of a network namespace of the tree's own ↔ netns-N.img, netdev-N.img and what `ip address save`
 * and `ip route save` write: a number, then messages of rtnetlink(7). Packet filters of a set that was read are kept for CRIU.
 */
import { decodeText, encodeText } from "../../../src/bytes/text.js";
import type { Output } from "../../../src/adapter/output.js";
import { someOf } from "../../../src/adapter/losses.js";
import {
  type NetworkAddressRow,
  networkAddressRow,
  type NetworkDeviceRow,
  networkDeviceRow,
  networkRouteRow,
} from "../../../src/gen/tables.js";
import type { ModelBuilder } from "../builder.js";
import { NetworkDeviceSchema, NetworkNamespaceSchema } from "../gen/namespaces_pb.js";
import type { ImageSetIds } from "../ids/image-set-ids.js";
import { openRaw, optionalList } from "../wire/image-lists.js";
import { ImageWriter } from "../wire/image-writer.js";

/** Before what `ip address save` and `ip route save` write (iproute2: ip/ipaddress.c, ip/iproute.c). */
const magic = { addresses: 0x47361222, routes: 0x45311224 } as const;
const [RTM_NEWADDR, RTM_NEWROUTE] = [20, 24];
const [AF_INET, AF_INET6] = [2, 10];
const IFA = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;
const IFF_UP = 1;
const IFA_F_PERMANENT = 0x80;
/** IFF_UP | IFF_LOOPBACK | IFF_RUNNING */
const loopbackUp = 0x49;
/** RT_SCOPE_HOST */
const hostScope = 254;
/** rtm_protocol: what the kernel adds by itself, and what router advertisements did. */
const byKernel: ReadonlySet<number> = new Set([2, 9]);

/** net_device_entry.type of what IFLA_INFO_KIND says; others have to be there when the set is restored. */
const deviceTypes: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["veth", 2],
  ["bridge", 6],
]);
const outsideType = 4;

/** Whether CRIU makes a device of a kind by itself. */
export const hasDeviceImage = (kind: string): boolean => deviceTypes.has(kind);

/** What the kernel gives a loopback device that is switched on. */
const ofLoopback = (device: number): NetworkAddressRow[] => [
  networkAddressRow({ device, family: AF_INET, prefixLength: 8, scope: hostScope, local: Uint8Array.of(127, 0, 0, 1) }),
  networkAddressRow({
    device,
    family: AF_INET6,
    prefixLength: 128,
    scope: hostScope,
    local: Uint8Array.of(...new Array<number>(15).fill(0), 1),
  }),
];

const isSame = (a: NetworkAddressRow, b: NetworkAddressRow): boolean =>
  a.family === b.family && a.prefixLength === b.prefixLength && Buffer.compare(a.local, b.local) === 0;

/** Writes the images of the namespace in row `namespace`. Of one that was read from a set, the images that it had are carried along. */
export function writeNetwork(output: Output, context: ImageSetIds, namespace: number): void {
  const { tables, foreign } = context;
  const id = context.namespaceId(namespace);
  if (foreign.get({ table: "namespaces", row: namespace }, "id") !== undefined) return;
  const settings = new ImageWriter(output, `netns-${id}.img`, "netns");
  settings.add(NetworkNamespaceSchema, {});
  settings.flush();
  const devices = [...tables.networkDevices.entries()].filter(([, row]) => row.namespace === namespace);
  const images = new ImageWriter(output, `netdev-${id}.img`, "netdev");
  for (const [, { kind, index, mtu, flags, name, hardwareAddress }] of devices) {
    images.add(NetworkDeviceSchema, {
      type: deviceTypes.get(kind) ?? outsideType,
      ifindex: index,
      mtu,
      flags,
      name: encodeText(name),
      ...(hardwareAddress.length > 0 && kind !== "" ? { address: hardwareAddress } : {}),
    });
  }
  images.flush();
  const addresses = devices.flatMap(([row, device]) => {
    const isLoopbackUp = device.name === "lo" && (device.flags & IFF_UP) !== 0;
    return tables.networkAddresses
      .filter((address) => address.device === row && !(isLoopbackUp && ofLoopback(row).some((own) => isSame(own, address))))
      .map((address) => addressMessage(address, device));
  });
  writeMessages(output, `ifaddr-${id}.img`, magic.addresses, RTM_NEWADDR, addresses);
  const routes = tables.networkRoutes.filter((row) => row.namespace === namespace).map(({ message }) => message);
  for (const [name, family] of [
    [`route-${id}.img`, AF_INET],
    [`route6-${id}.img`, AF_INET6],
  ] as const) {
    const messages = routes.filter((message) => message[0] === family);
    writeMessages(output, name, magic.routes, RTM_NEWROUTE, messages);
  }
}

/** Nothing is written where there is nothing to tell. */
function writeMessages(output: Output, name: string, number: number, type: number, messages: readonly Uint8Array[]): void {
  if (messages.length === 0) return;
  const writer = new ImageWriter(output, name, null);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(number);
  writer.raw(head);
  for (const payload of messages) {
    const header = Buffer.alloc(16);
    header.writeUInt32LE(16 + payload.length, 0);
    header.writeUInt16LE(type, 4);
    writer.raw(header);
    writer.raw(payload);
    writer.raw(new Uint8Array(-payload.length & 3));
  }
  writer.flush();
}

/** struct ifaddrmsg and its attributes. */
function addressMessage(row: NetworkAddressRow, { index }: NetworkDeviceRow): Uint8Array {
  const flags = row.flags & ~IFA_F_PERMANENT;
  const head = Buffer.alloc(8);
  head.set([row.family, row.prefixLength, flags & 0xff, row.scope]);
  head.writeUInt32LE(index, 4);
  const parts = [head, attribute(IFA.local, row.local), attribute(IFA.address, row.peer.length > 0 ? row.peer : row.local)];
  if (row.broadcast.length > 0) parts.push(attribute(IFA.broadcast, row.broadcast));
  if (flags !== 0) parts.push(attribute(IFA.flags, new Uint8Array(Uint32Array.of(flags).buffer)));
  return Buffer.concat(parts);
}

function attribute(type: number, value: Uint8Array): Buffer {
  const bytes = Buffer.alloc((4 + value.length + 3) & ~3);
  bytes.writeUInt16LE(4 + value.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

/** Adds the rows of the namespace with number `id`. Without images (the network is an engine's) it has a loopback device. */
export function addNetwork(builder: ModelBuilder, id: number, namespace: number): void {
  const { wire, tables } = builder;
  const image = `netdev-${id}.img`;
  const entries = optionalList(wire.set, image, "netdev", NetworkDeviceSchema);
  const own = entries.find(({ name }) => decodeText(name) === "lo");
  const others = entries.filter((entry) => entry !== own).map(({ name }) => decodeText(name));
  if (others.length > 0) {
    builder.lose({
      code: "network.devices",
      facet: "tree",
      count: others.length,
      text: `Network devices other than lo are kept for CRIU only: ${someOf(others)}.`,
    });
  }
  const fields = own === undefined ? { index: 1, flags: loopbackUp, mtu: 65_536 } : { index: own.ifindex, flags: own.flags, mtu: own.mtu };
  const device = tables.networkDevices.push(networkDeviceRow({ namespace, name: "lo", ...fields })) - 1;
  const saved = messagesOf(builder, `ifaddr-${id}.img`, magic.addresses, RTM_NEWADDR);
  if (saved === undefined) tables.networkAddresses.push(...((fields.flags & IFF_UP) === 0 ? [] : ofLoopback(device)));
  for (const payload of saved ?? []) {
    if (payload.length < 8 || payload.readUInt32LE(4) !== fields.index) continue;
    tables.networkAddresses.push(addressOf(payload, device));
  }
  // Routes lead through devices that are not there.
  if (others.length > 0) return;
  for (const name of [`route-${id}.img`, `route6-${id}.img`]) {
    for (const message of messagesOf(builder, name, magic.routes, RTM_NEWROUTE) ?? []) {
      // struct rtmsg: u1 family, dst_len, src_len, tos, table, protocol
      if (message.length < 12 || byKernel.has(message.readUInt8(5))) continue;
      tables.networkRoutes.push(networkRouteRow({ namespace, message: Uint8Array.from(message) }));
    }
  }
}

function addressOf(payload: Buffer, device: number): NetworkAddressRow {
  const attributes = new Map<number, Buffer>();
  for (let at = 8; at + 4 <= payload.length; ) {
    const length = payload.readUInt16LE(at);
    if (length < 4 || at + length > payload.length) break;
    attributes.set(payload.readUInt16LE(at + 2) & 0x3fff, payload.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  const address = Uint8Array.from(attributes.get(IFA.address) ?? []);
  const local = Uint8Array.from(attributes.get(IFA.local) ?? address);
  const flags = attributes.get(IFA.flags);
  return networkAddressRow({
    device,
    family: payload.readUInt8(0),
    prefixLength: payload.readUInt8(1),
    scope: payload.readUInt8(3),
    flags: flags !== undefined && flags.length >= 4 ? flags.readUInt32LE(0) : payload.readUInt8(2),
    local,
    peer: Buffer.compare(local, address) === 0 ? new Uint8Array(0) : address,
    broadcast: Uint8Array.from(attributes.get(IFA.broadcast) ?? []),
  });
}

const largestImage = 16 << 20;

/** Payloads of the messages of one type; undefined if the set does not have the image. */
function messagesOf(builder: ModelBuilder, name: string, number: number, type: number): Buffer[] | undefined {
  const { set } = builder.wire;
  if (!set.has(name)) return undefined;
  const reader = openRaw(set, name);
  try {
    if (reader.size === 0) return [];
    const bytes = Buffer.from(reader.payload(reader.size, largestImage));
    const refuse = (at: number): Error => reader.error("criu.network", "This is not what ip(8) saves.", at);
    if (bytes.length < 4 || bytes.readUInt32LE(0) !== number) throw refuse(0);
    const messages: Buffer[] = [];
    for (let at = 4; at < bytes.length; ) {
      const length = at + 16 <= bytes.length ? bytes.readUInt32LE(at) : 0;
      if (length < 16 || at + length > bytes.length) throw refuse(at);
      if (bytes.readUInt16LE(at + 4) === type) messages.push(bytes.subarray(at + 16, at + length));
      at += (length + 3) & ~3;
    }
    return messages;
  } finally {
    reader.close();
  }
}
