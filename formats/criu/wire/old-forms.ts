// SPDX-License-Identifier: Apache-2.0
/**
 * What early 3.x versions write otherwise, brought into the form of the later ones:
 *
 * - before 3.4 each kind of open file has an image of its own (reg-files, pipes, unixsk …) instead of files.img;
 * - before 3.6 the path of an open FIFO or terminal is a regular file entry with the same id as its own;
 * - 3.0 keeps the signal actions of a process in sigacts-PID.img.
 */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type CoreEntry, SigActionSchema } from "../gen/core_pb.js";
import { AnyFileSchema, type FileEntry, FileEntrySchema } from "../gen/files_pb.js";
import type { RemapFilePath } from "../gen/payload_pb.js";
import { list, optionalList } from "./image-lists.js";
import type { ImageSet } from "./image-set.js";
import { type FileImage, fileImages } from "./image-types.js";

/** Entries of open files, and for those that shared their id with their path's entry the new id of the latter. */
export interface LoadedFiles {
  /** By id. */
  readonly files: ReadonlyMap<number, FileEntry>;
  readonly pathIds: ReadonlyMap<number, number>;
}

/** Reads files.img and the images that were in its place. */
export function loadFiles(set: ImageSet): LoadedFiles {
  const entries = optionalList(set, "files.img", "files", FileEntrySchema);
  for (const image of fileImages) {
    if (!set.has(`${image.id}.img`)) continue;
    for (const entry of filesOfKind(set, image)) entries.push(entry);
  }
  const files = new Map<number, FileEntry>();
  const paths = new Map<number, FileEntry>();
  let last = 0;
  for (const entry of entries) {
    last = Math.max(last, entry.id);
    (entry.reg ? paths : files).set(entry.id, entry);
  }
  const pathIds = new Map<number, number>();
  for (const [id, path] of paths) {
    const user = files.get(id);
    const special = user?.fifo ?? user?.tty;
    if (special && path.reg && special.regfId === 0) {
      special.regfId = path.id = path.reg.id = ++last;
      pathIds.set(id, path.id);
    }
    files.set(path.id, path);
  }
  return { files, pathIds };
}

/** Remaps name the regular file entry of a FIFO that lost its name, whose id may have changed. */
export function remapsOfPaths(remaps: readonly RemapFilePath[], pathIds: ReadonlyMap<number, number>): readonly RemapFilePath[] {
  return remaps.map((remap) => ({ ...remap, origId: pathIds.get(remap.origId) ?? remap.origId }));
}

/** Puts the actions of sigacts-PID.img where later versions have them. */
export function actionsOfOldSet(set: ImageSet, pid: number, leader: CoreEntry): void {
  const name = `sigacts-${pid}.img`;
  if (leader.tc && leader.tc.sigactions.length === 0 && set.has(name)) leader.tc.sigactions = list(set, name, "sigacts", SigActionSchema);
}

/** Entries of one kind, each in the envelope that files.img gives it; kinds without a description stay unknown fields. */
function filesOfKind(set: ImageSet, image: FileImage): FileEntry[] {
  const reader = set.open(`${image.id}.img`, image.id);
  try {
    const entries: FileEntry[] = [];
    for (let bytes = reader.nextBytes(); bytes; bytes = reader.nextBytes()) {
      const bodyAt = reader.position - bytes.length;
      const head = new BinaryWriter().tag(image.member, WireType.LengthDelimited).uint32(bytes.length).finish();
      const entry = reader.decode(FileEntrySchema, Buffer.concat([head, bytes]), bodyAt - head.length, true);
      entry.type = image.fileType;
      entry.id = reader.decode(AnyFileSchema, bytes, bodyAt).id;
      entries.push(entry);
    }
    return entries;
  } finally {
    reader.close();
  }
}
