// SPDX-License-Identifier: Apache-2.0
/**
 * Mounts of a mount namespace of the tree's own. Ops of the first process in it: the namespace is a copy of the caller's
 * mounts at first.
 *
 * A tree with the machine's root keeps the machine's mounts, and what differs is changed. One with a root of its own (a
 * container) gets all its mounts below that directory, which then becomes the root; nothing of the machine stays in reach.
 */
import { CrimgError } from "../../errors/crimg-error.js";
import { type MountRow, mountFlagsBits } from "../../gen/tables.js";
import { isOptionalMount } from "../../model/own-namespaces.js";
import { optionSlotValues } from "../../gen/restore-program.js";
import { AT, O } from "../constants.js";
import type { Lowering } from "../lowering.js";
import type { OpOptions } from "../program-builder.js";
import { mountLayered } from "./root-layer.js";
import { fillTmpfs } from "./tmpfs.js";

const MS = {
  rdonly: 1,
  remount: 0x20,
  bind: 0x1000,
  rec: 0x4000,
  strictatime: 1 << 24,
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
} as const;
const MNT_DETACH = 2;
/** MOUNT_ATTR_* of mount_setattr(2) by MS_* flag. */
const attributeOf: readonly (readonly [flag: number, attribute: number])[] = [
  [mountFlagsBits.read_only, 0x1],
  [mountFlagsBits.nosuid, 0x2],
  [mountFlagsBits.nodev, 0x4],
  [mountFlagsBits.noexec, 0x8],
  [mountFlagsBits.nodiratime, 0x80],
  [mountFlagsBits.nosymfollow, 0x200000],
];
const MOUNT_ATTR_NOATIME = 0x10;
const MOUNT_ATTR_STRICTATIME = 0x20;
const MOUNT_ATTR__ATIME = 0x70;
const stateOf = (row: MountRow): string => `${row.point} (${row.fsType})`;

export function makeMounts(l: Lowering, namespace: number): void {
  const rows = l.checkpoint.tables.mounts.map((row, index) => ({ row, index })).filter(({ row }) => row.namespace === namespace);
  const root = rows.find(({ row }) => row.parent === null && row.origin !== "removed");
  if (root === undefined) return;
  l.builder.about("mounts of the tree", () => {
    if (root.row.origin === "rootfs") withOwnRoot(l, rows);
    else onMachinesRoot(l, rows);
  });
}

interface Indexed {
  readonly row: MountRow;
  readonly index: number;
}

function onMachinesRoot(l: Lowering, rows: readonly Indexed[]): void {
  const b = l.builder;
  const kept = rows.filter(({ row }) => row.origin === "kept" || row.origin === "changed");
  if (kept.every(({ row }) => row.peers === 0 && row.master === 0)) {
    b.syscall("mount", [0, b.string("/"), 0, MS.rec | MS.private, 0], { message: "make mounts private" });
  } else {
    for (const { row } of kept) {
      if (row.peers === 0) setPropagation(l, row.point, row.master === 0 ? MS.private : MS.slave);
    }
  }
  for (const { row } of rows) if (row.origin === "removed") unmount(l, row);
  for (const { row, index } of rows) {
    if (row.origin === "changed") setFlags(l, row.point, row);
    else if (row.origin !== "kept" && row.origin !== "removed") mountOne(l, row, index, "");
  }
}

/** Whoever resumes may lack it as well. */
function unmount(l: Lowering, row: MountRow): void {
  const b = l.builder;
  const result = b.slot(`result of unmounting ${row.point}`);
  const done = b.label("unmounted");
  b.syscall("umount2", [b.string(row.point), MNT_DETACH], { store: result, expect: "any" });
  for (const good of [0, -2, -22]) b.jumpIf(result, "eq", good, done);
  b.fail(`unmount ${row.point}, which the tree did not have`, undefined, result);
  b.place(done);
}

function withOwnRoot(l: Lowering, rows: readonly Indexed[]): void {
  const b = l.builder;
  const [root, ...others] = rows;
  if (root === undefined) return;
  const before = b.slot("current directory before");
  const directory = root.row.source;
  const hint = "give the directory with the files of the container: --rootfs DIR";
  b.syscall("openat", [AT.fdcwd, b.string("."), O.path | O.cloexec, 0], { store: before, message: "open the current directory" });
  l.keepHigh(before);
  b.syscall("mount", [0, b.string("/"), 0, MS.rec | MS.slave, 0], { message: "take mounts out of the caller's reach" });
  const given = b.slots[optionSlotValues.rootfs];
  if (given === undefined) throw new Error("no slot for --rootfs");
  const path = b.slot("directory that becomes the root");
  const isGiven = b.label("the root is given");
  b.compute(path, "move", given);
  b.jumpIf(given, "ne", 0, isGiven);
  b.compute(path, "move", b.string(directory));
  b.place(isGiven);
  const isLayered = holdsContent(l, root.index);
  // What the image holds of single files, or of the root's layer, lies there until the machine's mounts are left; it stays.
  const isFile = ({ row, index }: Indexed): boolean => row.origin === "bind" && holdsContent(l, index);
  if (isLayered || others.some(isFile)) {
    const none = b.string("none");
    b.syscall("mount", [none, b.string(scratch), b.string("tmpfs"), 0, b.string("mode=700")], { message: `mount a tmpfs at ${scratch}` });
  }
  if (isLayered) mountLayered(l, root.index, path, scratch);
  else {
    b.syscall("mount", [path, path, 0, MS.bind, 0], { message: `take ${directory} as root directory`, hint });
    b.syscall("chdir", [path], { message: `enter ${directory}`, hint });
  }
  setPropagation(l, ".", MS.private);
  setFlags(l, ".", root.row);
  for (const { row, index } of others) mountOne(l, row, index, ".");
  b.syscall("pivot_root", [b.string("."), b.string(".")], { message: `make ${directory} the root directory` });
  b.syscall("umount2", [b.string("."), MNT_DETACH], { message: "leave the caller's mounts" });
  b.syscall("chdir", [b.string("/")], { message: "enter the new root directory" });
  // A rehearsal makes what it makes in a directory of its own, which is in no mount namespace.
  const isReal = b.label("no rehearsal");
  b.jumpIf(b.rehearsal, "eq", 0, isReal);
  b.syscall("fchdir", [before], { message: "enter the private directory again" });
  b.place(isReal);
  b.syscall("close", [before]);
}

/** A directory that every /proc has. */
const scratch = "/proc/fs";

function holdsContent(l: Lowering, index: number): boolean {
  return l.checkpoint.tables.mountEntries.some(({ mount }) => mount === index);
}

/** A mount point in a directory that was given may be missing. What is wrong with it otherwise, the mount tells. */
function makePoint(l: Lowering, base: string, row: MountRow, isFile: boolean): void {
  if (base === "") return;
  const b = l.builder;
  const path = b.string(`${base}${row.point}`);
  if (isFile) {
    const fd = b.slot(`fd of ${row.point}`);
    const none = b.label("there is no such file to make");
    b.syscall("openat", [AT.fdcwd, path, O.rdonly | O.creat | O.excl | O.cloexec | O.nofollow, 0o644], { store: fd, orElse: none });
    b.syscall("close", [fd]);
    b.place(none);
  } else {
    b.syscall("mkdirat", [AT.fdcwd, path, 0o755], { expect: "any" });
  }
}

/** In a user namespace of one user there may be no group "tty" (gid=5): its terminals are that user's then. */
function withoutOwners(options: string): string {
  return options
    .split(",")
    .filter((option) => !/^[ug]id=/.test(option))
    .join(",");
}

/** `base` is what paths of the namespace are taken from: the machine's root (""), or the current directory ("."). */
function mountOne(l: Lowering, row: MountRow, index: number, base: string): void {
  const b = l.builder;
  const point = b.string(`${base}${row.point}`);
  const isReadOnly = (row.superFlags & 1) !== 0;
  const isCgroup = row.fsType.startsWith("cgroup");
  const message = `mount ${stateOf(row)}`;
  switch (row.origin) {
    case "made": {
      const content = holdsContent(l, index);
      makePoint(l, base, row, false);
      const flags = (row.flags & (content ? ~MS.rdonly : ~0)) | (isStrictAtime(row) ? MS.strictatime : 0);
      const skip = b.label("not mounted");
      const mountWith = (options: string, otherwise: OpOptions): void =>
        b.syscall("mount", [b.string(row.source), point, b.string(row.fsType), flags, b.string(options)], otherwise);
      const withoutIds = withoutOwners(row.options);
      const [asOthers, mounted] = [b.label("owners have no number here"), b.label("mounted")];
      mountWith(row.options, isCgroup ? { orElse: skip } : withoutIds !== row.options ? { orElse: asOthers } : { message });
      if (withoutIds !== row.options) {
        b.jump(mounted);
        b.place(asOthers);
        mountWith(withoutIds, { message });
      }
      b.place(mounted);
      if (content) {
        fillTmpfs(l, index, `${base}${row.point}`);
        setFlags(l, `${base}${row.point}`, row);
        if (isReadOnly)
          b.syscall("mount", [0, point, 0, MS.remount | flags | MS.rdonly, b.string(row.options)], {
            message: `make ${row.point} read-only`,
          });
      }
      setPropagation(l, `${base}${row.point}`, propagationOf(row));
      b.place(skip);
      return;
    }
    case "bind":
    case "external": {
      const hasBytes = row.origin === "bind" && holdsContent(l, index);
      const source = hasBytes ? `${scratch}/${index}` : row.sameAs === null ? row.source : `${base}${pathOf(l, row)}`;
      if (hasBytes) {
        makePoint(l, base, row, true);
        fillTmpfs(l, index, source);
      }
      if (row.origin === "external" && row.source === "" && row.sameAs === null) {
        if (isOptionalMount(row)) return;
        throw new CrimgError("lower.mount", `nobody says what is to be mounted at ${row.point}`, {
          path: `mounts[${index}].source`,
          hint: `--mount ${row.name || row.point}=PATH`,
        });
      }
      const skip = b.label("not mounted");
      // The console of a container is a terminal of its own, which the engine held: it has that of the caller, if any.
      const isTerminal = row.sameAs !== null && l.checkpoint.tables.mounts[row.sameAs]?.fsType === "devpts";
      const hint = "what was mounted there is gone: it must exist where the image is resumed";
      b.syscall(
        "mount",
        [b.string(source), point, 0, MS.bind, 0],
        isCgroup || isTerminal ? { orElse: skip } : { message: `bind ${source} to ${row.point}`, hint },
      );
      setFlags(l, `${base}${row.point}`, row);
      setPropagation(l, `${base}${row.point}`, propagationOf(row));
      b.place(skip);
      return;
    }
    default:
      throw new CrimgError("lower.mount", `${row.point}: a mount that is ${row.origin} cannot be made here`, {
        path: `mounts[${index}].origin`,
      });
  }
}

/** Where the part that a bind mount shows lies in an earlier mount. */
function pathOf(l: Lowering, row: MountRow): string {
  const earlier = row.sameAs === null ? undefined : l.checkpoint.tables.mounts[row.sameAs];
  if (earlier === undefined) throw new CrimgError("lower.reference", `there is no mount ${row.sameAs}`, { path: "mounts" });
  const rest = earlier.root === "/" ? row.root : row.root.slice(earlier.root.length);
  return `${earlier.point === "/" ? "" : earlier.point}${rest === "" || rest === "/" ? "" : rest}` || "/";
}

function propagationOf(row: MountRow): number {
  if (row.superFlags >= 2 ** 31) return MS.unbindable;
  return row.peers !== 0 ? MS.shared : MS.private;
}

function setPropagation(l: Lowering, path: string, how: number): void {
  const b = l.builder;
  b.syscall("mount", [0, b.string(path), 0, how, 0], { message: `set the propagation of ${path}` });
}

/** Times of access are always noted; to note them where that is due is what a mount begins with. */
function isStrictAtime({ flags }: Pick<MountRow, "flags">): boolean {
  return (flags & (mountFlagsBits.noatime | mountFlagsBits.relatime)) === 0;
}

/** Flags that a mount was born with cannot be taken away in every user namespace; whatever it lacks is set. */
function setFlags(l: Lowering, path: string, row: Pick<MountRow, "flags">): void {
  const b = l.builder;
  const set = attributeOf.reduce((all, [flag, attribute]) => ((row.flags & flag) !== 0 ? all | attribute : all), 0);
  const isNoAtime = (row.flags & mountFlagsBits.noatime) !== 0;
  const clear = attributeOf.reduce((all, [flag, attribute]) => ((row.flags & flag) === 0 ? all | attribute : all), 0);
  if (set !== 0 || isNoAtime) {
    const attributes = b.u8s(set | (isNoAtime ? MOUNT_ATTR_NOATIME : 0), isNoAtime ? MOUNT_ATTR__ATIME : 0, 0, 0);
    b.syscall("mount_setattr", [AT.fdcwd, b.string(path), 0, attributes, 32], { message: `set the flags of the mount at ${path}` });
  }
  b.syscall("mount_setattr", [AT.fdcwd, b.string(path), 0, b.u8s(0, clear, 0, 0), 32], { expect: "any" });
  if (isNoAtime) return;
  const atime = b.u8s(isStrictAtime(row) ? MOUNT_ATTR_STRICTATIME : 0, MOUNT_ATTR__ATIME, 0, 0);
  b.syscall("mount_setattr", [AT.fdcwd, b.string(path), 0, atime, 32], { expect: "any" });
}
