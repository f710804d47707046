// SPDX-License-Identifier: Apache-2.0
/** Files through raw calls: what Node's fs lacks, or does with a detour through its thread pool. */
import { isLogged, logCall } from "../errors/log.js";
import { errno } from "../linux/errno.js";
import { AT_FDCWD, openFlags } from "../linux/open-flags.js";
import { addon } from "./addon.js";
import { fileTold, pathAsked, statTold } from "./stand-in.js";
import { call, check, cString, failed, tryCall, tryCallBig } from "./sys.js";

export { AT_FDCWD, openFlags as openFlag };

/** Opens a file, close-on-exec. Returns the descriptor or −errno. */
export function tryOpen(path: string | Uint8Array, flags: number, mode = 0): number {
  const asked = typeof path === "string" ? pathAsked(path) : path;
  for (;;) {
    const fd = tryCall("openat", AT_FDCWD, cString(asked), flags | openFlags.CLOEXEC, mode);
    if (fd !== -errno.EINTR) return fd;
  }
}

/** Opens a file, close-on-exec, or throws. */
export function open(path: string, flags: number, mode = 0): number {
  return check(tryOpen(path, flags, mode), "open", path);
}

/** Closes a descriptor; errors do not matter. */
export function close(fd: number): void {
  tryCall("close", fd);
}

/** Reads at a position. Returns the bytes read (0 at the end), or −errno. */
export function tryPread(fd: number, into: Uint8Array, position: bigint): number {
  return tryCall("pread64", fd, into, into.length, position);
}

/** Writes the whole buffer at a position, or throws (ENOSPC, EFBIG, EIO …). */
export function pwriteFully(fd: number, from: Uint8Array, position: bigint): void {
  let done = 0;
  while (done < from.length) {
    done += call("pwrite64", fd, from.subarray(done), from.length - done, position + BigInt(done));
  }
}

/** copy_file_range. Returns the bytes copied (0 at the end of the source), or −errno. */
export function tryCopyRange(from: number, fromOffset: bigint, to: number, toOffset: bigint, length: number): number {
  const source = Buffer.alloc(8);
  const target = Buffer.alloc(8);
  source.writeBigUInt64LE(fromOffset);
  target.writeBigUInt64LE(toOffset);
  return tryCall("copy_file_range", from, source, to, target, length, 0);
}

/** SEEK_DATA and SEEK_HOLE: the next start of data or of a hole, or −errno (ENXIO: none). Changes the offset of fd. */
export function trySeekData(fd: number, from: bigint): bigint {
  return tryCallBig("lseek", fd, from, 3);
}
export function trySeekHole(fd: number, from: bigint): bigint {
  return tryCallBig("lseek", fd, from, 4);
}

/** Where small files are read to, before they are copied to where they stay. */
const smallRoom = Buffer.allocUnsafeSlow(1 << 16);
const E2BIG = 7;
/** Bytes that are read of a larger file at most. */
const mostRead = 64 << 20;

/**
 * Reads a small file such as those of /proc to its end. Returns undefined where it cannot be opened or read
 * (the process may be gone), with the errno in `failure`.
 */
export function tryReadSmall(path: string, failure?: { errno: number }): Buffer | undefined {
  const before = fileTold(path);
  if (before !== undefined) return before;
  const length = addon().readFile(pathAsked(path), smallRoom);
  if (isLogged()) logCall("crimg", "open, read, close", length);
  if (length >= 0) return Buffer.from(smallRoom.subarray(0, length));
  return length === -E2BIG ? tryReadLarge(path, failure) : told(length, failure);
}

/** A file read into `room` by one call of this process; what of it was read, or undefined if it cannot be, or is longer. */
export function tryReadInto(path: string, room: Buffer): Buffer | undefined {
  const length = addon().readFile(pathAsked(path), room);
  if (isLogged()) logCall("crimg", "open, read, close", length);
  return length < 0 ? undefined : room.subarray(0, length);
}

function told(result: number, failure?: { errno: number }): undefined {
  if (failure) failure.errno = -result;
  return undefined;
}

/**
 * By one call into a room that is large enough: the kernel gives such files out in pieces of a page, for each of which
 * JavaScript would have to make a call.
 */
function tryReadLarge(path: string, failure: { errno: number } | undefined): Buffer | undefined {
  for (let size = 1 << 20; ; size *= 8) {
    // Only what is written to takes memory.
    const room = Buffer.allocUnsafeSlow(Math.min(size, mostRead));
    const length = addon().readFile(pathAsked(path), room);
    if (isLogged()) logCall("crimg", "open, read, close", length);
    if (length >= 0) return room.subarray(0, length);
    if (length !== -E2BIG) return told(length, failure);
    if (size >= mostRead) return room;
  }
}

/** A file that another thread reads meanwhile. */
export class BackgroundRead {
  readonly #state = new BigInt64Array(2);
  readonly #into: Buffer;

  /** Begins. `room`: bytes that it has at most, as far as is known. */
  constructor(
    private readonly path: string,
    room: number,
  ) {
    this.#into = Buffer.allocUnsafeSlow(room);
    addon().readInBackground(pathAsked(path), this.#into, this.#state);
  }

  /** Waits for it; undefined if it cannot be read. */
  result(): Buffer | undefined {
    const length = addon().awaitBackground(this.#state);
    if (isLogged()) logCall("crimg", "open, read, close", length);
    if (length === -E2BIG) return tryReadSmall(this.path);
    return length < 0 ? undefined : this.#into.subarray(0, length);
  }
}

/** What stat says, times in nanoseconds. */
export interface FileStat {
  readonly dev: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly ino: bigint;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: bigint;
  /** st_blksize; the size of a page on a file system of huge pages. */
  readonly blockSize?: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

/** Major and minor number of a dev_t as the kernel gives it to user space (new_encode_dev and beyond). */
export function splitDevice(dev: bigint): { major: number; minor: number } {
  return {
    major: Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n)),
    minor: Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)),
  };
}

/** Bytes of struct stat, and what is in it. */
export const statLength = 144;
export function parseFileStat(data: Buffer): FileStat {
  const dev = data.readBigUInt64LE(0);
  const device = splitDevice(dev);
  const rdevice = splitDevice(data.readBigUInt64LE(40));
  return {
    dev,
    devMajor: device.major,
    devMinor: device.minor,
    rdevMajor: rdevice.major,
    rdevMinor: rdevice.minor,
    ino: data.readBigUInt64LE(8),
    nlink: Number(data.readBigUInt64LE(16)),
    mode: data.readUInt32LE(24),
    uid: data.readUInt32LE(28),
    gid: data.readUInt32LE(32),
    size: data.readBigInt64LE(48),
    blockSize: Number(data.readBigInt64LE(56)),
    atimeNs: data.readBigInt64LE(72) * 1_000_000_000n + data.readBigInt64LE(80),
    mtimeNs: data.readBigInt64LE(88) * 1_000_000_000n + data.readBigInt64LE(96),
  };
}

/** stat of a path (links are followed, magic links of /proc too). Returns −errno when it fails. */
export function tryStat(path: string): FileStat | number {
  const before = statTold(path);
  if (before !== undefined) return before;
  const data = Buffer.alloc(144);
  const result = tryCall("stat", cString(pathAsked(path)), data);
  return failed(result) ? result : parseFileStat(data);
}

/** stat of a descriptor. Returns −errno when it fails. */
export function tryFstat(fd: number): FileStat | number {
  const data = Buffer.alloc(144);
  const result = tryCall("fstat", fd, data);
  return failed(result) ? result : parseFileStat(data);
}

/** f_type of the file system that a path is on (links followed), or −errno. */
export function tryStatfsType(path: string): bigint | number {
  const data = Buffer.alloc(120);
  const result = tryCall("statfs", cString(pathAsked(path)), data);
  return failed(result) ? result : data.readBigUInt64LE(0);
}

/** f_type of the file system of a descriptor, or −errno. */
export function tryFstatfsType(fd: number): bigint | number {
  const data = Buffer.alloc(120);
  const result = tryCall("fstatfs", fd, data);
  return failed(result) ? result : data.readBigUInt64LE(0);
}

const linkRoom = Buffer.allocUnsafeSlow(8192);

/** Where a symbolic link leads, as bytes; undefined when it cannot be read. */
export function tryReadlink(path: string): Buffer | undefined {
  const data = linkRoom;
  const length = tryCall("readlink", cString(pathAsked(path)), data, data.length);
  return failed(length) ? undefined : Buffer.from(data.subarray(0, length));
}

const directoryRoom = Buffer.allocUnsafeSlow(32768);

/** Names in a directory without "." and "..", or −errno. Meant for /proc: names are ASCII. */
export function tryListDirectory(path: string): string[] | number {
  const fd = tryOpen(path, openFlags.RDONLY | openFlags.DIRECTORY);
  if (failed(fd)) return fd;
  try {
    const names: string[] = [];
    const data = directoryRoom;
    for (;;) {
      const got = tryCall("getdents64", fd, data, data.length);
      if (failed(got)) return got;
      if (got === 0) return names;
      for (let at = 0; at < got; ) {
        const length = data.readUInt16LE(at + 16);
        const end = data.indexOf(0, at + 19);
        const name = data.toString("latin1", at + 19, end);
        if (name !== "." && name !== "..") names.push(name);
        at += length;
      }
    }
  } finally {
    close(fd);
  }
}
