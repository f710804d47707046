// SPDX-License-Identifier: Apache-2.0
/** Contents of tmpfs mounts → entries, and objects with their bytes. */
import { readFileSync } from "node:fs";
import { type MountEntryRow, mountEntryRow, objectRow } from "../../../src/gen/tables.js";
import { FilePageSource } from "../../../src/pages/file-source.js";
import type { ContainerFacts } from "../../../src/adapter/container-facts.js";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { dataOf, deletedFiles, rootDiffTar, sharedMemoryTar, type TmpfsContents, type TmpfsMember, volumeName } from "../archive/tmpfs.js";
import type { ModelBuilder } from "../builder.js";

/** File types of the members of a tar (S_IFMT). */
export const modes = {
  file: 0o100000,
  link: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  fifo: 0o010000,
  "character-device": 0o020000,
  "block-device": 0o060000,
} as const;

/**
 * Adds what is in the tmpfs mounts that are made again, and in what a container's engine keeps beside the set: volumes, which
 * become memory, and the container's own layer over its image. The set's mounts are there.
 */
export function addTmpfs(builder: ModelBuilder, contents: TmpfsContents, container?: ContainerFacts): void {
  const { mounts } = builder.tables;
  const source = contents.fd === undefined ? -1 : builder.sources.push(new FilePageSource("contents of tmpfs mounts", contents.fd)) - 1;
  const addAll = (mount: number, members: readonly TmpfsMember[]): void => {
    for (const member of inOrder(members)) addMember(builder, mount, member, source);
  };
  mounts.forEach((row, mount) => {
    if (row.origin === "rootfs" && container !== undefined) {
      addAll(mount, contents.members.get(rootDiffTar) ?? []);
      addRemoved(builder, mount);
      return;
    }
    const volume = container?.volumes.find(({ destination }) => destination === row.point);
    const kept = volume && contents.members.get(volumeName(volume.name));
    if (kept !== undefined && row.origin === "external") {
      mounts[mount] = { ...row, origin: "made", root: "/", fsType: "tmpfs", source: "tmpfs", options: "", superFlags: 0 };
      addAll(mount, kept);
      return;
    }
    if (row.origin !== "made" || row.fsType !== "tmpfs") return;
    const own = contents.members.get(`tmpfs-dev-${builder.mountDevices.get(mount) ?? 0}.tar.gz.img`);
    addAll(mount, own ?? (row.point === "/dev/shm" ? contents.members.get(sharedMemoryTar) : undefined) ?? []);
  });
}

/** Directories before what is in them, whatever the order in the tar; further names of a file behind its first. */
export function inOrder(members: readonly TmpfsMember[]): TmpfsMember[] {
  const depth = ({ path, type }: TmpfsMember): number => (path === "" ? 0 : path.split("/").length) + (type === "link" ? 1000 : 0);
  return [...members].sort((a, b) => depth(a) - depth(b));
}

/**
 * The layer of a container has an entry at least, that of its root: so it is one. What the container removed of its image is
 * a character device 0:0 there, as overlayfs has it (Documentation/filesystems/overlayfs.rst).
 */
function addRemoved({ wire, tables }: ModelBuilder, mount: number): void {
  if (!tables.mountEntries.some((row) => row.mount === mount && row.path === "")) {
    tables.mountEntries.push(mountEntryRow({ mount, mode: modes.directory | 0o755, path: "" }));
  }
  if (!wire.set.has(deletedFiles)) return;
  const refuse = (): CrimgError =>
    new CrimgError("criu.deleted-files", "This is not a list of paths.", { source: wire.set.labelOf(deletedFiles), format: "criu" });
  let names: unknown;
  try {
    names = JSON.parse(readFileSync(wire.set.path(deletedFiles), "utf8"));
  } catch {
    throw refuse();
  }
  if (!Array.isArray(names)) throw refuse();
  for (const name of names as readonly unknown[]) {
    if (typeof name !== "string" || name.split("/").includes("..")) throw refuse();
    const path = name.replace(/^(\.?\/+)+|\/+$/g, "");
    if (path !== "") tables.mountEntries.push(mountEntryRow({ mount, mode: modes["character-device"], path }));
  }
}

/** A member as an entry, without its content. */
export function entryOf({ type, mode, path, target, uid, gid, rdevMajor, rdevMinor, mtimeNs }: TmpfsMember): MountEntryRow {
  return mountEntryRow({ mode: modes[type] | mode, path, target, uid, gid, rdevMajor, rdevMinor, mtimeNs });
}

function addMember({ tables }: ModelBuilder, mount: number, member: TmpfsMember, source: number): void {
  const entry = entryOf(member);
  const { mode, path, uid, gid, mtimeNs } = entry;
  let object: number | null = null;
  if (member.type === "file" && member.size > 0n) {
    object =
      tables.objects.push(objectRow({ kind: "ghost", mode, path: `/${path}`, uid, gid, size: member.size, mtimeNs, atimeNs: mtimeNs })) - 1;
    for (const { offset, length } of dataOf(member)) {
      const place = { address: offset, length, fileOffset: member.position + offset, source };
      tables.extents.push({ ownerKind: "object", owner: object, ...place });
    }
  }
  tables.mountEntries.push({ ...entry, mount, object });
}
