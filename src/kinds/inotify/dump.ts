// SPDX-License-Identifier: Apache-2.0
/** Inotify instances: their watches as fdinfo tells them, found again by handle or path, and the events nobody has read. */
import type { Collecting, Description } from "../../dump/fds/context.js";
import { refuseDescription } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import { internPath } from "../../dump/fds/files.js";
import { findInode, type InodeName, inodeNameOf } from "../../dump/fds/find-inode.js";
import type { FileDump } from "../../dump/fds/kind.js";
import { inotifyWatchRow } from "../../gen/tables.js";
import { close } from "../../native/index.js";
import { takeEvents } from "./dump-events.js";

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "inotify",
  collector: (collecting) => {
    const instances: Description[] = [];
    return {
      collect: (description) => {
        instances.push(description);
        return { kind: "inotify" };
      },
      finish: () => {
        for (const instance of instances) collectInstance(collecting, instance);
      },
    };
  },
};

/** A watch as fdinfo has it: `inotify wd:3 ino:… sdev:… mask:fce ignored_mask:0 fhandle-bytes:…`, all in hexadecimal. */
export interface SeenWatch {
  readonly wd: number;
  readonly mask: number;
  readonly inode: InodeName;
}

const watchLine = /^inotify wd:([0-9a-f]+) .*\bmask:([0-9a-f]+) ignored_mask:/;

function seenWatches(instance: Description): SeenWatch[] {
  return instance.info.marks.map((line) => {
    const [, wd, mask] = watchLine.exec(line) ?? [];
    const inode = inodeNameOf(line);
    if (wd === undefined || mask === undefined || inode === undefined) {
      refuseDescription(instance, "inotify_watch", `an inotify instance of which the kernel tells "${line}", which crimg cannot read`);
    }
    return { wd: parseInt(wd, 16), mask: parseInt(mask, 16), inode };
  });
}

function collectInstance(collecting: Collecting, instance: Description): void {
  const { tables } = collecting.context;
  const file = instance.row ?? 0;
  const watches = seenWatches(instance).sort((a, b) => a.wd - b.wd);
  for (const { wd, mask, inode } of watches) {
    const found = findInode(collecting, inode, instance);
    if (found === undefined) {
      refuseDescription(
        instance,
        "inotify_watch",
        `an inotify instance that watches (wd ${wd}) inode ${inode.ino} of device ${inode.device >>> 20}:${inode.device & 0xfffff}, ` +
          `to which no path was found`,
        "As root the kernel finds it by its handle; else it must lie near what the program has open or was started with.",
      );
    }
    try {
      const object = internPath({ ...collecting }, found, (found.stat.mode & 0o170000) === 0o120000);
      tables.inotifyWatches.push(inotifyWatchRow({ file, wd, mask, object }));
    } finally {
      close(found.fd);
    }
  }
  takeEvents(collecting, instance, watches);
}
