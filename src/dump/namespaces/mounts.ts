// SPDX-License-Identifier: Apache-2.0
/**
 * What is mounted in a mount namespace of the tree's own. What it has of the machine's mounts stays as the machine has
 * it; the rest is mounted again.
 */
import { type MountOrigin, type MountRow, mountRow } from "../../gen/tables.js";
import type { MountInfo } from "./mountinfo.js";

/** Filesystems that are mounted anew: they hold nothing but what the kernel shows, or what the image stores. */
export const madeAnew: ReadonlySet<string> = new Set(["proc", "sysfs", "tmpfs", "ramfs", "devpts", "mqueue", "cgroup", "cgroup2"]);

export interface PlannedMount {
  readonly row: MountRow;
  readonly info: MountInfo;
  /** Why there is no way to mount it again. */
  readonly problem?: string;
}

const isSameDevice = (a: MountInfo, b: MountInfo): boolean => a.devMajor === b.devMajor && a.devMinor === b.devMinor;

/** Where a part of a filesystem lies in a mount of it: a path, or undefined if the mount does not show it. */
export function pathWithin(mount: Pick<MountInfo, "root" | "point">, root: string): string | undefined {
  if (root === mount.root) return mount.point;
  const prefix = mount.root === "/" ? "/" : `${mount.root}/`;
  if (!root.startsWith(prefix)) return undefined;
  return `${mount.point === "/" ? "" : mount.point}/${root.slice(prefix.length)}`;
}

/**
 * Decides for each mount how it comes back. `theirs` is the table of the tree, `ours` that of crimg; `namespace` the row
 * of the mount namespace. Rows are numbered from 0. Pure.
 */
export function planMounts(
  theirs: readonly MountInfo[],
  ours: readonly MountInfo[],
  namespace: number,
  externals: ReadonlyMap<string, string> = new Map(),
): PlannedMount[] {
  const rowOf = new Map<number, number>();
  const planned: PlannedMount[] = [];
  const [root] = theirs;
  const ourRoot = ours.find(({ point }) => point === "/");
  if (root === undefined || ourRoot === undefined) return [];
  const isOnMachine = isSameDevice(root, ourRoot) && root.root === ourRoot.root;
  const left = [...ours];
  for (const info of theirs) {
    const parent = rowOf.get(info.parent) ?? null;
    rowOf.set(info.id, planned.length);
    const at = isOnMachine
      ? left.findIndex((mount) => isSameDevice(mount, info) && mount.root === info.root && mount.point === info.point)
      : -1;
    const [same] = at < 0 ? [] : left.splice(at, 1);
    const how =
      same === undefined ? howToMount(info, parent, planned, ours, externals) : { origin: keptOrigin(info, same), source: info.source };
    const { problem, ...fields } = how;
    planned.push({
      info,
      problem,
      row: mountRow({
        namespace,
        parent,
        flags: info.flags,
        peers: info.peers,
        master: info.master,
        superFlags: (info.isReadOnly ? 1 : 0) + (info.isUnbindable ? 2 ** 31 : 0),
        point: info.point,
        root: info.root,
        fsType: info.fsType,
        options: info.options,
        devMajor: info.devMajor,
        devMinor: info.devMinor,
        ...fields,
      }),
    });
  }
  if (isOnMachine) planned.push(...removed(left, theirs, namespace));
  return planned;
}

function keptOrigin(info: MountInfo, same: MountInfo): MountOrigin {
  return info.flags === same.flags ? "kept" : "changed";
}

interface How {
  readonly origin: MountOrigin;
  readonly source: string;
  readonly sameAs?: number;
  readonly name?: string;
  readonly problem?: string;
}

function howToMount(
  info: MountInfo,
  parent: number | null,
  planned: readonly PlannedMount[],
  ours: readonly MountInfo[],
  externals: ReadonlyMap<string, string>,
): How {
  const earlier = planned.findIndex(
    ({ info: other, row }) => isSameDevice(other, info) && row.origin !== "kept" && pathWithin(other, info.root) !== undefined,
  );
  const onMachine = ours
    .map((mount) => (isSameDevice(mount, info) ? pathWithin(mount, info.root) : undefined))
    .find((path) => path !== undefined);
  if (parent === null) return { origin: "rootfs", source: onMachine ?? info.source };
  const name = externals.get(info.point);
  if (name !== undefined) return { origin: "external", name, source: onMachine ?? "" };
  const isWhole = info.root === "/";
  // A tmpfs as a whole is the tree's, wherever its engine mounted it first.
  if (earlier < 0 && isWhole && madeAnew.has(info.fsType) && (onMachine === undefined || info.fsType === "tmpfs"))
    return { origin: "made", source: info.source };
  if (earlier >= 0) return { origin: "bind", source: info.source, sameAs: earlier };
  if (onMachine !== undefined) return { origin: "bind", source: onMachine };
  // A file that a resume of crimg's brought back: its bytes are looked for.
  if (info.fsType === "tmpfs" && !isWhole) return { origin: "bind", source: "" };
  if (info.fsType.startsWith("cgroup")) return { origin: "made", source: info.source };
  return {
    origin: "external",
    source: info.source,
    problem: `${info.point}: a mount of ${info.fsType} (${info.source}) that this machine has nowhere else`,
  };
}

/** What was unmounted: the machine has it, the tree has not. What is below it went with it. */
function removed(left: readonly MountInfo[], theirs: readonly MountInfo[], namespace: number): PlannedMount[] {
  const isCovered = (mount: MountInfo): boolean => left.some((other) => other !== mount && other.id === mount.parent);
  // Under a mount of the tree's own it is out of sight, but there.
  const isHidden = ({ point }: MountInfo): boolean =>
    theirs.some((mount) => mount.point !== "/" && (point === mount.point || point.startsWith(`${mount.point}/`)));
  return left
    .filter((mount) => !isCovered(mount) && !isHidden(mount))
    .map((info) => ({
      info,
      row: mountRow({ namespace, origin: "removed", point: info.point, fsType: info.fsType, source: info.source }),
    }));
}
