// SPDX-License-Identifier: Apache-2.0
/**
 * Fanotify groups: their flags and marks are in fdinfo. Waiting events cannot be kept: each comes with a file that is opened
 * as it is read, and names who did it. They are a loss that the report names. A group that is asked for permission cannot be
 * looked at: crimg opens files, and would wait for the answer of a program that stands still.
 */
import { encodeText } from "../../bytes/text.js";
import { type Collecting, type Description, nameOf, refuseDescription } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import { internPath } from "../../dump/fds/files.js";
import { findInode, findMount, type InodeName, inodeNameOf, openPath } from "../../dump/fds/find-inode.js";
import type { FileDump } from "../../dump/fds/kind.js";
import { refusal } from "../../dump/refusal.js";
import { fanotifyGroupRow, type FanotifyMarkKind, fanotifyMarkRow } from "../../gen/tables.js";
import { close, failed, tryIoctl } from "../../native/index.js";

/** FAN_OPEN_PERM, FAN_ACCESS_PERM, FAN_OPEN_EXEC_PERM, FAN_PRE_ACCESS. */
const permissions = 0x170000n;
const FIONREAD = 0x541b;

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[fanotify]",
  collector: (collecting) => {
    const groups: { readonly group: Description; readonly marks: readonly SeenMark[] }[] = [];
    return {
      note: refusePermissions,
      collect: (group) => {
        const { flags, eventFlags } = flagsOf(group);
        tellWaiting(collecting, group);
        groups.push({ group, marks: seenMarks(group) });
        return { kind: "fanotify", detail: collecting.context.tables.fanotifyGroups.push(fanotifyGroupRow({ flags, eventFlags })) - 1 };
      },
      finish: () => {
        for (const { group, marks } of groups) for (const mark of marks) addMark(collecting, group, mark);
      },
    };
  },
};

interface SeenMark {
  readonly kind: FanotifyMarkKind;
  readonly flags: number;
  readonly mask: bigint;
  readonly ignoredMask: bigint;
  readonly inode?: InodeName;
  readonly mountId?: number;
  readonly device?: number;
}

const markLine = /^fanotify (ino|mnt_id|sdev):([0-9a-f]+) .*\bmflags:([0-9a-f]+) mask:([0-9a-f]+) ignored_mask:([0-9a-f]+)/;
const groupLine = /^fanotify flags:([0-9a-f]+) event-flags:([0-9a-f]+)/;

function unknown(group: Description, line: string): never {
  refuseDescription(group, "fanotify_mark", `a fanotify group of which the kernel tells "${line}", which crimg cannot read`);
}

function flagsOf(group: Description): { readonly flags: number; readonly eventFlags: number } {
  const [line = ""] = group.info.marks;
  const [, flags, eventFlags] = groupLine.exec(line) ?? unknown(group, line);
  return { flags: parseInt(flags ?? "0", 16), eventFlags: parseInt(eventFlags ?? "0", 16) };
}

function seenMarks(group: Description): SeenMark[] {
  return group.info.marks.slice(1).map((line) => {
    const [, what, number = "0", flags = "0", mask = "0", ignored = "0"] = markLine.exec(line) ?? unknown(group, line);
    const inode = inodeNameOf(line);
    const common = { flags: parseInt(flags, 16), mask: BigInt(`0x${mask}`), ignoredMask: BigInt(`0x${ignored}`) };
    if (what === "mnt_id") return { ...common, kind: "mount", mountId: parseInt(number, 16) };
    if (what === "sdev") return { ...common, kind: "file_system", device: parseInt(number, 16) };
    return { ...common, kind: "inode", inode: inode ?? unknown(group, line) };
  });
}

/** Before anything is opened. */
function refusePermissions(group: Description): void {
  if (!seenMarks(group).some(({ mask, ignoredMask }) => ((mask | ignoredMask) & permissions) !== 0n)) return;
  throw refusal(
    "fanotify-permission",
    `${nameOf(group)}: a fanotify group that is asked for permission (FAN_OPEN_PERM and the like): crimg would wait for its answers`,
    { hint: "Let the program remove those marks, or leave that process out of the tree." },
  );
}

/** The one thing that is lost without a question: who asks for no permission must do with what the kernel drops as well. */
function tellWaiting({ context }: Collecting, group: Description): void {
  const bytes = Buffer.alloc(4);
  if (failed(tryIoctl(group.fd, FIONREAD, bytes)) || bytes.readUInt32LE(0) === 0) return;
  context.lose("dump.fanotify-events", `${nameOf(group)}: events that a fanotify group has not read yet`);
}

function addMark(collecting: Collecting, group: Description, { inode, mountId, device, ...mark }: SeenMark): void {
  const found =
    inode !== undefined
      ? findInode(collecting, inode, group)
      : openPath(findMount((id, dev) => id === mountId || dev === device) ?? encodeText(""), group);
  if (found === undefined) {
    const what =
      inode === undefined ? `${mark.kind === "mount" ? `mount ${mountId}` : `the file system of device ${device}`}` : `inode ${inode.ino}`;
    refuseDescription(group, "fanotify_mark", `a fanotify group that marks ${what}, to which no path was found`);
  }
  try {
    const object = internPath(collecting, found, (found.stat.mode & 0o170000) === 0o120000);
    collecting.context.tables.fanotifyMarks.push(fanotifyMarkRow({ file: group.row ?? 0, object, ...mark }));
  } finally {
    close(found.fd);
  }
}
