// SPDX-License-Identifier: Apache-2.0
/** What is in a tmpfs of the tree's own: it exists nowhere else. */
import { decodeText } from "../../bytes/text.js";
import { mountEntryRow, objectRow } from "../../gen/tables.js";
import {
  close,
  cString,
  errno,
  failed,
  type FileStat,
  openFlag,
  SysError,
  tryCall,
  tryFstat,
  tryListDirectory,
  tryOpen,
} from "../../native/index.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";

const S_IFMT = 0o170000;
const [S_IFDIR, S_IFREG, S_IFLNK, S_IFSOCK] = [0o040000, 0o100000, 0o120000, 0o140000];
/** Every file that is not empty is a descriptor of crimg's until the image is written. */
const mostEntries = 20_000;

/** Adds the entries of the mount in row `mount`. */
export function collectTmpfs(context: DumpContext, root: DumpedProcess, mount: number): void {
  const row = context.tables.mounts[mount];
  if (row === undefined) return;
  const base = context.view.path(row.point);
  const top = statOf(base);
  const who = `process ${root.pid} (${root.name}): ${row.point} (${row.fsType})`;
  if (top === undefined) throw refusal("mount", `${who} cannot be looked into`, { hint: "Run as root." });
  if (top.devMajor !== row.devMajor || top.devMinor !== row.devMinor) {
    throw refusal("mount", `${who} lies under another mount, and cannot be looked into`, {
      hint: "Unmount what covers it, and dump again.",
    });
  }
  // Another mount of the same filesystem has the same device.
  const points = new Set(
    context.tables.mounts.filter(({ namespace, origin }) => namespace === row.namespace && origin !== "removed").map(({ point }) => point),
  );
  const firstNames = new Map<bigint, string>();
  let seen = 0;
  const add = (path: string, stat: FileStat): void => {
    if (++seen > mostEntries)
      throw refusal("mount", `${who} holds more than ${mostEntries} files`, { hint: "Remove some, or unmount it." });
    const type = stat.mode & S_IFMT;
    if (type === S_IFSOCK) return;
    const first = type !== S_IFDIR && stat.nlink > 1 ? firstNames.get(stat.ino) : undefined;
    if (first === undefined) firstNames.set(stat.ino, path);
    const full = path === "" ? base : `${base}/${path}`;
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
      // What is mounted on it is a row of its own; under it lies an empty directory or file.
      if (stat === undefined) continue;
      const inner = path === "" ? name : `${path}/${name}`;
      const isPoint = points.has(`${row.point === "/" ? "" : row.point}/${inner}`);
      if (!isPoint && stat.devMajor === top.devMajor && stat.devMinor === top.devMinor) add(inner, stat);
      else addPoint(inner, stat);
    }
  };
  const addPoint = (path: string, stat: FileStat): void => {
    const isDirectory = (stat.mode & S_IFMT) === S_IFDIR;
    context.tables.mountEntries.push(mountEntryRow({ mount, path, mode: isDirectory ? 0o040755 : 0o100644, mtimeNs: top.mtimeNs }));
  };
  add("", top);
}

/** A file that a container engine made for the container, and removes with it. Returns whether it is stored. */
export function collectFile(context: DumpContext, mount: number): boolean {
  const row = context.tables.mounts[mount];
  const path = context.view.path(row?.point ?? "");
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
