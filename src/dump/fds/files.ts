// SPDX-License-Identifier: Apache-2.0
/** What kinds whose files have (or had) a path share: opening the inode anew, finding it by its path, its object. */
import { decodeText } from "../../bytes/text.js";
import { fuseFileSystem, viewFileSystems } from "../../linux/file-systems.js";
import { samplePartsOf } from "../../model/content-sample.js";
import {
  close,
  cString,
  failed,
  openFlag,
  tryCall,
  tryFstat,
  tryOpen,
  tryPread,
  tryReadSmall,
  tryStat,
  type FileStat,
} from "../../native/index.js";
import { isOfEndedProcess } from "../objects.js";
import { type Collecting, type Description, linkTextOf, nameOf, refuseDescription } from "./context.js";

const deletedSuffix = " (deleted)";

/** Opens the inode of one of our descriptors anew, so that its position is our own. Returns −errno on failure. */
export function reopen(fd: number, flags: number = openFlag.RDONLY): number {
  return tryOpen(`/proc/self/fd/${fd}`, flags | openFlag.NONBLOCK | openFlag.NOCTTY);
}

const isSameInode = (left: FileStat, right: FileStat | number): boolean =>
  typeof right !== "number" && left.dev === right.dev && left.ino === right.ino;

/** Objects of descriptions that are named, by the state of the inode, which the descriptors of a file share. */
const namedObjects = new WeakMap<FileStat, { readonly link: Buffer; readonly isLink: boolean; readonly object: number }>();

/** Whether a path leads to that very inode; a symbolic link that is the inode itself is not followed. */
export function leadsTo(path: string, stat: FileStat, isLink = false): boolean {
  if (!isLink) return isSameInode(stat, tryStat(path));
  const fd = tryOpen(path, openFlag.PATH | openFlag.NOFOLLOW);
  if (failed(fd)) return false;
  const found = tryFstat(fd);
  close(fd);
  return isSameInode(stat, found);
}

/** The object of a description with a path, checked to be reachable by it, or a ghost. */
export function internPath(collecting: Collecting, description: Description, isLink: boolean): number {
  const { stat, link, fsMagic } = description;
  const named = namedObjects.get(stat);
  if (named !== undefined && named.link === link && named.isLink === isLink) {
    addSample(collecting, description, named.object);
    return named.object;
  }
  const text = linkTextOf(description);
  const isEnded = isOfEndedProcess(link, fsMagic);
  const { view } = collecting.context;
  const space = view.spaceOfMount(description.info.mountId);
  const isNamed = !isEnded && leadsTo(view.path(text, space), stat, isLink);
  // The root of a mount that hangs nowhere is called "/", too.
  if ((!isNamed || text === "/") && !isEnded && isDetached(description)) {
    refuseDescription(
      description,
      "detached_mount",
      `${text} of a mount that is attached nowhere (open_tree, fsmount, or umount -l)`,
      "Attach the mount, or close the descriptor, and dump again.",
    );
  }
  if (!isNamed && !isEnded) refuseUnreachable(description, text);
  // A file that is really called "x (deleted)" leads to itself; for the object table that name needs no taking apart.
  if (isNamed && text.endsWith(deletedSuffix)) {
    refuseDescription(description, "name", `${text}: a name that ends in " (deleted)"`, "Rename the file.");
  }
  const { objects } = collecting.context;
  const fields = isLink && !isNamed ? { linkTarget: targetOf(description) } : undefined;
  const object = objects.add({ stat, link, fsMagic, fields, holder: nameOf(description), space });
  if (objects.needsContents(object)) {
    const { ghostLimit } = collecting.options;
    if (ghostLimit !== undefined && stat.size > ghostLimit) {
      refuseDescription(
        description,
        "ghost_limit",
        `${text}: an unlinked file of ${stat.size} bytes, the limit is ${ghostLimit}`,
        "Raise --ghost-limit.",
      );
    }
    const source = reopen(description.fd);
    if (failed(source)) refuseDescription(description, "ghost", `${text}: an unlinked file that may not be read`);
    objects.storeContents(object, source, stat.size);
  }
  if (isNamed) {
    addSample(collecting, description, object);
    namedObjects.set(stat, { link, isLink, object });
  }
  return object;
}

/** The sample by which a resume tells whether a file that the tree reads is still the same (model/content-sample.ts). */
function addSample({ context: { objects } }: Collecting, description: Description, object: number): void {
  const { flags, stat, fsMagic } = description;
  const { kind, sample } = objects.row(object);
  const isRead = (flags & openFlag.PATH) === 0 && (flags & openFlag.ACCMODE) !== openFlag.WRONLY;
  if (kind !== "file" || !isRead || sample.length > 0 || viewFileSystems.has(fsMagic) || fsMagic === fuseFileSystem) return;
  const own = reopen(description.fd, openFlag.RDONLY | openFlag.NOATIME);
  const source = failed(own) ? reopen(description.fd) : own;
  if (failed(source)) return;
  const parts = samplePartsOf(stat.size).map(({ offset, length }) => {
    const bytes = Buffer.alloc(length);
    return tryPread(source, bytes, offset) === length ? bytes : undefined;
  });
  close(source);
  if (parts.every((part) => part !== undefined)) objects.update(object, { sample: Uint8Array.from(Buffer.concat(parts)) });
}

/** Whether the mount of a description is in nobody's mount table: not in crimg's, not in its holders' (they may be in a chroot). */
function isDetached({ info, holders }: Description): boolean {
  const readers = ["self", ...holders.map(({ process }) => process.pid)];
  const tables = readers.map((reader) => tryReadSmall(`/proc/${reader}/mountinfo`)?.toString("latin1"));
  const line = new RegExp(`^${info.mountId} `, "m");
  return info.mountId > 0 && tables.every((table) => table !== undefined && !line.test(table));
}

function refuseUnreachable(description: Description, text: string): void {
  if (!text.startsWith("/")) refuseDescription(description, "unreachable", `${text}: it has no path here`);
  if (!text.endsWith(deletedSuffix)) {
    refuseDescription(
      description,
      "unreachable",
      `${text}: the path leads elsewhere now`,
      "Is it covered by a mount, or in another mount namespace?",
    );
  }
}

/** Where a symbolic link leads that is open itself (O_PATH | O_NOFOLLOW). */
function targetOf(description: Description): string {
  const target = Buffer.alloc(4096);
  const length = tryCall("readlinkat", description.fd, cString(""), target, target.length);
  if (failed(length)) refuseDescription(description, "removed_link", `${decodeText(description.link)}: a symbolic link that was removed`);
  return decodeText(target.subarray(0, length));
}
