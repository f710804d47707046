// SPDX-License-Identifier: Apache-2.0
/** What is in a tmpfs of the tree's own: it exists nowhere else. */
import { ownFdInfo } from "../fds/fdinfo.js";
import { decodeText } from "../../bytes/text.js";
import { mountEntryRow, type MountRow, objectRow } from "../../gen/tables.js";
import {
  close,
  cString,
  errno,
  failed,
  type FileStat,
  openFlag,
  SysError,
  tryCall,
  tryCopyMount,
  tryFstat,
  tryListDirectory,
  tryOpen,
} from "../../native/index.js";
import { errnoMessage } from "../../linux/errno.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";

const S_IFMT = 0o170000;
const [S_IFDIR, S_IFREG, S_IFLNK, S_IFSOCK, S_IFCHR] = [0o040000, 0o100000, 0o120000, 0o140000, 0o020000];
/** Every file that is not empty is a descriptor of crimg's until the image is written. */
const mostEntries = 20_000;

/**
 * Adds the entries of the mount in row `mount`. Of a layer over a directory, `below`, what it has beside that, and for what it
 * hides of that a device 0:0 (SPEC 5.124).
 */
export function collectTmpfs(context: DumpContext, root: DumpedProcess, mount: number, below?: string): void {
  const row = context.tables.mounts[mount];
  if (row === undefined) return;
  const who = `process ${root.pid} (${root.name}): ${row.point} (${row.fsType})`;
  const seen = visiblePath(context, mount, row);
  if (typeof seen === "string") throw refusal("mount", `${who} ${seen}`, { hint: "Unmount what covers it, and dump again." });
  const { top, at } = seen;
  const isPartly = below === undefined && hasMountsOn(context, at);
  const copy = isPartly ? tryCopyMount(context.view.spaceOf(at.namespace)?.process.pid ?? root.pid, at.point) : -1;
  if (isPartly && failed(copy)) {
    context.lose("dump.covered-files", `${who} has mounts on it, and what lies under them may not be looked into (${errnoMessage(-copy)})`);
  }
  try {
    const isWhole = !failed(copy);
    collectEntries(context, { mount, row, who, below, at, top, base: isWhole ? `/proc/self/fd/${copy}` : seen.base, isWhole });
  } finally {
    if (!failed(copy)) close(copy);
  }
}

/** Whether something is mounted on a mount, other than on its root. */
function hasMountsOn({ tables }: DumpContext, at: MountRow): boolean {
  const prefix = at.point === "/" ? "/" : `${at.point}/`;
  return tables.mounts.some(({ namespace, point }) => namespace === at.namespace && point !== at.point && point.startsWith(prefix));
}

interface Looked {
  readonly mount: number;
  readonly row: MountRow;
  /** For messages. */
  readonly who: string;
  readonly below: string | undefined;
  /** The mount that is looked into, and its root. */
  readonly at: MountRow;
  readonly top: FileStat;
  /** Its path, or that of a copy. */
  readonly base: string;
  /** It is a copy, which nothing is mounted on. */
  readonly isWhole: boolean;
}

function collectEntries(context: DumpContext, { mount, row, who, below, at, top, base, isWhole }: Looked): void {
  // Another mount of the same filesystem has the same device.
  const points = new Set(
    context.tables.mounts.filter(({ namespace, origin }) => namespace === at.namespace && origin !== "removed").map(({ point }) => point),
  );
  const firstNames = new Map<bigint, string>();
  let count = 0;
  const add = (path: string, stat: FileStat): void => {
    if (++count > mostEntries)
      throw refusal("mount", `${who} holds more than ${mostEntries} files`, { hint: "Remove some, or unmount it." });
    const type = stat.mode & S_IFMT;
    if (type === S_IFSOCK) return;
    const first = type !== S_IFDIR && stat.nlink > 1 ? firstNames.get(stat.ino) : undefined;
    if (first === undefined) firstNames.set(stat.ino, path);
    const full = path === "" ? base : `${base}/${path}`;
    if (below !== undefined && path !== "" && isLike(`${below}/${path}`, full, stat)) {
      if (type === S_IFDIR) addAll(path, full);
      return;
    }
    const hasBytes = type === S_IFREG && first === undefined && stat.size > 0n;
    context.tables.mountEntries.push(
      mountEntryRow({
        mount,
        mode: stat.mode,
        path,
        target: type === S_IFLNK ? linkTarget(full) : (first ?? ""),
        uid: stat.uid,
        gid: stat.gid,
        rdevMajor: stat.rdevMajor,
        rdevMinor: stat.rdevMinor,
        mtimeNs: stat.mtimeNs,
        object: hasBytes ? storeFile(context, full, `${row.point}/${path}`, stat) : null,
      }),
    );
    if (type === S_IFDIR) addAll(path, full);
  };
  const addAll = (path: string, full: string): void => {
    const names = tryListDirectory(full);
    if (typeof names === "number") throw new SysError("open", -names, `${who}: ${full}`);
    for (const name of names.sort()) {
      const stat = statOf(`${full}/${name}`);
      if (stat === undefined) continue;
      const inner = path === "" ? name : `${path}/${name}`;
      if (isWhole) {
        add(inner, stat);
        continue;
      }
      // What is mounted on it is a row of its own; under it lies, as far as can be seen, an empty directory or file.
      const isPoint = points.has(`${at.point === "/" ? "" : at.point}/${inner}`);
      if (below !== undefined) {
        // There the device of a file is that of the filesystem that it lies on.
        if (!isPoint) add(inner, stat);
        else if (statOf(`${below}/${inner}`) === undefined) addPoint(inner, stat);
      } else if (!isPoint && stat.devMajor === top.devMajor && stat.devMinor === top.devMinor) add(inner, stat);
      else addPoint(inner, stat);
    }
    const hidden = below === undefined ? [] : tryListDirectory(path === "" ? below : `${below}/${path}`);
    if (typeof hidden === "number") return;
    const known = new Set(names);
    for (const name of hidden) {
      if (known.has(name)) continue;
      context.tables.mountEntries.push(mountEntryRow({ mount, path: path === "" ? name : `${path}/${name}`, mode: S_IFCHR }));
    }
  };
  const addPoint = (path: string, stat: FileStat): void => {
    context.tables.mountEntries.push(mountEntryRow({ mount, path, mode: isDirectory(stat) ? 0o040755 : 0o100644, mtimeNs: top.mtimeNs }));
  };
  add("", top);
}

/** Whether a file is still the one of the directory below, as far as its type, owner, mode, size and time tell. */
function isLike(path: string, full: string, stat: FileStat): boolean {
  const other = statOf(path);
  if (other === undefined || other.mode !== stat.mode || other.uid !== stat.uid || other.gid !== stat.gid) return false;
  if (isDirectory(stat)) return true;
  if ((stat.mode & S_IFMT) === S_IFLNK) return linkTarget(path) === linkTarget(full);
  return (
    other.size === stat.size && other.mtimeNs === stat.mtimeNs && other.rdevMajor === stat.rdevMajor && other.rdevMinor === stat.rdevMinor
  );
}

/** Where the whole of a filesystem can be looked into: at this mount of it, or at another that nothing covers. */
function visiblePath(
  context: DumpContext,
  mount: number,
  row: MountRow,
): { readonly base: string; readonly top: FileStat; readonly at: MountRow } | string {
  const { mounts } = context.tables;
  const same = (other: MountRow): boolean =>
    other !== row && other.devMajor === row.devMajor && other.devMinor === row.devMinor && other.root === row.root;
  let isThere = false;
  for (const at of [row, ...mounts.slice(0, mount).filter(same), ...mounts.slice(mount).filter(same)]) {
    const base = context.view.path(at.point, context.view.spaceOf(at.namespace));
    const top = statOf(base);
    isThere ||= top !== undefined;
    const isRoot = top !== undefined && top.devMajor === row.devMajor && top.devMinor === row.devMinor;
    if (isRoot && (row.root !== "/" || isMountOf(context, base, row))) return { base, top, at };
  }
  return isThere ? "lies under another mount, and cannot be looked into" : "cannot be looked into";
}

/** Whether the mount that a path leads to shows the filesystem as a whole. */
function isMountOf(context: DumpContext, path: string, row: MountRow): boolean {
  const id = mountIdOf(path);
  const root = id === undefined ? undefined : context.view.rootOfMount(id);
  return root === undefined || root === row.root;
}

function mountIdOf(path: string): number | undefined {
  const fd = tryOpen(path, openFlag.PATH | openFlag.NOFOLLOW);
  if (failed(fd)) return undefined;
  const info = ownFdInfo(fd);
  close(fd);
  return info?.mountId;
}

/** A directory or file that is mounted and has lost its name: what is left of it. */
export function collectRemoved(context: DumpContext, process: DumpedProcess, mount: number): void {
  const row = context.tables.mounts[mount];
  if (row === undefined) return;
  const path = context.view.path(row.point, context.view.spaceOf(row.namespace));
  const stat = statOf(path);
  const who = `process ${process.pid} (${process.name}): ${row.point} (${row.fsType}), which was removed,`;
  const hint = "Unmount it, and dump again.";
  if (stat === undefined || stat.devMajor !== row.devMajor || stat.devMinor !== row.devMinor || stat.nlink > (isDirectory(stat) ? 1 : 0))
    throw refusal("mount", `${who} cannot be looked into`, { hint });
  const type = stat.mode & S_IFMT;
  if (type !== S_IFDIR && type !== S_IFREG) throw refusal("mount", `${who} is neither a directory nor a file`, { hint });
  const object = type === S_IFREG && stat.size > 0n ? storeFile(context, path, row.point, stat) : null;
  const { mode, uid, gid, mtimeNs } = stat;
  context.tables.mountEntries.push(mountEntryRow({ mount, mode, uid, gid, mtimeNs, object }));
}

const isDirectory = ({ mode }: FileStat): boolean => (mode & S_IFMT) === S_IFDIR;

/** A file that a container engine made for the container, and removes with it. Returns whether it is stored. */
export function collectFile(context: DumpContext, mount: number): boolean {
  const row = context.tables.mounts[mount];
  const path = context.view.path(row?.point ?? "", context.view.spaceOf(row?.namespace));
  const stat = row === undefined ? undefined : statOf(path);
  if (row === undefined || stat === undefined || (stat.mode & S_IFMT) !== S_IFREG || stat.size > largestFile) return false;
  const object = stat.size > 0n ? storeFile(context, path, row.point, stat) : null;
  const { mode, uid, gid, mtimeNs } = stat;
  context.tables.mountEntries.push(mountEntryRow({ mount, mode, uid, gid, mtimeNs, object }));
  return true;
}

const largestFile = 1n << 20n;

function statOf(path: string): FileStat | undefined {
  const fd = tryOpen(path, openFlag.PATH | openFlag.NOFOLLOW);
  if (failed(fd)) return undefined;
  const stat = tryFstat(fd);
  close(fd);
  return typeof stat === "number" ? undefined : stat;
}

function linkTarget(path: string): string {
  const target = Buffer.alloc(4096);
  const length = tryCall("readlinkat", -100, cString(path), target, target.length);
  if (failed(length)) throw new SysError("readlink", -length, path);
  return decodeText(target.subarray(0, length));
}

function storeFile({ tables, objects }: DumpContext, full: string, name: string, stat: FileStat): number {
  const fd = tryOpen(full, openFlag.RDONLY | openFlag.NOFOLLOW | openFlag.NOATIME);
  const source = fd === -errno.EPERM ? tryOpen(full, openFlag.RDONLY | openFlag.NOFOLLOW) : fd;
  if (failed(source)) throw new SysError("open", -source, full);
  const row = objectRow({
    kind: "ghost",
    mode: stat.mode,
    path: name,
    devMajor: stat.devMajor,
    devMinor: stat.devMinor,
    ino: stat.ino,
    uid: stat.uid,
    gid: stat.gid,
    nlink: stat.nlink,
    size: stat.size,
    mtimeNs: stat.mtimeNs,
    atimeNs: stat.atimeNs,
  });
  const index = tables.objects.push(row) - 1;
  objects.storeContents(index, source, stat.size);
  return index;
}
