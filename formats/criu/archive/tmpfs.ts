// SPDX-License-Identifier: Apache-2.0
/**
 * Contents of tmpfs mounts: a set has each as a compressed tar (tmpfs-dev-N.tar.gz.img), an engine's archive that of
 * /dev/shm as another. Their bytes go to one nameless file, where extents find them.
 */
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Header } from "tar-stream";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { writeFully } from "../../../src/pages/file-source.js";
import type { ImageSet } from "../wire/image-set.js";
import { type Compression, compressionOf } from "./archive.js";
import { readSparseMap, type SparseMember, sparseMemberOf, type SparsePart } from "./sparse-member.js";
import { unpack } from "./unpack.js";

/** A member of such a tar, as far as rows need it. */
export interface TmpfsMember {
  /** From the root of the mount, without slashes around it; empty: that root. */
  readonly path: string;
  readonly type: "file" | "directory" | "symlink" | "link" | "fifo" | "character-device" | "block-device";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly target: string;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly size: bigint;
  /** Where its bytes begin in the file of all contents. */
  readonly position: bigint;
  /** Of one with holes, where it has bytes. */
  readonly ranges?: readonly SparsePart[];
}

export interface TmpfsContents {
  /** By the name of the tar. */
  readonly members: ReadonlyMap<string, readonly TmpfsMember[]>;
  /** The file of all contents; whoever takes it closes it. Undefined if there is none. */
  readonly fd: number | undefined;
}

/** Where a file has bytes, in whole pages, ascending. */
export function dataOf({ size, ranges }: Pick<TmpfsMember, "size" | "ranges">): { readonly offset: bigint; readonly length: bigint }[] {
  if (ranges === undefined) return size === 0n ? [] : [{ offset: 0n, length: (size + page - 1n) & ~(page - 1n) }];
  const found: { offset: bigint; length: bigint }[] = [];
  for (const { offset, length } of ranges) {
    const [start, end] = [offset & ~(page - 1n), (offset + length + page - 1n) & ~(page - 1n)];
    const last = found.at(-1);
    if (last !== undefined && start <= last.offset + last.length) last.length = end - last.offset;
    else found.push({ offset: start, length: end - start });
  }
  return found;
}

/** Name of the tar of /dev/shm that engines put beside the set. */
export const sharedMemoryTar = "devshm-checkpoint.tar";
/** Name of the tar of what the container's own layer had beside its image, and of the list of what was removed of that. */
export const rootDiffTar = "rootfs-diff.tar";
export const deletedFiles = "deleted.files";
const volumeTar = /^volumes[/-]([A-Za-z0-9][A-Za-z0-9_.-]{0,200})\.tar$/;
/** Name here of the contents of a volume. */
export const volumeName = (volume: string): string => `volumes-${volume}.tar`;

/** What an engine's member is called among the files of the set; undefined for one that is none of its contents. */
export function storedNameOf(member: string): string | undefined {
  if (member === sharedMemoryTar || member === rootDiffTar || member === deletedFiles) return member;
  const [, volume] = volumeTar.exec(member) ?? [];
  return volume === undefined ? undefined : volumeName(volume);
}

const tmpfsTar = /^tmpfs-dev-\d+\.tar\.gz\.img$/;
const types: ReadonlySet<string> = new Set(["file", "directory", "symlink", "link", "fifo", "character-device", "block-device"]);
const page = 4096n;
const mostMembers = 100_000;

/**
 * Unpacks the contents of all tmpfs of a set, and what an engine keeps in the same way: they come back in memory too.
 * @throws CrimgError `criu.tmpfs`
 */
export async function readTmpfs(set: ImageSet): Promise<TmpfsContents> {
  // Without mounts of its own a tree has no layer of its own either.
  const hasMounts = [...set.names].some((name) => name.startsWith("mountpoints-"));
  const isTar = (name: string): boolean =>
    tmpfsTar.test(name) || name === sharedMemoryTar || (hasMounts && (name === rootDiffTar || volumeTar.test(name)));
  const names = [...set.names].filter(isTar).sort();
  if (names.length === 0) return { members: new Map(), fd: undefined };
  const fd = nameless();
  try {
    const members = new Map<string, readonly TmpfsMember[]>();
    let end = 0n;
    for (const name of names) {
      const isPacked = name.endsWith(".img");
      const unpacked = await unpackTar(set.path(name), set.labelOf(name), isPacked ? "gzip" : "none", fd, end);
      end = unpacked.end;
      members.set(name, unpacked.members);
    }
    return { members, fd };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A file without a name, for this process only: nothing of it stays if that is killed. */
export function nameless(): number {
  const path = join(tmpdir(), `.crimg-${randomBytes(8).toString("hex")}`);
  const fd = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  return fd;
}

/** Unpacks a tar, which may be compressed. The caller closes the file of all contents. @throws CrimgError `criu.tmpfs` */
export async function readTar(path: string): Promise<{ readonly members: readonly TmpfsMember[]; readonly fd: number }> {
  const head = Buffer.alloc(512);
  const tar = openSync(path, "r");
  try {
    readSync(tar, head, 0, head.length, 0);
  } finally {
    closeSync(tar);
  }
  const compression = compressionOf(head);
  if (compression === undefined) throw new CrimgError("criu.tmpfs", "The file is no tar.", { source: path });
  const fd = nameless();
  try {
    const { members } = await unpackTar(path, path, compression, fd, 0n);
    return { members, fd };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Writes the bytes of a member with holes to where they belong; returns where that is. */
async function storeSparse(
  { size, parts: known }: SparseMember,
  stream: AsyncIterable<unknown>,
  write: (chunk: Uint8Array, offset: bigint) => void,
  wrong: () => CrimgError,
): Promise<readonly SparsePart[]> {
  let parts = known;
  let head = Buffer.alloc(0);
  let [index, done] = [0, 0n];
  for await (const piece of stream) {
    if (!(piece instanceof Uint8Array)) throw wrong();
    let chunk = piece;
    if (parts === undefined) {
      head = Buffer.concat([head, piece]);
      try {
        const map = readSparseMap(head, size);
        if (map === undefined) continue;
        ({ parts } = map);
        chunk = head.subarray(map.end);
      } catch {
        throw wrong();
      }
    }
    for (let at = 0; at < chunk.length; ) {
      const part = parts[index];
      if (part === undefined) throw wrong();
      const count = Math.min(chunk.length - at, Number(part.length - done));
      write(chunk.subarray(at, at + count), part.offset + done);
      at += count;
      done += BigInt(count);
      if (done === part.length) [index, done] = [index + 1, 0n];
    }
  }
  if (parts === undefined || index < parts.length) throw wrong();
  return parts;
}

async function unpackTar(
  path: string,
  label: string,
  compression: Compression,
  fd: number,
  from: bigint,
): Promise<{ members: TmpfsMember[]; end: bigint }> {
  const members: TmpfsMember[] = [];
  let end = from;
  const refuse = (message: string, cause?: unknown): CrimgError =>
    new CrimgError("criu.tmpfs", message, { source: label, format: "criu", cause });
  const add = async (header: Header, stream: AsyncIterable<unknown>): Promise<void> => {
    const sparse = header.type === null ? "unknown" : sparseMemberOf(header.name, header.pax);
    if (sparse === "unknown") {
      throw refuse(`The file ${header.name} is sparse, in a form of tar that crimg does not read (GNU's own, or PAX 0.0).`);
    }
    const type = header.type ?? "file";
    const path = (sparse?.name ?? header.name).replace(/^(\.\/+)+|^\.$|^\/+|\/+$/g, "");
    if (!types.has(type) || path.split("/").includes("..")) throw refuse(`The member ${header.name} is none of a filesystem.`);
    if (members.length >= mostMembers) throw refuse(`The filesystem has more than ${mostMembers} files.`);
    const position = end;
    let size = 0n;
    const write = (chunk: Uint8Array, at: bigint): void => writeFully(fd, chunk, at);
    let ranges: readonly SparsePart[] | undefined;
    if (sparse === undefined) {
      for await (const chunk of stream) {
        if (!(chunk instanceof Uint8Array)) throw refuse(`The member ${header.name} is not bytes.`);
        write(chunk, position + size);
        size += BigInt(chunk.length);
      }
    } else {
      ranges = await storeSparse(
        sparse,
        stream,
        (chunk, offset) => write(chunk, position + offset),
        () => refuse(`The member ${header.name} is sparse, and what it says of its holes is wrong.`),
      );
      ({ size } = sparse);
    }
    end = (position + size + page - 1n) & ~(page - 1n);
    members.push({
      path,
      type: type as TmpfsMember["type"],
      mode: header.mode ?? 0,
      uid: header.uid ?? 0,
      gid: header.gid ?? 0,
      mtimeNs: BigInt(header.mtime?.getTime() ?? 0) * 1_000_000n,
      target: (header.linkname ?? "").replace(type === "link" ? /^(\.\/+)+/ : /^$/, ""),
      rdevMajor: header.devmajor ?? 0,
      rdevMinor: header.devminor ?? 0,
      size,
      position,
      ...(ranges === undefined ? {} : { ranges }),
    });
  };
  try {
    await unpack({ path, offset: 0, length: Number.POSITIVE_INFINITY }, compression, add);
  } catch (error) {
    if (error instanceof CrimgError) throw error;
    throw refuse(`The contents of the filesystem cannot be unpacked: ${error instanceof Error ? error.message : String(error)}.`, error);
  }
  // The last page is whole in the file.
  ftruncateSync(fd, Number(end));
  return { members, end };
}
