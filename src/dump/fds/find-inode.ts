// SPDX-License-Identifier: Apache-2.0
/**
 * Finding an inode of which the kernel tells only device, number and file handle (watches, marks): by a file of the tree
 * that is it, by its handle, by the paths that the tree stands in or was started with, by a walk from there.
 */
import { decodeText, encodeText } from "../../bytes/text.js";
import {
  close,
  cString,
  failed,
  openFlag,
  tryCall,
  tryFstat,
  tryFstatfsType,
  tryListDirectory,
  tryOpen,
  tryReadlink,
  tryReadSmall,
} from "../../native/index.js";
import type { TreeView } from "../namespaces/view.js";
import type { Collecting, Description } from "./context.js";
import { type MountInfo, mountInfoOf } from "../namespaces/mountinfo.js";
import { ownFdInfo } from "./fdinfo.js";

/** What fdinfo says of a marked inode (fs/notify/fdinfo.c). */
export interface InodeName {
  readonly ino: bigint;
  /** The kernel's number of the device: major << 20 | minor. */
  readonly device: number;
  /** struct file_handle without its head; absent where the file system has none. */
  readonly handle?: { readonly type: number; readonly bytes: Buffer };
}

/** Reads `ino:2af sdev:800011 … fhandle-bytes:8 fhandle-type:1 f_handle:af02…`. */
export function inodeNameOf(line: string): InodeName | undefined {
  const ino = /\bino:([0-9a-f]+)/.exec(line)?.[1];
  const device = /\bsdev:([0-9a-f]+)/.exec(line)?.[1];
  if (ino === undefined || device === undefined) return undefined;
  const handle = /\bfhandle-bytes:([0-9a-f]+) fhandle-type:([0-9a-f]+) f_handle:([0-9a-f]+)/.exec(line);
  const bytes = Buffer.from(handle?.[3] ?? "", "hex");
  return {
    ino: BigInt(`0x${ino}`),
    device: parseInt(device, 16),
    ...(handle === null || bytes.length === 0 ? {} : { handle: { type: parseInt(handle[2] ?? "0", 16), bytes } }),
  };
}

/** Most entries of directories that a search looks at. */
const mostEntries = 100_000;
const AT_EMPTY_PATH = 0x1000;
const AT_HANDLE_FID = 0x200;

const kernelDevice = ({ devMajor, devMinor }: { readonly devMajor: number; readonly devMinor: number }): number =>
  ((devMajor << 20) | devMinor) >>> 0;

/**
 * A descriptor (O_PATH) of the inode as a description without holders of its own, whose name is that of the inode if it
 * has one. Undefined if it was not found. The caller closes `fd`.
 */
export function findInode(collecting: Collecting, name: InodeName, asSeenBy: Description): Description | undefined {
  const { view } = collecting.context;
  const byHandle = openByHandle(name, view);
  const fd =
    byHandle !== undefined && hasName(byHandle, view) ? byHandle : (openOwn(collecting, name) ?? openByPath(collecting, name) ?? byHandle);
  if (byHandle !== undefined && byHandle !== fd) close(byHandle);
  return fd === undefined ? undefined : describe(fd, asSeenBy);
}

function describe(fd: number, { holders }: Description): Description | undefined {
  const stat = tryFstat(fd);
  const link = tryReadlink(`/proc/self/fd/${fd}`);
  const info = ownFdInfo(fd);
  const magic = tryFstatfsType(fd);
  if (typeof stat === "number" || link === undefined || info === undefined) {
    close(fd);
    return undefined;
  }
  const told = { stat, link, info, flags: openFlag.PATH, fsMagic: typeof magic === "number" ? 0n : magic };
  return { ...told, told, holders, fd };
}

function isIt(fd: number, { ino, device, handle }: InodeName): boolean {
  const stat = tryFstat(fd);
  if (typeof stat !== "number" && stat.ino === ino && kernelDevice(stat) === device) return true;
  // Where stat shows another device than the kernel's own (btrfs, overlay), handles tell.
  if (handle === undefined) return false;
  const found = Buffer.alloc(8 + 128);
  found.writeUInt32LE(128, 0);
  const mount = Buffer.alloc(4);
  const tryHandle = (flags: number): number => tryCall("name_to_handle_at", fd, cString(""), found, mount, AT_EMPTY_PATH | flags);
  if (failed(tryHandle(0)) && failed(tryHandle(AT_HANDLE_FID))) return false;
  const length = found.readUInt32LE(0);
  return length === handle.bytes.length && found.readInt32LE(4) === handle.type && found.subarray(8, 8 + length).equals(handle.bytes);
}

/** Whether the name that /proc shows of a descriptor leads to what it is of. */
function hasName(fd: number, view: TreeView): boolean {
  const link = tryReadlink(`/proc/self/fd/${fd}`);
  const own = tryFstat(fd);
  if (link === undefined || typeof own === "number") return false;
  const info = ownFdInfo(fd);
  const other = tryOpen(view.pathBytes(link, view.spaceOfMount(info?.mountId ?? 0)), openFlag.PATH | openFlag.NOFOLLOW);
  if (failed(other)) return false;
  const found = tryFstat(other);
  close(other);
  return typeof found !== "number" && found.ino === own.ino && found.dev === own.dev;
}

interface Mount {
  readonly id: number;
  readonly device: number;
  readonly path: Buffer;
}

/** Mounts of the tree's own namespaces as crimg reaches them; of crimg's, where it has none. */
function mounts(view?: TreeView): Mount[] {
  const spaces = view?.spaces ?? [];
  if (spaces.length === 0) return mountInfoOf("self").map((info) => mountAt(info, ""));
  return spaces.flatMap(({ process, mounts }) => [...mounts.values()].map((info) => mountAt(info, `/proc/${process.pid}/root`)));
}

function mountAt(info: MountInfo, prefix: string): Mount {
  return { id: info.id, device: kernelDevice(info), path: Buffer.from(encodeText(prefix + info.point)) };
}

const mountPoints = (device: number, view: TreeView): Buffer[] =>
  mounts(view).flatMap((mount) => (mount.device === device ? [mount.path] : []));

/** Where the first mount is that fits (its id, and the kernel's number of its device). */
export function findMount(fits: (id: number, device: number) => boolean): Buffer | undefined {
  return mounts().find(({ id, device }) => fits(id, device))?.path;
}

/** A path as a description without holders of its own (O_PATH); undefined if it does not exist. The caller closes `fd`. */
export function openPath(path: Uint8Array, asSeenBy: Description): Description | undefined {
  const fd = path.length === 0 ? -1 : tryOpen(path, openFlag.PATH);
  return failed(fd) ? undefined : describe(fd, asSeenBy);
}

/** open_by_handle_at(2): needs CAP_DAC_READ_SEARCH. Prefers a mount under which the inode has a name. */
function openByHandle({ device, handle, ...name }: InodeName, view: TreeView): number | undefined {
  if (handle === undefined) return undefined;
  const structure = Buffer.alloc(8 + handle.bytes.length);
  structure.writeUInt32LE(handle.bytes.length, 0);
  structure.writeInt32LE(handle.type, 4);
  handle.bytes.copy(structure, 8);
  let nameless: number | undefined;
  for (const point of mountPoints(device, view)) {
    const mount = tryOpen(point, openFlag.RDONLY | openFlag.NONBLOCK);
    if (failed(mount)) continue;
    const fd = tryCall("open_by_handle_at", mount, structure, openFlag.PATH | openFlag.NOFOLLOW | openFlag.CLOEXEC);
    close(mount);
    if (failed(fd)) continue;
    if (!isIt(fd, { device, handle, ...name })) {
      close(fd);
      continue;
    }
    if (nameless !== undefined) close(nameless);
    nameless = fd;
    if (hasName(fd, view)) return fd;
  }
  return nameless;
}

/** The inode as a file that the tree has open: it may have no name any more. */
function openOwn({ descriptions }: Collecting, name: InodeName): number | undefined {
  const own = descriptions.find(({ stat }) => stat.ino === name.ino && kernelDevice(stat) === name.device);
  if (own === undefined) return undefined;
  const fd = tryOpen(`/proc/self/fd/${own.fd}`, openFlag.PATH);
  return failed(fd) ? undefined : fd;
}

/** Paths of the tree, those above them, what lies in them, and what lies below its current directories. */
function openByPath(collecting: Collecting, name: InodeName): number | undefined {
  const { view } = collecting.context;
  const paths = new Set(view.spaces.length > 0 ? [] : mountPoints(name.device, view).map(decodeText));
  for (const path of pathsOfTree(collecting)) {
    for (let at = path; at.length > 0; at = at.slice(0, at.lastIndexOf("/"))) paths.add(at);
    paths.add("/");
  }
  const matching = (path: string): number | undefined => {
    const fd = tryOpen(encodeText(view.path(path)), openFlag.PATH | openFlag.NOFOLLOW);
    if (failed(fd)) return undefined;
    if (isIt(fd, name)) return fd;
    close(fd);
    return undefined;
  };
  for (const path of paths) {
    const fd = matching(path);
    if (fd !== undefined) return fd;
  }
  // Breadth first, from all of them.
  const queue = [...paths];
  const seen = new Set(queue);
  let left = mostEntries;
  for (let directory = queue.shift(); directory !== undefined && left > 0; directory = queue.shift()) {
    if (/^\/(proc|sys|dev)(\/|$)/.test(directory)) continue;
    const names = tryListDirectory(view.path(directory));
    if (typeof names === "number") continue;
    left -= names.length;
    for (const entry of names) {
      const path = `${directory === "/" ? "" : directory}/${entry}`;
      if (seen.has(path)) continue;
      seen.add(path);
      const fd = matching(path);
      if (fd !== undefined) return fd;
      queue.push(path);
    }
  }
  return undefined;
}

/** Where the processes of the tree stand, what they have open, and words of their command lines that may be paths. */
function* pathsOfTree({ context, descriptions }: Collecting): Generator<string> {
  for (const { link } of descriptions) {
    const text = decodeText(link);
    if (text.startsWith("/")) yield text;
  }
  for (const { pid, frozen } of context.processes) {
    if (frozen.isZombie) continue;
    const directory = decodeText(tryReadlink(`/proc/${pid}/cwd`) ?? Buffer.alloc(0));
    const words = decodeText(tryReadSmall(`/proc/${pid}/cmdline`) ?? Buffer.alloc(0)).split("\0");
    yield directory;
    for (const word of words) {
      if (word === "" || word.startsWith("-")) continue;
      yield word.startsWith("/") ? word : `${directory}/${word}`;
    }
  }
}
