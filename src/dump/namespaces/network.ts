// SPDX-License-Identifier: Apache-2.0
/** Devices, addresses and routes of a network namespace, as rtnetlink(7) tells them. */
import { type MutableTables, networkAddressRow, networkDeviceRow, networkRouteRow } from "../../gen/tables.js";
import { decodeAttributes } from "../../kinds/socket/dump-netlink-messages.js";
import { askNetlink } from "../../kinds/socket/dump-sock-diag.js";

const [RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE] = [18, 22, 26];
const IFLA = { address: 1, ifname: 3, mtu: 4, linkinfo: 18 } as const;
const IFLA_INFO_KIND = 1;
const IFA = { address: 1, local: 2, broadcast: 4, flags: 8 } as const;
/** rtm_protocol: what the kernel adds by itself, and what router advertisements did. */
const byItself: ReadonlySet<number> = new Set([2, 9]);
/** RTM_F_CLONED: an entry of a cache. */
const RTM_F_CLONED = 0x200;

const text = (bytes: Buffer | undefined): string => bytes?.toString("latin1").replace(/\0.*$/s, "") ?? "";

export interface SeenDevice {
  readonly index: number;
  readonly name: string;
  readonly kind: string;
}

/** Fills the tables of one namespace through a NETLINK_ROUTE socket in it. Returns its devices. */
export function collectNetwork(tables: MutableTables, namespace: number, fd: number): SeenDevice[] {
  const devices: SeenDevice[] = [];
  const rows = new Map<number, number>();
  askNetlink(fd, RTM_GETLINK, Buffer.alloc(16), (payload) => {
    // struct ifinfomsg: u1 family, u1, u2 type, s4 index, u4 flags, u4 change
    const attributes = decodeAttributes(payload, 16);
    const info = attributes.get(IFLA.linkinfo);
    const device = {
      index: payload.readInt32LE(4),
      name: text(attributes.get(IFLA.ifname)),
      kind: info === undefined ? "" : text(decodeAttributes(info, 0).get(IFLA_INFO_KIND)),
    };
    devices.push(device);
    const row = networkDeviceRow({
      namespace,
      ...device,
      flags: payload.readUInt32LE(8),
      mtu: attributes.get(IFLA.mtu)?.readUInt32LE(0) ?? 0,
      hardwareAddress: Uint8Array.from(attributes.get(IFLA.address) ?? []),
    });
    rows.set(device.index, tables.networkDevices.push(row) - 1);
  });
  askNetlink(fd, RTM_GETADDR, Buffer.alloc(8), (payload) => {
    // struct ifaddrmsg: u1 family, u1 prefix, u1 flags, u1 scope, u4 index
    const attributes = decodeAttributes(payload, 8);
    const address = Uint8Array.from(attributes.get(IFA.address) ?? []);
    const local = Uint8Array.from(attributes.get(IFA.local) ?? address);
    const device = rows.get(payload.readUInt32LE(4));
    if (device === undefined) return;
    tables.networkAddresses.push(
      networkAddressRow({
        device,
        family: payload.readUInt8(0),
        prefixLength: payload.readUInt8(1),
        scope: payload.readUInt8(3),
        flags: attributes.get(IFA.flags)?.readUInt32LE(0) ?? payload.readUInt8(2),
        local,
        peer: Buffer.compare(local, address) === 0 ? new Uint8Array(0) : address,
        broadcast: Uint8Array.from(attributes.get(IFA.broadcast) ?? []),
      }),
    );
  });
  for (const family of [2, 10]) {
    const request = Buffer.alloc(12);
    request.writeUInt8(family, 0);
    askNetlink(fd, RTM_GETROUTE, request, (payload) => {
      // struct rtmsg: u1 family, dst_len, src_len, tos, table, protocol, scope, type, u4 flags
      if (byItself.has(payload.readUInt8(5)) || (payload.readUInt32LE(8) & RTM_F_CLONED) !== 0) return;
      tables.networkRoutes.push(networkRouteRow({ namespace, message: Uint8Array.from(payload) }));
    });
  }
  return devices;
}
