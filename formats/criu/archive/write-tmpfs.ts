// SPDX-License-Identifier: Apache-2.0
/** The contents of a tmpfs mount → a tar, as CRIU and container engines keep it. */
import type { MountEntryRow, ObjectRow } from "../../../src/gen/tables.js";
import { isWhiteout } from "../../../src/model/root-files.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import { sourceOf } from "../pages/write-pages.js";
import type { Compression } from "./archive.js";
import { type MemberHeader, TarWriter } from "./tar-writer.js";

const modeType = 0o170000;
const types: ReadonlyMap<number, NonNullable<MemberHeader["type"]>> = new Map([
  [0o100000, "file"],
  [0o040000, "directory"],
  [0o120000, "symlink"],
  [0o010000, "fifo"],
  [0o020000, "character-device"],
  [0o060000, "block-device"],
]);
const chunk = 1 << 20;

/** Writes what is in the mount of row `mount` into the open file, from its beginning. Closes nothing. */
export async function writeTmpfs(fd: number, checkpoint: Checkpoint, mount: number, compression: Compression): Promise<void> {
  const tar = new TarWriter(fd, compression);
  const { mountEntries, objects } = checkpoint.tables;
  try {
    for (const entry of mountEntries) {
      if (entry.mount !== mount || isWhiteout(entry)) continue;
      const object = entry.object === null ? undefined : objects[entry.object];
      const header = headerOf(entry, object);
      if (header === undefined) continue;
      await tar.add(header, object === undefined ? undefined : contentOf(checkpoint, entry.object ?? 0, object.size));
    }
  } catch (error) {
    await tar.abandon();
    throw error;
  }
  await tar.finish();
}

function headerOf(entry: MountEntryRow, object: ObjectRow | undefined): MemberHeader | undefined {
  const { mode, path, target, uid, gid, rdevMajor, rdevMinor, mtimeNs } = entry;
  const kind = types.get(mode & modeType);
  if (kind === undefined) return undefined;
  // A further name of a file.
  const type = kind === "file" && target !== "" ? "link" : kind;
  const name = path === "" ? "./" : `./${path}${type === "directory" ? "/" : ""}`;
  return {
    name,
    type,
    mode: mode & 0o7777,
    uid,
    gid,
    mtime: new Date(Number(mtimeNs / 1_000_000n)),
    size: object === undefined ? 0 : Number(object.size),
    ...(type === "link" ? { linkname: `./${target}` } : type === "symlink" ? { linkname: target } : {}),
    ...(rdevMajor + rdevMinor === 0 ? {} : { devmajor: rdevMajor, devminor: rdevMinor }),
  };
}

/** The bytes of an object in pieces; holes are zeros. */
function* contentOf(checkpoint: Checkpoint, object: number, size: bigint): Generator<Uint8Array> {
  let at = 0n;
  const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
  const zerosTo = function* (end: bigint): Generator<Uint8Array> {
    for (; at < end; ) {
      const length = least(end - at, BigInt(chunk));
      at += length;
      yield new Uint8Array(Number(length));
    }
  };
  for (const extent of checkpoint.extentsOf({ object })) {
    yield* zerosTo(least(extent.address, size));
    const end = least(extent.address + extent.length, size);
    const source = sourceOf(checkpoint, extent);
    while (at < end) {
      const piece = new Uint8Array(Number(least(end - at, BigInt(chunk))));
      source.read(extent.fileOffset + (at - extent.address), piece);
      at += BigInt(piece.length);
      yield piece;
    }
  }
  yield* zerosTo(size);
}
