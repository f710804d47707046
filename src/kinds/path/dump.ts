// SPDX-License-Identifier: Apache-2.0
/** Descriptors of what has a path: files, directories, stateless devices, namespaces, and whatever is open with O_PATH. */
import { AT_FDCWD } from "../../linux/open-flags.js";
import { decodeText } from "../../bytes/text.js";
import { type Collecting, type Description, factsOf, nameOf, positionOf, refuseDescription } from "../../dump/fds/context.js";
import { type DescriptorFacts, type InodeType, inodeType, isStatelessDevice } from "../../dump/fds/facts.js";
import { internPath } from "../../dump/fds/files.js";
import type { FileDump, FileFields } from "../../dump/fds/kind.js";
import { cString, errno, type FileStat, openFlag, tryCall, tryReadlink } from "../../native/index.js";
import { inherited } from "../inherited/dump.js";
import { isMemfd } from "../memfd/dump.js";
import { isPipe } from "../pipe/dump.js";
import { isSocket } from "../socket/dump.js";

const [F_OK, W_OK, R_OK] = [0, 2, 4];
const AT_EACCESS = 0x200;
const AT_SYMLINK_NOFOLLOW = 0x100;

export const dump: FileDump = {
  recognises: (facts) => pathType(facts) !== undefined,
  collector: (collecting) => ({
    collect: (description) => collectPath(collecting, description),
    // Which namespace is its holder's own depends on who has it.
    speaksForAll: (description) => pathTypeOf(description) !== "namespace",
  }),
};

/** The type of what a descriptor names by its path; undefined for other kinds, and for devices that hold state. */
export function pathType(facts: DescriptorFacts): InodeType | undefined {
  const type = inodeType(facts);
  switch (type) {
    case "regular":
      return isMemfd(facts) ? undefined : type;
    case "directory":
    case "symlink":
    case "namespace":
      return type;
    case "fifo":
      return facts.isPath && !isPipe(facts) ? type : undefined;
    case "socket":
      return isSocket(facts) ? undefined : type;
    case "char_device":
      return facts.isPath || isStatelessDevice(facts) ? type : undefined;
    case "block_device":
      return facts.isPath ? type : undefined;
    case "anonymous":
    case "pidfd":
    case "kernel_object":
    case "unknown":
      return undefined;
  }
}

/** Types by the state of the inode, which the descriptors of a file share. */
const knownTypes = new WeakMap<FileStat, { readonly link: Buffer; readonly isPath: boolean; readonly type: InodeType | undefined }>();

function pathTypeOf(description: Description): InodeType | undefined {
  const { stat, link } = description;
  const isPath = (description.flags & openFlag.PATH) !== 0;
  const known = knownTypes.get(stat);
  if (known !== undefined && known.link === link && known.isPath === isPath) return known.type;
  const type = pathType(factsOf(description));
  knownTypes.set(stat, { link, isPath, type });
  return type;
}

/** Refuses what has no way back. */
function collectPath(collecting: Collecting, description: Description): FileFields {
  const type = pathTypeOf(description);
  const pos = positionOf(description);
  if (type === "namespace") return { kind: "path", object: internNamespace(collecting, description), pos };
  // What whoever started a container gave it lies outside, like the log of its output.
  const outside = collecting.context.view.hasMount(description.info.mountId) ? undefined : inherited(description, { pos });
  if (outside !== undefined) return outside;
  if (mayOpen(collecting, description)) return { kind: "path", object: internPath(collecting, description, type === "symlink"), pos };
  // Somebody else opened it for this program, such as a log that a service manager redirected its output to. As with a
  // terminal, it is the caller's to give again.
  const fields = inherited(description, { pos });
  if (fields !== undefined) return fields;
  return refuseDescription(
    description,
    "not_permitted",
    `${decodeText(description.link)}: this user may not open it by its path`,
    "Dump as the user who opened it, or as root.",
  );
}

/** By names, which the descriptors of a file share; in each mount namespace they may be of other files. */
const permissions = new WeakMap<Buffer, { readonly wanted: number; readonly mountId: number; readonly isGiven: boolean }>();

/** Whether this user has the rights to open the path of a description again as it is open. */
function mayOpen({ context }: Collecting, { link, flags, info }: Description): boolean {
  const access = flags & openFlag.ACCMODE;
  const wanted = (flags & openFlag.PATH) !== 0 ? F_OK : access === openFlag.RDONLY ? R_OK : access === openFlag.WRONLY ? W_OK : R_OK | W_OK;
  const known = permissions.get(link);
  if (known?.wanted === wanted && known.mountId === info.mountId) return known.isGiven;
  const path = cString(context.view.pathBytes(link, context.view.spaceOfMount(info.mountId)));
  const isGiven = tryCall("faccessat2", AT_FDCWD, path, wanted, AT_EACCESS | AT_SYMLINK_NOFOLLOW) !== -errno.EACCES;
  permissions.set(link, { wanted, mountId: info.mountId, isGiven });
  return isGiven;
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
