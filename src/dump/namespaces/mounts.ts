// SPDX-License-Identifier: Apache-2.0
/**
 * What is mounted in a mount namespace of the tree's own. What it has of the machine's mounts stays as the machine has
 * it; the rest is mounted again.
 */
import { type MountOrigin, type MountRow, mountRow, mountSuperFlagsBits } from "../../gen/tables.js";
import { deletedSuffix, outOf, withoutDeleted } from "../../model/mount-paths.js";
import { type MountInfo, unescapeOctal } from "./mountinfo.js";

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
  const rest = outOf(root, mount.root);
  if (rest === undefined) return undefined;
  return rest === "" ? mount.point : `${mount.point === "/" ? "" : mount.point}/${rest}`;
}

export interface MountTables {
  /** Of the tree. */
  readonly theirs: readonly MountInfo[];
  /** Of crimg. */
  readonly ours: readonly MountInfo[];
  /** Names by mount point of what is of outside. */
  readonly externals?: ReadonlyMap<string, string>;
  /** What is planned of the tree's other namespaces already: those of its root first. */
  readonly before?: readonly PlannedMount[];
}

/**
 * Decides for each mount of a namespace how it comes back; `namespace` is its row. Rows are numbered from the first of
 * `before`. Pure.
 */
export function planMounts({ theirs, ours, externals = new Map(), before = [] }: MountTables, namespace: number): PlannedMount[] {
  const [root] = theirs;
  const ourRoot = ours.find(({ point }) => point === "/");
  if (root === undefined || ourRoot === undefined) return [];
  const isOnMachine = !hasOwnRoot(before) && isSameDevice(root, ourRoot) && root.root === ourRoot.root;
  const rowOf = new Map(theirs.map(({ id }, index) => [id, before.length + index]));
  const planned: PlannedMount[] = [];
  const left = [...ours];
  const kept = theirs.map((info) => {
    const at = isOnMachine
      ? left.findIndex((mount) => isSameDevice(mount, info) && mount.root === info.root && mount.point === info.point)
      : -1;
    return at < 0 ? undefined : left.splice(at, 1)[0];
  });
  const all = [...before.map(({ info }) => info), ...theirs];
  const source = new Sources(
    all,
    externals,
    isOnMachine ? (index) => index < before.length || kept[index - before.length] !== undefined : undefined,
  );
  for (const [index, info] of theirs.entries()) {
    const same = kept[index];
    const row = before.length + index;
    const how =
      same !== undefined
        ? { origin: keptOrigin(info, same), source: info.source }
        : howToMount(info, { isRoot: row === 0, partOf: source.of(row), ours, name: externals.get(info.point) });
    const { problem, ...fields } = how;
    planned.push({
      info,
      problem,
      row: mountRow({
        namespace,
        parent: index === 0 ? null : (rowOf.get(info.parent) ?? null),
        flags: info.flags,
        peers: info.peers,
        master: info.master,
        superFlags: (info.isReadOnly ? 1 : 0) + (info.isUnbindable ? mountSuperFlagsBits.unbindable : 0),
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

/** Whether the first namespace has another root directory than the machine. */
export function hasOwnRoot([root]: readonly PlannedMount[]): boolean {
  return root?.row.origin === "rootfs" || root?.row.origin === "made";
}

/** For each mount, the one of the same filesystem that shows the most of it: the others are parts of that. */
class Sources {
  constructor(
    private readonly all: readonly MountInfo[],
    private readonly externals: ReadonlyMap<string, string>,
    /** On the machine's root mounts are made in their order, and those of the machine are none of the tree's. */
    private readonly isKept: ((index: number) => boolean) | undefined,
  ) {}

  /** Its row; undefined for a mount that stands for itself. */
  of(row: number): number | undefined {
    const info = this.all[row];
    if (info === undefined || row === 0) return undefined;
    const root = withoutDeleted(info.root);
    const isKept = this.isKept;
    if (isKept !== undefined) {
      const earlier = this.all.findIndex(
        (other, index) => !isKept(index) && isSameDevice(other, info) && pathWithin(other, root) !== undefined,
      );
      return earlier < 0 || earlier >= row ? undefined : earlier;
    }
    let best = row;
    for (const [index, other] of this.all.entries()) {
      if (!isSameDevice(other, info) || pathWithin(other, root) === undefined) continue;
      if (this.#rank(index) < this.#rank(best)) best = index;
    }
    return best === row ? undefined : best;
  }

  /** The root directory first; then what is shown as a whole, and of those what is of outside; then the order of mounting. */
  #rank(index: number): number {
    const info = this.all[index];
    if (info === undefined || index === 0) return -1;
    const isExternal = this.externals.has(info.point);
    return (
      info.root.length * 2 * this.all.length * (info.root.endsWith(deletedSuffix) ? 1e6 : 1) + (isExternal ? 0 : this.all.length) + index
    );
  }
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

/** A root that a resume of crimg's made is memory, or a layer of memory over a directory; else it is one that others made. */
function rootOf(info: MountInfo, onMachine: string | undefined): How {
  if (onMachine !== undefined) return { origin: "rootfs", source: onMachine };
  if (info.fsType === "tmpfs" && info.root === "/") return { origin: "made", source: info.source };
  return { origin: "rootfs", source: directoryBelow(info) ?? info.source };
}

/** The directory below a layer that a resume of crimg's made (own-namespaces/root-layer.ts): nobody else has the layer there. */
export function directoryBelow({ fsType, options }: MountInfo): string | undefined {
  if (fsType !== "overlay" || !options.includes("upperdir=/proc/fs/upper")) return undefined;
  const [, path] = /(?:^|,)lowerdir\+?=(\/[^,]*)/.exec(options) ?? [];
  return path === undefined ? undefined : unescapeOctal(path);
}

interface Circumstances {
  /** The root directory of the tree. */
  readonly isRoot: boolean;
  /** The mount that it is a part of. */
  readonly partOf: number | undefined;
  readonly ours: readonly MountInfo[];
  readonly name: string | undefined;
}

function howToMount(info: MountInfo, { isRoot, partOf, ours, name }: Circumstances): How {
  const onMachine = ours
    .map((mount) => (isSameDevice(mount, info) ? pathWithin(mount, info.root) : undefined))
    .find((path) => path !== undefined);
  if (isRoot) return rootOf(info, onMachine);
  if (partOf !== undefined) return { origin: "bind", source: info.source, sameAs: partOf };
  if (name !== undefined) return { origin: "external", name, source: onMachine ?? "" };
  // A tmpfs as a whole is the tree's, wherever its engine mounted it first.
  if (info.root === "/" && madeAnew.has(info.fsType) && (onMachine === undefined || info.fsType === "tmpfs"))
    return { origin: "made", source: info.source };
  if (onMachine !== undefined) return { origin: "bind", source: onMachine };
  // A file that a resume of crimg's brought back: its bytes are looked for.
  if (info.fsType === "tmpfs" && info.root !== "/") return { origin: "bind", source: "" };
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
