// SPDX-License-Identifier: Apache-2.0
/** Contents of tmpfs mounts → entries, and objects with their bytes. */
import { mountEntryRow, objectRow } from "../../../src/gen/tables.js";
import { FilePageSource } from "../../../src/pages/file-source.js";
import { sharedMemoryTar, type TmpfsContents, type TmpfsMember } from "../archive/tmpfs.js";
import type { ModelBuilder } from "../builder.js";

const modes = {
  file: 0o100000,
  link: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  fifo: 0o010000,
  "character-device": 0o020000,
  "block-device": 0o060000,
} as const;
const pageMask = 4095n;

/** Adds what is in the tmpfs mounts that are made again. The set's mounts are there. */
export function addTmpfs(builder: ModelBuilder, contents: TmpfsContents): void {
  const { mounts } = builder.tables;
  if (contents.fd === undefined) return;
  const source = builder.sources.push(new FilePageSource("contents of tmpfs mounts", contents.fd)) - 1;
  mounts.forEach((row, mount) => {
    if (row.origin !== "made" || row.fsType !== "tmpfs") return;
    const own = contents.members.get(`tmpfs-dev-${builder.mountDevices.get(mount) ?? 0}.tar.gz.img`);
    const members = own ?? (row.point === "/dev/shm" ? contents.members.get(sharedMemoryTar) : undefined);
    // Directories before what is in them, whatever the order in the tar; names of a file behind its first.
    const depth = ({ path, type }: TmpfsMember): number => (path === "" ? 0 : path.split("/").length) + (type === "link" ? 1000 : 0);
    for (const member of [...(members ?? [])].sort((a, b) => depth(a) - depth(b))) addMember(builder, mount, member, source);
  });
}

function addMember({ tables }: ModelBuilder, mount: number, member: TmpfsMember, source: number): void {
  const mode = modes[member.type] | member.mode;
  const { path, uid, gid, mtimeNs, target, rdevMajor, rdevMinor } = member;
  let object: number | null = null;
  if (member.type === "file" && member.size > 0n) {
    object =
      tables.objects.push(objectRow({ kind: "ghost", mode, path: `/${path}`, uid, gid, size: member.size, mtimeNs, atimeNs: mtimeNs })) - 1;
    tables.extents.push({
      ownerKind: "object",
      owner: object,
      address: 0n,
      length: (member.size + pageMask) & ~pageMask,
      fileOffset: member.position,
      source,
    });
  }
  tables.mountEntries.push(mountEntryRow({ mount, mode, path, target, uid, gid, rdevMajor, rdevMinor, mtimeNs, object }));
}
