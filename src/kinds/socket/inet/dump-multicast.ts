// SPDX-License-Identifier: Apache-2.0
/**
 * Multicast groups of a socket. The kernel lists groups by device only (/proc/net/igmp, igmp6), but tells of each socket
 * which sources of a group it takes (MCAST_MSFILTER), and EADDRNOTAVAIL where it is no member. So each group is asked for.
 */
import type { OptionValue } from "../../../dump/fds/socket-options.js";
import { tryCall, tryReadSmall } from "../../../native/index.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";

/** A group on a device. */
export interface Group {
  /** 2 or 10. */
  readonly family: number;
  /** Index of the device. */
  readonly device: number;
  /** 4 or 16 bytes. */
  readonly address: Buffer;
}

/** sizeof(struct sockaddr_storage). */
const addressLength = 128;
/** struct group_req: u4 device, u4 padding, address. */
const requestLength = 8 + addressLength;
/** struct group_filter: the same, then u4 mode, u4 number of sources, and their addresses. */
const filterLength = requestLength + 8;
const MCAST_EXCLUDE = 0;
/** More than net.ipv4.igmp_max_msf lets anybody have (10) by default. */
const mostSources = 1024;

/** Groups of /proc/net/igmp: a line `INDEX DEVICE …` without indent, then one a group, `\t GROUP USERS …`, little-endian. */
export function parseIgmp(text: string): Group[] {
  const groups: Group[] = [];
  let device = 0;
  for (const line of text.split("\n").slice(1)) {
    const heading = /^(\d+)\s/.exec(line);
    const group = /^\s+([0-9A-F]{8})\s/.exec(line);
    if (heading) device = Number(heading[1]);
    else if (group) groups.push({ family: 2, device, address: Buffer.from(group[1] ?? "", "hex").reverse() });
  }
  return groups;
}

/** Groups of /proc/net/igmp6: lines `INDEX DEVICE GROUP USERS …`. */
export function parseIgmp6(text: string): Group[] {
  return [...text.matchAll(/^(\d+)\s+\S+\s+([0-9a-f]{32})\s/gm)].map(([, device, address]) => ({
    family: 10,
    device: Number(device),
    address: Buffer.from(address ?? "", "hex"),
  }));
}

/** Groups that anybody in a network namespace has joined, of which `files` is /proc/self/net. */
export function groupsIn(files: string): Group[] {
  const read = (name: string): string => tryReadSmall(`${files}/${name}`)?.toString("latin1") ?? "";
  return [...parseIgmp(read("igmp")), ...parseIgmp6(read("igmp6"))];
}

/** The options that join the groups again that a socket is in, each before the filter of its sources. */
export function memberships(fd: number, groups: readonly Group[]): OptionValue[] {
  return groups.flatMap((group) => {
    const filter = filterOf(fd, group);
    if (filter === undefined) return [];
    const [join, sources] =
      group.family === 2 ? (["MCAST_JOIN_GROUP", "MCAST_MSFILTER"] as const) : (["IPV6_MCAST_JOIN_GROUP", "IPV6_MCAST_MSFILTER"] as const);
    const option = (name: typeof join | typeof sources, value: Buffer): OptionValue => ({
      level: levelOf(name),
      option: socketOptions[name].option,
      value,
    });
    const isPlain = filter.readUInt32LE(requestLength) === MCAST_EXCLUDE && filter.length === filterLength;
    const joined = option(join, filter.subarray(0, requestLength));
    return isPlain ? [joined] : [joined, option(sources, filter)];
  });
}

/** struct group_filter with all sources; undefined if the socket is not in the group. */
function filterOf(fd: number, { family, device, address }: Group): Buffer | undefined {
  const filter = Buffer.alloc(filterLength + mostSources * addressLength);
  filter.writeUInt32LE(device, 0);
  filter.writeUInt16LE(family, 8);
  filter.set(address, family === 2 ? 12 : 16);
  filter.writeUInt32LE(mostSources, requestLength + 4);
  const length = new Int32Array([filter.length]);
  const { level, option } = family === 2 ? { level: 0, option: 48 } : { level: 41, option: 48 };
  if (tryCall("getsockopt", fd, level, option, filter, length) < 0) return undefined;
  const sources = Math.min(filter.readUInt32LE(requestLength + 4), mostSources);
  return Buffer.from(filter.subarray(0, filterLength + sources * addressLength));
}
