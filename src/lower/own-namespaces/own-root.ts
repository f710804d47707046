// SPDX-License-Identifier: Apache-2.0
/**
 * Mount namespaces of a tree with a root directory of its own. Ops of the first process in the first of them.
 *
 *  1. In the yard, a tmpfs of this process, every filesystem is mounted once, apart from all others, so that nothing covers
 *     anything; what was in it is put back.
 *  2. Each mount is a copy of one of those, or of a part of it (open_tree(2)), which hangs nowhere yet.
 *  3. Each namespace is built of its mounts (move_mount(2)): parents first, and on one parent the deeper ones first, since
 *     what is mounted at /a hides what was at /a/b. Nothing is shared yet, so that nothing spreads. Then its root becomes the
 *     root directory, and the machine's mounts and the yard go.
 *  4. Peer groups (mount_namespaces(7)) are made at last, over all namespaces: MOVE_MOUNT_SET_GROUP (Linux 5.15).
 */
import { CrimgError } from "../../errors/crimg-error.js";
import { optionSlotValues } from "../../gen/restore-program.js";
import type { MountRow } from "../../gen/tables.js";
import { isOptionalMount, sourceOfMount } from "../../model/own-namespaces.js";
import { AT, CLONE, O } from "../constants.js";
import type { Lowering } from "../lowering.js";
import type { Slot } from "../operands.js";
import { deletedSuffix, outOf, withoutDeleted } from "../../model/mount-paths.js";
import {
  externalSource,
  holdsContent,
  type Indexed,
  MNT_DETACH,
  mountAnew,
  MS,
  remountReadOnly,
  scratch,
  setAttributes,
} from "./mount-ops.js";
import { mountLayered } from "./root-layer.js";
import { enterNamespace, keepOwn } from "./several.js";
import { shareMounts } from "./sharing.js";
import { fillTmpfs } from "./tmpfs.js";

const [S_IFMT, S_IFDIR] = [0o170000, 0o040000];
const AT_REMOVEDIR = 0x200;
const OPEN_TREE_CLONE = 1;
const [MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH] = [0x4, 0x40];

/** A namespace besides the first: its row, and its mounts. */
export interface OtherMounts {
  readonly namespace: number;
  readonly rows: readonly Indexed[];
}

/** By row of `mounts`, the descriptor of the mount. */
export type MountFds = ReadonlyMap<number, Slot>;

export function makeOwnRoot(l: Lowering, rows: readonly Indexed[], others: readonly OtherMounts[]): void {
  const b = l.builder;
  const [root] = rows;
  if (root === undefined) return;
  const directory = root.row.source;
  const hint = "give the directory with the files of the container: --rootfs DIR";
  const before = b.slot("current directory before");
  const given = b.slots[optionSlotValues.rootfs];
  if (given === undefined) throw new Error("no slot for --rootfs");
  const path = b.slot("directory that becomes the root");
  const isGiven = b.label("the root is given");
  b.syscall("openat", [AT.fdcwd, b.string("."), O.path | O.cloexec, 0], { store: before, message: "open the current directory" });
  l.keepHigh(before);
  b.syscall("mount", [0, b.string("/"), 0, MS.rec | MS.slave, 0], { message: "take mounts out of the caller's reach" });
  b.compute(path, "move", given);
  b.jumpIf(given, "ne", 0, isGiven);
  b.compute(path, "move", b.string(directory));
  b.place(isGiven);
  // The descriptors of a process show what hangs where it has no name.
  const own = b.slot("descriptors of this process");
  const none = b.string("none");
  b.syscall("openat", [AT.fdcwd, b.string("/proc/self/fd"), O.path | O.directory | O.cloexec, 0], {
    store: own,
    message: "open /proc/self/fd",
  });
  b.syscall("mount", [none, b.string(scratch), b.string("tmpfs"), 0, b.string("mode=700")], { message: `mount a tmpfs at ${scratch}` });
  b.syscall("mount", [0, b.string(scratch), 0, MS.private, 0], { message: `keep what is mounted below ${scratch} apart` });
  // One that the image holds is mounted like others that it holds.
  if (root.row.origin === "made") b.syscall("chdir", [b.string(scratch)], { message: `enter ${scratch}` });
  else if (holdsContent(l, root.index)) mountLayered(l, root.index, path, scratch);
  else b.syscall("chdir", [path], { message: `take ${directory} as root directory`, hint });
  b.syscall("mkdirat", [AT.fdcwd, b.string(assembly), 0o700], { message: `make ${assembly}` });

  const all = [...rows, ...others.flatMap((other) => other.rows)];
  const fds = new Map<number, Slot>();
  const yard = new Yard(l);
  const ofOthers = all.filter(({ row }) => row.sameAs !== null);
  for (const one of all.filter(({ row }) => row.sameAs === null)) yard.mount(one);
  for (const one of all.filter(({ row }) => row.sameAs === null)) fds.set(one.index, yard.copy(one));
  for (const one of ofOthers) fds.set(one.index, yard.copy(one));
  for (const one of all) if (isFinallyReadOnly(l, one)) yard.makeReadOnly(one);

  if (others.length > 0) {
    makeOthers(l, others, fds);
    b.syscall("chdir", [b.string("/")], { message: "be where the yard is" });
  }
  assemble(l, rows, fds);
  enter(l, fds.get(root.index), directory);
  // Where the descriptors of this process are names of mounts.
  b.syscall("fchdir", [own], { message: "enter /proc/self/fd" });
  shareMounts(l, all, fds);
  b.syscall("chdir", [b.string("/")], { message: "enter the new root directory" });
  for (const fd of fds.values()) b.syscall("close", [fd], { expect: "any" });
  b.syscall("close", [own]);
  // A rehearsal makes what it makes in a directory of its own, which is in no mount namespace.
  const isReal = b.label("no rehearsal");
  b.jumpIf(b.rehearsal, "eq", 0, isReal);
  b.syscall("fchdir", [before], { message: "enter the private directory again" });
  b.place(isReal);
  b.syscall("close", [before]);
}

const assembly = `${scratch}/tree`;

const isFinallyReadOnly = (l: Lowering, { row, index }: Indexed): boolean =>
  row.origin === "made" && (row.superFlags & 1) !== 0 && holdsContent(l, index);

/** Builds the other namespaces; this process comes back to the first. */
function makeOthers(l: Lowering, others: readonly OtherMounts[], fds: MountFds): void {
  const b = l.builder;
  const own = l.own?.set.mount;
  if (own === undefined) return;
  keepOwn(l, "mount", own);
  for (const { namespace, rows } of others) {
    const [root] = rows;
    if (root === undefined) continue;
    b.syscall("unshare", [CLONE.newns], { message: "make another mount namespace of the tree" });
    keepOwn(l, "mount", namespace);
    assemble(l, rows, fds);
    enter(l, fds.get(root.index), root.row.point);
    enterNamespace(l, "mount", own);
  }
}

/** Hangs the mounts of one namespace into each other, and gives them their flags. */
function assemble(l: Lowering, rows: readonly Indexed[], fds: MountFds): void {
  const b = l.builder;
  const childrenOf = new Map<number | null, Indexed[]>();
  for (const one of rows) {
    const siblings = childrenOf.get(one.row.parent);
    if (siblings === undefined) childrenOf.set(one.row.parent, [one]);
    else siblings.push(one);
  }
  const depth = ({ row }: Indexed): number => row.point.split("/").length;
  const attach = (parent: Indexed): void => {
    const to = fds.get(parent.index);
    if (to === undefined) return;
    const children = [...(childrenOf.get(parent.index) ?? [])].sort((one, two) => depth(two) - depth(one));
    for (const child of children) {
      const fd = fds.get(child.index);
      const where = outOf(child.row.point, parent.row.point);
      if (fd === undefined || where === undefined) continue;
      const skip = b.label("there is no such mount");
      b.jumpIf(fd, "lt", 0, skip);
      if (where !== "") makePoint(l, to, where, isFileMount(l, child));
      b.syscall(
        "move_mount",
        [fd, b.string(""), to, b.string(where), MOVE_MOUNT_F_EMPTY_PATH | (where === "" ? MOVE_MOUNT_T_EMPTY_PATH : 0)],
        {
          message: `mount ${child.row.point} (${child.row.fsType})`,
          ...(child.row.source === "" ? {} : { hint: `what it is mounted on must be there: ${child.row.point}` }),
        },
      );
      b.place(skip);
    }
    for (const child of children) attach(child);
  };
  const [root] = rows;
  const rootFd = root === undefined ? undefined : fds.get(root.index);
  if (root === undefined || rootFd === undefined) return;
  b.syscall("move_mount", [rootFd, b.string(""), AT.fdcwd, b.string(assembly), MOVE_MOUNT_F_EMPTY_PATH], {
    message: `mount what becomes the root directory (${root.row.fsType})`,
  });
  attach(root);
  for (const { row, index } of rows) {
    const fd = fds.get(index);
    if (fd === undefined) continue;
    const skip = b.label("there is no such mount");
    b.jumpIf(fd, "lt", 0, skip);
    setAttributes(l, [fd, b.string(""), AT.emptyPath], row, row.point);
    b.place(skip);
  }
}

/** Makes a mount the root directory, and leaves all others. */
function enter(l: Lowering, root: Slot | undefined, directory: string): void {
  const b = l.builder;
  if (root === undefined) return;
  b.syscall("fchdir", [root], { message: `enter ${directory}` });
  b.syscall("pivot_root", [b.string("."), b.string(".")], { message: `make ${directory} the root directory` });
  b.syscall("umount2", [b.string("."), MNT_DETACH], { message: "leave the caller's mounts" });
  b.syscall("chdir", [b.string("/")], { message: "enter the new root directory" });
}

const isFileMount = (l: Lowering, { row, index }: Indexed): boolean =>
  row.origin === "bind" && row.sameAs === null && holdsContent(l, index);

/** A mount point in a directory that was given may be missing. What is wrong with it otherwise, the mount tells. */
function makePoint(l: Lowering, parent: Slot, where: string, isFile: boolean): void {
  const b = l.builder;
  if (!isFile) {
    b.syscall("mkdirat", [parent, b.string(where), 0o755], { expect: "any" });
    return;
  }
  const fd = b.slot(`fd of ${where}`);
  const none = b.label("there is no such file to make");
  b.syscall("openat", [parent, b.string(where), O.rdonly | O.creat | O.excl | O.cloexec | O.nofollow, 0o644], { store: fd, orElse: none });
  b.syscall("close", [fd]);
  b.place(none);
}

/** Filesystems, each mounted in a directory of its own. The current directory is the one that becomes the root. */
class Yard {
  readonly #made = new Map<number, Slot>();

  constructor(private readonly l: Lowering) {}

  #pathOf(index: number): string {
    return `${scratch}/${index}`;
  }

  /** Mounts what is made anew, or puts there the bytes of a single file. */
  mount({ row, index }: Indexed): void {
    const b = this.l.builder;
    const path = this.#pathOf(index);
    if (row.origin === "bind" && holdsContent(this.l, index)) {
      fillTmpfs(this.l, index, path);
      return;
    }
    if (row.origin !== "made") return;
    const result = b.slot(`result of mounting ${row.point}`);
    const skip = b.label("not mounted");
    this.#made.set(index, result);
    b.syscall("mkdirat", [AT.fdcwd, b.string(path), 0o700], { message: `make ${path}` });
    mountAnew(this.l, { row, index }, path, skip, result);
    if (holdsContent(this.l, index)) fillTmpfs(this.l, index, path);
    b.place(skip);
  }

  makeReadOnly({ row, index }: Indexed): void {
    remountReadOnly(this.l, row, this.#pathOf(index));
  }

  /** A mount that hangs nowhere yet; its slot holds a negative number where this machine has none (control groups). */
  copy({ row, index }: Indexed): Slot {
    const b = this.l.builder;
    const fd = b.slot(`mount at ${row.point}`);
    // The console of a container is a terminal of its own, which the engine held: it has that of the caller, if any.
    const isTerminal = row.sameAs !== null && row.root !== "/" && row.fsType === "devpts";
    const mayLack = row.fsType.startsWith("cgroup") || isTerminal;
    const done = b.label("mount is copied");
    const hint = "what was mounted there is gone: it must exist where the image is resumed";
    const clone = (path: string, message: string): void =>
      b.syscall("open_tree", [AT.fdcwd, b.string(path), OPEN_TREE_CLONE | O.cloexec], {
        store: fd,
        ...(mayLack ? { orElse: done } : { message, hint }),
      });
    b.compute(fd, "move", -1);
    if (row.origin === "rootfs") {
      clone(".", `take ${row.source} as root directory`);
    } else if (row.sameAs !== null) {
      this.#copyPart(row, index, clone);
    } else if (row.origin === "made") {
      const made = this.#made.get(index);
      if (made !== undefined) b.jumpIf(made, "lt", 0, done);
      clone(this.#pathOf(index), `mount ${row.point} (${row.fsType})`);
    } else if (holdsContent(this.l, index)) {
      clone(this.#pathOf(index), `bind the file to ${row.point}`);
    } else {
      // Whoever named it at the dump gives it at the resume.
      const isLater = row.origin === "external" && row.source === "" && row.name !== "" && !isOptionalMount(row);
      if (isLater) b.fail(`nobody says what is to be mounted at ${row.point}`, `resume with crimg exec --mount ${row.name}=PATH`);
      const source = isLater ? undefined : row.origin === "external" ? externalSource(row, index) : row.source;
      if (source !== undefined) clone(source, `bind ${source} to ${row.point}`);
    }
    const isOfMachine = row.origin !== "rootfs" && row.sameAs === null && row.origin !== "made";
    // What the machine mounts below a mount of its own was to be seen in the tree as well.
    if (!(isOfMachine && row.master !== 0 && row.peers === 0)) {
      b.syscall("mount_setattr", [fd, b.string(""), AT.emptyPath, b.u8s(0, 0, MS.private, 0), 32], { expect: "any" });
    }
    b.place(done);
    return fd;
  }

  /** A part of another mount. A directory or file that has lost its name gets it for the moment. */
  #copyPart(row: MountRow, index: number, clone: (path: string, message: string) => void): void {
    const b = this.l.builder;
    const { mounts } = this.l.checkpoint.tables;
    const at = sourceOfMount(mounts, index) ?? -1;
    const other = mounts[at];
    if (other === undefined)
      throw new CrimgError("lower.reference", `there is no mount ${row.sameAs}`, { path: `mounts[${index}].sameAs` });
    const inside = outOf(withoutDeleted(row.root), other.root) ?? "";
    const base =
      other.origin === "rootfs"
        ? "."
        : other.origin === "made" || holdsContent(this.l, at)
          ? this.#pathOf(at)
          : other.origin === "external"
            ? (externalSource(other, at) ?? "")
            : other.source;
    const path = inside === "" ? base : `${base}/${inside}`;
    const isDeleted = row.root.endsWith(deletedSuffix);
    const isDirectory = this.l.checkpoint.tables.mountEntries.some(({ mount, mode }) => mount === index && (mode & S_IFMT) === S_IFDIR);
    if (isDeleted) {
      if (isDirectory) b.syscall("mkdirat", [AT.fdcwd, b.string(path), 0o700], { message: `make ${row.point}, which was removed, again` });
      fillTmpfs(this.l, index, path);
    }
    clone(path, `mount ${row.point} (${row.fsType})`);
    if (isDeleted) b.syscall("unlinkat", [AT.fdcwd, b.string(path), isDirectory ? AT_REMOVEDIR : 0], { message: `remove ${path} again` });
  }
}
