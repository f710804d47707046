// SPDX-License-Identifier: Apache-2.0
/** Namespaces of the tree's own in an image set: who lives in which, names, users, mounts. */
import { decodeText } from "../../../src/bytes/text.js";
import {
  idMapRow,
  type MountRow,
  mountRow,
  mountSuperFlagsBits,
  type NamespaceKind,
  namespaceRow,
  taskNamespaceRow,
} from "../../../src/gen/tables.js";
import { someOf } from "../../../src/adapter/losses.js";
import type { ModelBuilder } from "../builder.js";
import { type MountEntry, MountEntrySchema, UserNamespaceSchema, UtsNamespaceSchema } from "../gen/namespaces_pb.js";
import type { KernelIds } from "../gen/tree_pb.js";
import { namespaceKeys, type NamespaceNumbers, u32Bytes } from "../ids/image-set-ids.js";
import { list, optionalOne } from "../wire/image-lists.js";
import { fsTypes } from "./fs-types.js";
import { addIpc } from "./ipc-images.js";
import { addNetwork } from "./network-images.js";
import { mountToWire, propagation, userToWire, utsToWire, whereItWas } from "./namespace-images.js";

/** Which id of a task tells it, in the order of `namespaceKeys`. */
const kinds = (Object.entries(namespaceKeys) as [NamespaceKind, keyof NamespaceNumbers][]).map(([kind, key]) => [key, kind] as const);

/** The same as losses name them. */
const lossOrder = [
  ["pidNsId", "pid"],
  ["netNsId", "net"],
  ["ipcNsId", "ipc"],
  ["utsNsId", "uts"],
  ["mntNsId", "mnt"],
  ["userNsId", "user"],
  ["cgroupNsId", "cgroup"],
] as const satisfies readonly (readonly [keyof KernelIds, string])[];

const madeAnew: ReadonlySet<string> = new Set(["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"]);
/** MS_* flags that rows have: see the field `flags`. */
const keptFlags = 0x20_0d0f;

/** Adds rows for the namespaces that the set's root does not share with the dumper. Tasks are there. */
export function addNamespaces(builder: ModelBuilder): void {
  const { wire, tables } = builder;
  const outside = wire.inventory.rootIds;
  if (!outside) return;
  const rows = new Map<string, number>();
  const members = [...wire.ids].flatMap(([pid, ids]) => {
    const task = builder.taskRows.get(pid);
    return task === undefined || tables.tasks[task]?.state === "zombie" ? [] : [{ pid, ids, task }];
  });
  const isOwn = (ids: KernelIds, key: (typeof kinds)[number][0]): boolean =>
    outside[key] !== 0 && ids[key] !== 0 && ids[key] !== outside[key];
  // A resume makes one set of namespaces for the whole tree, and has to know what is mounted in it.
  const mountsMissing = members.some(({ ids }) => isOwn(ids, "mntNsId") && !wire.set.has(`mountpoints-${ids.mntNsId}.img`));
  const whole = mountsMissing ? [] : kinds.filter(([key]) => members.every(({ ids }) => ids[key] === members[0]?.ids[key]));
  const apart = members.flatMap(({ pid, ids }) => {
    const names = lossOrder.filter(([key]) => isOwn(ids, key) && !whole.some(([other]) => other === key)).map(([, name]) => name);
    return names.length === 0 ? [] : [`${names.join(", ")} of ${pid}`];
  });
  if (apart.length > 0) {
    const text = `Namespaces of its own are kept for CRIU only: ${someOf(apart)}.`;
    builder.lose({ code: "tree.namespaces", facet: "tree", count: apart.length, text });
  }
  for (const { ids, task } of members) {
    for (const [key, kind] of whole) {
      const id = ids[key];
      if (!isOwn(ids, key)) continue;
      const name = `${kind}:${id}`;
      let row = rows.get(name);
      if (row === undefined) {
        row = addNamespace(builder, kind, id, rows.get(`user:${ids.userNsId}`) ?? null);
        rows.set(name, row);
      }
      tables.taskNamespaces.push(taskNamespaceRow({ task, namespace: row }));
    }
  }
}

function addNamespace(builder: ModelBuilder, kind: NamespaceKind, id: number, owner: number | null): number {
  const { wire, tables } = builder;
  const names = kind === "uts" ? optionalOne(wire.set, `utsns-${id}.img`, "utsns", UtsNamespaceSchema) : undefined;
  const row =
    tables.namespaces.push(
      namespaceRow({
        kind,
        owner: kind === "user" ? null : owner,
        hostName: names ? decodeText(names.nodename) : "",
        domainName: names ? decodeText(names.domainname) : "",
      }),
    ) - 1;
  const anchor = { table: "namespaces", row } as const;
  builder.foreign.add(anchor, "id", u32Bytes(id));
  if (names) {
    builder.deltas.push((context, foreign) => foreign.addDelta(anchor, "uts", UtsNamespaceSchema, names, utsToWire(context, row)));
  }
  if (kind === "user") {
    const entry = optionalOne(wire.set, `userns-${id}.img`, "userns", UserNamespaceSchema);
    if (entry) {
      builder.deltas.push((context, foreign) => foreign.addDelta(anchor, "user", UserNamespaceSchema, entry, userToWire(context, row)));
    }
    for (const [which, lines] of [
      ["uid", entry?.uidMap],
      ["gid", entry?.gidMap],
    ] as const) {
      for (const { first, lowerFirst, count } of lines ?? []) {
        tables.idMaps.push(idMapRow({ namespace: row, kind: which, inside: first, outside: lowerFirst, count }));
      }
    }
  }
  if (kind === "network") addNetwork(builder, id, row);
  if (kind === "ipc") addIpc(builder, id);
  if (kind === "mount") addMounts(builder, id, row);
  return row;
}

/** Device of a filesystem as CRIU writes it. */
const splitDevice = (device: number): { devMajor: number; devMinor: number } => ({ devMajor: device >>> 20, devMinor: device & 0xf_ffff });

function addMounts(builder: ModelBuilder, id: number, namespace: number): void {
  const { wire, tables } = builder;
  const image = `mountpoints-${id}.img`;
  if (!wire.set.has(image)) {
    throw builder.error("criu.mounts", "The tree has a mount namespace of its own, but the set does not say what is mounted in it.", image);
  }
  const rowOf = new Map<number, number>();
  for (const entry of inOrder(list(wire.set, image, "mountpoints", MountEntrySchema))) {
    const parent = rowOf.get(entry.parentMntId) ?? null;
    const index = tables.mounts.push(mountOf(builder, entry, parent, namespace)) - 1;
    rowOf.set(entry.mntId, index);
    builder.mountDevices.set(index, entry.rootDev);
    builder.deltas.push((context, foreign) => {
      foreign.addDelta({ table: "mounts", row: index }, "mount", MountEntrySchema, entry, mountToWire(context, index));
    });
  }
}

/** Parents first, and what shows a whole filesystem before what shows a part; else as they are in the set. */
function inOrder(given: readonly MountEntry[]): MountEntry[] {
  const isPart = ({ root }: MountEntry): number => (decodeText(root) === "/" ? 0 : 1);
  const entries = [...given].sort((a, b) => isPart(a) - isPart(b));
  const known = new Set(entries.map(({ mntId }) => mntId));
  const ordered: MountEntry[] = [];
  const add = (parent: MountEntry): void => {
    ordered.push(parent);
    known.delete(parent.mntId);
    for (const entry of entries) if (entry.parentMntId === parent.mntId && known.has(entry.mntId)) add(entry);
  };
  for (const entry of entries) if (known.has(entry.mntId) && !entries.some(({ mntId }) => mntId === entry.parentMntId)) add(entry);
  return ordered;
}

function mountOf(builder: ModelBuilder, entry: MountEntry, parent: number | null, namespace: number): MountRow {
  const { mounts } = builder.tables;
  const fsType = entry.fsname.length > 0 ? decodeText(entry.fsname) : (fsTypes.get(entry.fstype) ?? "");
  const [point, root] = [decodeText(entry.mountpoint).replace(/^\.?\/*/, "/"), decodeText(entry.root)];
  const key = entry.extKey.length > 0 ? decodeText(entry.extKey) : "";
  const name = key === whereItWas ? "" : key;
  const device = splitDevice(entry.rootDev);
  const base = {
    namespace,
    parent,
    flags: entry.flags & keptFlags,
    peers: entry.sharedId,
    master: entry.masterId,
    superFlags: (entry.sbFlags & 1) + ((entry.flags & propagation.unbindable) === 0 ? 0 : mountSuperFlagsBits.unbindable),
    point,
    root,
    fsType,
    source: decodeText(entry.source),
    options: decodeText(entry.options),
    name,
    ...device,
  };
  if (parent === null) return mountRow({ ...base, origin: "rootfs", source: "" });
  if (key === whereItWas) return mountRow({ ...base, origin: "bind" });
  const isSame = (row: MountRow): boolean =>
    row.namespace === namespace && row.devMajor === device.devMajor && row.devMinor === device.devMinor;
  const earlier = mounts.findIndex((row) => isSame(row) && row.origin === "made" && (row.root === "/" || root.startsWith(row.root)));
  // A file is hidden behind /dev/null.
  if (name === "/dev/null") {
    const dev = mounts.findIndex((row) => row.namespace === namespace && row.point === "/dev");
    return mountRow({ ...base, origin: "bind", root: "/null", sameAs: dev < 0 ? null : dev, source: "/dev/null" });
  }
  if (name === "") {
    if (earlier >= 0) return mountRow({ ...base, origin: "bind", sameAs: earlier });
    if (madeAnew.has(fsType) && root === "/") return mountRow({ ...base, origin: "made" });
    throw builder.error(
      "criu.mounts",
      `What is mounted at ${point} (${fsType}) cannot be made again.`,
      "mountpoints",
      `mnt_id ${entry.mntId}`,
    );
  }
  // The engine's shared memory is the container's; its control groups are those of whoever resumes.
  if (fsType === "tmpfs" && root === "/") return mountRow({ ...base, origin: "made" });
  return mountRow({ ...base, origin: "external", source: "" });
}
