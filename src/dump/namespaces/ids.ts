// SPDX-License-Identifier: Apache-2.0
/**
 * Users and groups of a tree in a user namespace of its own. The kernel tells crimg who they are outside; the model has
 * them as the program sees them (user_namespaces(7)).
 */
import { type IdMapRow, idMapRow, type MutableTables } from "../../gen/tables.js";
import { tryReadSmall } from "../../native/index.js";

/** What an id without a place in the map is shown as (/proc/sys/kernel/overflowuid). */
export const overflowId = 65534;

/** The lines of uid_map and gid_map of a process, `namespace` being their row. */
export function readIdMaps(path: string, namespace: number): IdMapRow[] {
  return (["uid", "gid"] as const).flatMap((kind) =>
    parseIdMap(tryReadSmall(`${path}/${kind}_map`)?.toString("latin1") ?? "", kind, namespace),
  );
}

/** Lines `INSIDE OUTSIDE COUNT`. */
export function parseIdMap(text: string, kind: "uid" | "gid", namespace: number): IdMapRow[] {
  return text
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((numbers) => numbers.length === 3 && numbers.every(Number.isInteger))
    .map(([inside = 0, outside = 0, count = 0]) => idMapRow({ namespace, kind, inside, outside, count }));
}

/** An id outside as it is seen inside. */
export function idInside(maps: readonly IdMapRow[], kind: "uid" | "gid", id: number): number {
  const line = maps.find((row) => row.kind === kind && row.outside <= id && id - row.outside < row.count);
  return line === undefined ? overflowId : line.inside + (id - line.outside);
}

/** Takes all users and groups of the tables inside. */
export function takeIdsInside(tables: MutableTables, maps: readonly IdMapRow[]): void {
  const uid = (id: number): number => idInside(maps, "uid", id);
  const gid = (id: number): number => idInside(maps, "gid", id);
  const change = <Row>(rows: Row[], how: (row: Row) => Row): void => rows.forEach((row, index) => (rows[index] = how(row)));
  change(tables.creds, (row) => ({
    ...row,
    uid: uid(row.uid),
    euid: uid(row.euid),
    suid: uid(row.suid),
    fsuid: uid(row.fsuid),
    gid: gid(row.gid),
    egid: gid(row.egid),
    sgid: gid(row.sgid),
    fsgid: gid(row.fsgid),
    groups: groupsInside(row.groups, gid),
  }));
  // Nobody, and unknown, are so inside too.
  const login = (id: number): number => (id === 0 || id === 0xffff_ffff ? id : uid(id - 1) === overflowId ? 0 : uid(id - 1) + 1);
  change(tables.tasks, (row) => ({ ...row, loginUid: login(row.loginUid) }));
  change(tables.objects, (row) => ({ ...row, uid: uid(row.uid), gid: gid(row.gid) }));
  change(tables.files, (row) => ({ ...row, ownerUid: uid(row.ownerUid), ownerEuid: uid(row.ownerEuid) }));
  change(tables.sockets, (row) => ({ ...row, peerUid: uid(row.peerUid), peerGid: gid(row.peerGid) }));
  change(tables.socketMessages, (row) => ({ ...row, senderUid: uid(row.senderUid), senderGid: gid(row.senderGid) }));
  const owners = <Row extends { uid: number; gid: number; creatorUid: number; creatorGid: number }>(row: Row): Row => ({
    ...row,
    uid: uid(row.uid),
    gid: gid(row.gid),
    creatorUid: uid(row.creatorUid),
    creatorGid: gid(row.creatorGid),
  });
  change(tables.sysvSegments, owners);
  change(tables.sysvSemaphoreSets, owners);
  change(tables.sysvQueues, owners);
  change(tables.mounts, (row) => ({ ...row, options: optionsInside(row.options, uid, gid) }));
  change(tables.sysctls, (row) => {
    if (row.path !== "net/ipv4/ping_group_range") return row;
    return {
      ...row,
      value: row.value
        .split(/\s+/)
        .map((id) => gid(Number(id)))
        .join(" "),
    };
  });
  change(tables.mountEntries, (row) => ({ ...row, uid: uid(row.uid), gid: gid(row.gid) }));
  change(tables.terminals, (row) => ({ ...row, uid: uid(row.uid), gid: gid(row.gid) }));
}

/** Options of a filesystem that name users: `uid=1000,gid=5`. */
function optionsInside(options: string, uid: (id: number) => number, gid: (id: number) => number): string {
  return options.replaceAll(/(^|,)(uid|gid)=(\d+)/g, (_, before: string, name: string, id: string) => {
    return `${before}${name}=${(name === "uid" ? uid : gid)(Number(id))}`;
  });
}

function groupsInside(groups: Uint8Array, gid: (id: number) => number): Uint8Array {
  const view = new DataView(groups.buffer, groups.byteOffset, groups.byteLength);
  const inside = Uint32Array.from({ length: groups.length / 4 }, (_, index) => gid(view.getUint32(index * 4, true)));
  return new Uint8Array(inside.buffer);
}
