// SPDX-License-Identifier: Apache-2.0
/** Epoll sets: which file each item watches. An item is keyed by number and description; the number may be gone since. */
import type { FileDump } from "../../dump/fds/kind.js";
import { epollParametersRow, epollWatchRow } from "../../gen/tables.js";
import { failed, kcmpType, tryIoctl, tryKcmp } from "../../native/index.js";
import { type Collecting, type Description, refuseDescription } from "../../dump/fds/context.js";
import { anonymousName } from "../../dump/fds/facts.js";
import type { EpollItem } from "../../dump/fds/fdinfo.js";

export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[eventpoll]",
  collector: (collecting) => {
    const sets: Description[] = [];
    return {
      collect: (description) => {
        sets.push(description);
        return { kind: "epoll" };
      },
      finish: () => {
        for (const set of sets) {
          collectParameters(collecting, set);
          collectEpollWatches(collecting, set);
        }
      },
    };
  },
};

/** _IOR(0x8A, 2, struct epoll_params): u4 microseconds, u2 budget, u1 preferred, u1 padding. A kernel before 6.9 has none. */
const EPIOCGPARAMS = 0x80088a02;

/** Busy polling, unless the set has none. */
function collectParameters({ context }: Collecting, { fd, row }: Description): void {
  const parameters = Buffer.alloc(8);
  if (failed(tryIoctl(fd, EPIOCGPARAMS, parameters)) || parameters.every((byte) => byte === 0)) return;
  context.tables.epollParameters.push(
    epollParametersRow({
      epoll: row,
      busyPollUsecs: parameters.readUInt32LE(0),
      busyPollBudget: parameters.readUInt16LE(4),
      preferBusyPoll: parameters.readUInt8(6),
    }),
  );
}

/** Adds the items of an epoll set. Every description must have its row by now. */
function collectEpollWatches(collecting: Collecting, epoll: Description): void {
  const { tables } = collecting.context;
  const seen = new Map<number, number>();
  for (const item of epoll.info.epoll) {
    // Several descriptions may have been added under one number one after the other: they differ in this offset.
    const offset = seen.get(item.fd) ?? 0;
    seen.set(item.fd, offset + 1);
    const target = findTarget(collecting, epoll, item, offset);
    if (target === undefined && isLeftOut(collecting, epoll, item, offset)) continue;
    if (target?.row === undefined) {
      refuseDescription(
        epoll,
        "epoll_target",
        `an epoll set that watches a file (added as fd ${item.fd}) that no process of the tree has open`,
      );
    }
    tables.epollWatches.push(epollWatchRow({ epoll: epoll.row, fd: item.fd, file: target.row, events: item.events, data: item.data }));
  }
}

/** True if the item watches a file that is left out: the watch goes with it. */
function isLeftOut({ leftOut, ...collecting }: Collecting, epoll: Description, item: EpollItem, offset: number): boolean {
  return leftOut !== undefined && findTarget({ ...collecting, descriptions: [...leftOut] }, epoll, item, offset) !== undefined;
}

function findTarget({ descriptions }: Collecting, epoll: Description, item: EpollItem, offset: number): Description | undefined {
  // An item is found by number and offset in the set itself, so our own copies serve as well as the target's.
  const slot = Buffer.alloc(12);
  slot.writeUInt32LE(epoll.fd, 0);
  slot.writeUInt32LE(item.fd, 4);
  slot.writeUInt32LE(offset, 8);
  // Nearly always a holder of the epoll set still has the file at that number; else any with that inode may be it.
  const likely = (description: Description): number =>
    description.holders.some((holder) => holder.fd === item.fd && epoll.holders.some((other) => other.process === holder.process)) ? 0 : 1;
  return descriptions
    .filter((description) => item.ino === 0n || description.stat.ino === item.ino)
    .sort((a, b) => likely(a) - likely(b))
    .find((description) => tryKcmp(process.pid, process.pid, kcmpType.EPOLL_TFD, description.fd, slot) === 0);
}
