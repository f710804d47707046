// SPDX-License-Identifier: Apache-2.0
/**
 * The queue of an inotify instance. Nobody can look at it without taking the events out, so they are taken last of all,
 * when nothing stands in the way of the dump any more; and given back if the program goes on after all: made again in the
 * live queue (model/inotify-plan.ts), with IN_Q_OVERFLOW behind them, since meanwhile the watches were elsewhere for a
 * moment.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeText } from "../../bytes/text.js";
import type { Collecting, Description } from "../../dump/fds/context.js";
import { nameOf } from "../../dump/fds/context.js";
import { findInode } from "../../dump/fds/find-inode.js";
import { inotifyEventRow } from "../../gen/tables.js";
import { type EventPlan, type EventStep, planEvents, type QueuedEvent } from "../../model/inotify-plan.js";
import { call, close, cString, failed, tryCall, tryIoctl, tryPidfdGetfd, tryPidfdOpen } from "../../native/index.js";
import type { SeenWatch } from "./dump.js";

const FIONREAD = 0x541b;
/** _IOW('I', 0, __s32): the number that the next watch gets. */
export const INOTIFY_IOC_SETNEXTWD = 0x40044900;
const eventHead = 16;

/** Bytes in the queue of an instance. */
function queuedBytes(fd: number): number {
  const bytes = Buffer.alloc(4);
  return failed(tryIoctl(fd, FIONREAD, bytes)) ? 0 : bytes.readUInt32LE(0);
}

/** Has the events taken at the end of the dump, if there are any by then. */
export function takeEvents(collecting: Collecting, instance: Description, watches: readonly SeenWatch[]): void {
  const { context } = collecting;
  const [holder] = instance.holders;
  const file = instance.row ?? 0;
  if (holder === undefined) {
    if (queuedBytes(instance.fd) > 0)
      context.lose("dump.inotify-events", `${nameOf(instance)}: events of an inotify instance that is in flight`);
    return;
  }
  context.takeAtLast(instance, () => {
    const pidfd = tryPidfdOpen(holder.process.pid);
    if (failed(pidfd)) return undefined;
    const fd = tryPidfdGetfd(pidfd, holder.fd);
    close(pidfd);
    if (failed(fd)) return undefined;
    const events = readEvents(fd, queuedBytes(fd));
    context.tables.inotifyEvents.push(...events.map((event) => inotifyEventRow({ file, ...event })));
    if (events.length === 0) {
      close(fd);
      return undefined;
    }
    return () => {
      try {
        giveBack(collecting, instance, fd, watches, events);
      } finally {
        close(fd);
      }
    };
  });
}

/** Takes at most that many bytes of events out of a queue. */
function readEvents(fd: number, length: number): QueuedEvent[] {
  const events: QueuedEvent[] = [];
  const data = Buffer.alloc(Math.min(length, 1 << 16));
  for (let left = length; left >= eventHead; ) {
    const got = tryCall("read", fd, data, Math.min(left, data.length));
    if (failed(got) || got === 0) break;
    left -= got;
    for (let at = 0; at + eventHead <= got; ) {
      const nameLength = data.readUInt32LE(at + 12);
      const name = data.subarray(at + eventHead, at + eventHead + nameLength);
      const end = name.indexOf(0);
      events.push({
        wd: data.readInt32LE(at),
        mask: data.readUInt32LE(at + 4),
        cookie: data.readUInt32LE(at + 8),
        name: decodeText(end < 0 ? name : name.subarray(0, end)),
      });
      at += eventHead + nameLength;
    }
  }
  return events;
}

/**
 * Puts events back into a live queue. The numbers of the events are those of watches: each is taken off while the queue is
 * full, so that nothing is told of it, has a stand-in for the moment, and comes back.
 */
function giveBack(
  collecting: Collecting,
  instance: Description,
  fd: number,
  watches: readonly SeenWatch[],
  events: readonly QueuedEvent[],
): void {
  const directory = mkdtempSync(join(tmpdir(), "crimg-events-"));
  const numbers = new Set(events.map(({ wd }) => wd));
  const moved = watches.flatMap(({ wd, mask, inode }) => {
    const found = numbers.has(wd) ? findInode({ ...collecting, descriptions: [] }, inode, instance) : undefined;
    return found === undefined ? [] : [{ wd, mask, found: found.fd }];
  });
  // A watch that could not be put back is left where it is, without its events.
  const lost = new Set(watches.map(({ wd }) => wd).filter((wd) => !moved.some((one) => one.wd === wd)));
  const filler = new Filler(fd, join(directory, "filler"));
  try {
    const most = filler.fillUp();
    for (const { wd } of moved) tryCall("inotify_rm_watch", fd, wd);
    const plan = planEvents([...events, ...filler.drain()].filter(({ wd }) => !lost.has(wd)));
    const fillers = Math.max(0, most - plan.count);
    filler.add(fillers);
    carryOut(fd, directory, plan);
    // One too many: the kernel tells that events may be missing.
    filler.add(2);
    for (const wd of plan.watched) tryCall("inotify_rm_watch", fd, wd);
    filler.remove();
    for (const { wd, mask, found } of moved) addWatch(fd, wd, `/proc/self/fd/${found}`, mask);
    readEvents(fd, fillers * eventHead);
  } finally {
    for (const { found } of moved) close(found);
    rmSync(directory, { recursive: true, force: true });
  }
}

function addWatch(fd: number, wd: number, path: string, mask: number): void {
  tryIoctl(fd, INOTIFY_IOC_SETNEXTWD, wd);
  tryCall("inotify_add_watch", fd, cString(path), mask >>> 0);
}

/** Events that only take room, of a file of crimg's own. Two in a row differ, or the kernel would make one of them. */
class Filler {
  readonly #wd: number;
  readonly #file: number;

  constructor(
    private readonly fd: number,
    private readonly path: string,
  ) {
    this.#file = call("openat", -100, cString(path), 0o102, 0o600);
    this.#wd = tryCall("inotify_add_watch", fd, cString(path), 0x34);
  }

  /** Adds that many events. */
  add(count: number): void {
    for (let pair = 0; pair < count >> 1; pair++) {
      const other = tryCall("openat", -100, cString(this.path), 0);
      tryCall("close", other);
    }
    if (count % 2 === 1) tryCall("fchmod", this.#file, 0o600);
  }

  /** Fills the queue. Returns how many events it takes, without the one that tells of an overflow. */
  fillUp(): number {
    for (let before = -1, now = queuedBytes(this.fd); now !== before; ) {
      before = now;
      this.add(1024);
      now = queuedBytes(this.fd);
    }
    this.add(4);
    return Math.max(0, Math.floor(queuedBytes(this.fd) / eventHead) - 1);
  }

  /** Empties the queue; returns what others have put there. */
  drain(): readonly QueuedEvent[] {
    const found = readEvents(this.fd, queuedBytes(this.fd));
    return found.filter(({ wd }) => wd !== this.#wd && wd !== -1);
  }

  remove(): void {
    tryCall("inotify_rm_watch", this.fd, this.#wd);
    close(this.#file);
  }
}

/** Carries the steps out here and now. */
function carryOut(instance: number, directory: string, { steps }: EventPlan): void {
  const at = (path: string): Buffer => cString(join(directory, path));
  const byte = Buffer.alloc(32768);
  let current = -1;
  const run = (step: EventStep): void => {
    switch (step.do) {
      case "watch":
        addWatch(instance, step.wd, join(directory, step.path), step.mask);
        return;
      case "unwatch":
        tryCall("inotify_rm_watch", instance, step.wd);
        return;
      case "make":
        if (step.isDirectory) tryCall("mkdirat", -100, at(step.path), 0o700);
        else close(tryCall("openat", -100, at(step.path), 0o102, 0o600));
        return;
      case "open":
        current = tryCall("openat", -100, at(step.path), step.flags);
        return;
      case "read":
        tryCall("read", current, byte, 1);
        return;
      case "write":
        tryCall("write", current, byte, 1);
        return;
      case "list":
        tryCall("getdents64", current, byte, byte.length);
        return;
      case "chmod":
        tryCall("fchmod", current, 0o700);
        return;
      case "close":
        tryCall("close", current);
        return;
      case "remove":
        tryCall("unlinkat", -100, at(step.path), step.isDirectory ? 0x200 : 0);
        return;
      case "move":
        tryCall("renameat2", -100, at(step.path), -100, at(step.to), 0);
    }
  };
  for (const step of steps) run(step);
}
