// SPDX-License-Identifier: Apache-2.0
/** Descriptors that have (or had) a path: files, directories, devices, FIFO and socket inodes opened with O_PATH, memfds. */
import type { ObjectRow, OpenFileRow } from "../../gen/tables.js";
import {
  close,
  cString,
  errno,
  failed,
  fcntlCommand,
  openFlag,
  tryCall,
  tryFcntl,
  tryFstat,
  tryOpen,
  tryReadlink,
  tryStat,
  type FileStat,
} from "../../native/index.js";
import { decodeText } from "../../bytes/text.js";
import { type Collecting, type Description, nameOf, refuseDescription, stdioNumber } from "./context.js";
import type { DescriptorKind } from "./classify.js";

const deletedSuffix = " (deleted)";

/** HUGETLBFS_MAGIC: a memfd there was made with MFD_HUGETLB. */
const hugetlbMagic = 0x958458f6n;
const MFD_HUGETLB = 4;
const [F_OK, W_OK, R_OK] = [0, 2, 4];
const AT_FDCWD = -100;
const AT_EACCESS = 0x200;
const AT_SYMLINK_NOFOLLOW = 0x100;
/** What a memfd made without MFD_ALLOW_SEALING has. */
const F_SEAL_SEAL = 1;

/** Opens the inode of one of our descriptors anew, so that its position is our own. Returns −errno on failure. */
export function reopen(fd: number, flags: number = openFlag.RDONLY): number {
  return tryOpen(`/proc/self/fd/${fd}`, flags | openFlag.NONBLOCK | openFlag.NOCTTY);
}

const isSameInode = (left: FileStat, right: FileStat | number): boolean =>
  typeof right !== "number" && left.dev === right.dev && left.ino === right.ino;

/** Whether a path leads to that very inode; a symbolic link that is the inode itself is not followed. */
export function leadsTo(path: string, stat: FileStat, isLink = false): boolean {
  if (!isLink) return isSameInode(stat, tryStat(path));
  const fd = tryOpen(path, openFlag.PATH | openFlag.NOFOLLOW);
  if (failed(fd)) return false;
  const found = tryFstat(fd);
  close(fd);
  return isSameInode(stat, found);
}

/** The fields of a row for a path-based description. Refuses what has no way back. */
export function collectFile(collecting: Collecting, description: Description, kind: DescriptorKind): Partial<OpenFileRow> {
  if (kind === "namespace") return { kind: "path", object: internNamespace(collecting, description) };
  if (kind === "memfd") return { kind: "memfd", object: internMemfd(collecting, description) };
  if (mayOpen(description)) return { kind: "path", object: internPath(collecting, description, kind === "symlink") };
  // Somebody else opened it for this program, such as a log that a service manager redirected its output to. As with a
  // terminal, it is the caller's to give again.
  const number = stdioNumber(description);
  if (number !== undefined) return { kind: "inherited", detail: number };
  return refuseDescription(
    description,
    "not_permitted",
    `${decodeText(description.link)}: this user may not open it by its path`,
    "Dump as the user who opened it, or as root.",
  );
}

/** Whether this user has the rights to open the path of a description again as it is open. */
function mayOpen({ link, flags }: Description): boolean {
  const access = flags & openFlag.ACCMODE;
  const wanted = (flags & openFlag.PATH) !== 0 ? F_OK : access === openFlag.RDONLY ? R_OK : access === openFlag.WRONLY ? W_OK : R_OK | W_OK;
  return tryCall("faccessat2", AT_FDCWD, cString(link), wanted, AT_EACCESS | AT_SYMLINK_NOFOLLOW) !== -errno.EACCES;
}

/** The object of a description with a path, checked to be reachable by it, or a ghost. */
export function internPath(collecting: Collecting, description: Description, isLink: boolean): number {
  const { stat, link, fsMagic } = description;
  const text = decodeText(link);
  const isNamed = leadsTo(text, stat, isLink);
  if (!isNamed) refuseUnreachable(description, text);
  // A file that is really called "x (deleted)" leads to itself; for the object table that name needs no taking apart.
  if (isNamed && text.endsWith(deletedSuffix)) {
    refuseDescription(description, "name", `${text}: a name that ends in " (deleted)"`, "Rename the file.");
  }
  const { objects } = collecting.context;
  const fields = isLink && !isNamed ? { linkTarget: targetOf(description) } : undefined;
  const object = objects.add({ stat, link, fsMagic, fields, holder: nameOf(description) });
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
  return object;
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

/** A namespace that its holders live in themselves; it is opened again as /proc/self/ns/NAME. */
function internNamespace(collecting: Collecting, description: Description): number {
  const { stat, link, fsMagic, holders } = description;
  const text = decodeText(link);
  const name = text.slice(0, text.indexOf(":"));
  const isOwn = ({ process }: Description["holders"][number]): boolean =>
    tryReadlink(`/proc/${process.pid}/ns/${name}`)?.equals(link) ?? false;
  if (holders.length === 0 || !holders.every(isOwn))
    refuseDescription(description, "namespace", `the namespace ${text}, which is not its own`);
  return collecting.context.objects.add({ stat, link: Buffer.from(`/proc/self/ns/${name}`), fsMagic, holder: nameOf(description) });
}

/** Where a symbolic link leads that is open itself (O_PATH | O_NOFOLLOW). */
function targetOf(description: Description): string {
  const target = Buffer.alloc(4096);
  const length = tryCall("readlinkat", description.fd, cString(""), target, target.length);
  if (failed(length)) refuseDescription(description, "removed_link", `${decodeText(description.link)}: a symbolic link that was removed`);
  return decodeText(target.subarray(0, length));
}

function internMemfd(collecting: Collecting, description: Description): number {
  const { stat, link, fsMagic, fd } = description;
  const { objects } = collecting.context;
  const seals = tryFcntl(fd, fcntlCommand.GET_SEALS);
  const fields: Partial<ObjectRow> = {
    seals: failed(seals) ? F_SEAL_SEAL : seals,
    memfdFlags: fsMagic === hugetlbMagic ? MFD_HUGETLB : 0,
  };
  const object = objects.add({ stat, link, fsMagic, fields, holder: nameOf(description) });
  if (objects.needsContents(object)) {
    const source = reopen(fd);
    if (failed(source)) refuseDescription(description, "memfd", `${decodeText(link)} may not be read`);
    objects.storeContents(object, source, stat.size);
  }
  return object;
}
