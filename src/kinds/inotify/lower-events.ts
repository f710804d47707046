// SPDX-License-Identifier: Apache-2.0
/**
 * Puts the events that nobody had read back into the queue of a new inotify instance (model/inotify-plan.ts says how an
 * event comes about). Stand-ins must go again without a trace: taking a watch off queues IN_IGNORED, unless the queue is
 * full. So it is filled:
 *
 *   1. fillers until it is full; the kernel adds IN_Q_OVERFLOW, once             [ f f f … f O ]
 *   2. all but that is read; as long as it waits there is no second one          [ O ]
 *   3. fillers for the room that the events leave, then the events               [ O f f … e e e ]  full
 *   4. all watches are taken off: what that would queue is dropped
 *   5. overflow and fillers are read                                             [ e e e ]
 *
 * Where IN_Q_OVERFLOW itself was in the queue, 2 reads that too, and one event more after 3 makes it again.
 */
import { AT_FDCWD, openFlags } from "../../linux/open-flags.js";
import type { InotifyEventRow } from "../../gen/tables.js";
import type { LowerContext } from "../../lower/context.js";
import type { DataRef, Slot } from "../../lower/operands.js";
import { type EventPlan, type EventStep, IN, planEvents } from "../../model/inotify-plan.js";

const AT_REMOVEDIR = 0x200;
const FIONREAD = 0x541b;
/** _IOW('I', 0, __s32): the number that the next watch gets. */
export const INOTIFY_IOC_SETNEXTWD = 0x40044900;
const [FSOPEN_CLOEXEC, FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC] = [1, 6, 1];
/** Bytes read at once, a multiple of the 16 that an event without a name takes. */
const chunk = 1 << 16;
/** Where stand-ins may be where no file system can be mounted. */
const places = ["/tmp", "/dev/shm", "/var/tmp", "/run"];

/** Ops of the first process: the queue of `instance` becomes what it was. `firstFree` is above every number in use. */
export function putEvents(
  context: LowerContext,
  instance: Slot,
  events: readonly InotifyEventRow[],
  firstFree: number,
  purpose: string,
): void {
  new Queue(context, instance, firstFree, purpose).put(planEvents(events));
}

class Queue {
  readonly #directory: Slot;
  readonly #made: Slot;
  readonly #buffer: DataRef;
  readonly #filler: Slot;
  readonly #current: Slot;
  readonly #nowhere;

  constructor(
    private readonly context: LowerContext,
    private readonly instance: Slot,
    private readonly fillerWd: number,
    private readonly purpose: string,
  ) {
    const { builder } = context;
    this.#directory = builder.slot("directory of stand-ins");
    this.#made = builder.slot("place of the directory of stand-ins");
    this.#filler = builder.slot("file of fillers");
    this.#current = builder.slot("fd of a stand-in");
    this.#buffer = builder.buffer(chunk);
    this.#nowhere = builder.label("no place for stand-ins");
  }

  put(plan: EventPlan): void {
    const { builder: b } = this.context;
    const done = b.label("events are back");
    const [most, fillers, bytes] = [b.slot("room in the queue"), b.slot("fillers"), b.slot("bytes of fillers")];
    this.#makeDirectory();
    b.syscall("openat", [this.#directory, b.string("filler"), openFlags.RDWR | openFlags.CREAT | openFlags.CLOEXEC, 0o600], {
      store: this.#filler,
      message: this.#message,
    });
    this.#watch(this.fillerWd, "filler", IN.open | IN.closeNowrite | IN.attrib);
    this.#fillUp(bytes);
    // An event without a name takes 16 bytes; the last one tells of the overflow.
    b.compute(most, "shift_right", bytes, 4);
    b.compute(most, "sub", most, 1);
    if (!plan.hasOverflow) b.compute(bytes, "sub", bytes, 16);
    this.#read(bytes);
    this.#addFillers(most, plan.count + (plan.hasOverflow ? 0 : 1), fillers);
    for (const step of plan.steps) this.#carryOut(step);
    if (plan.hasOverflow) this.#pair();
    for (const wd of [...plan.watched, this.fillerWd]) b.syscall("inotify_rm_watch", [this.instance, wd], { message: this.#message });
    b.compute(bytes, "shift_left", fillers, 4);
    if (!plan.hasOverflow) b.compute(bytes, "add", bytes, 16);
    this.#read(bytes);
    b.syscall("close", [this.#filler]);
    this.#removeDirectory(plan);
    b.jump(done);
    b.place(this.#nowhere);
    b.print(`inotify events that were waiting ${this.purpose} are lost: there is no directory to make them again in`);
    b.place(done);
  }

  get #message(): string {
    return `put the waiting events back into the inotify instance ${this.purpose}`;
  }

  /** A file system of its own that is mounted nowhere; without the right to that, a directory. */
  #makeDirectory(): void {
    const { builder: b } = this.context;
    const [done, opened, plain] = [b.label("directory is there"), b.label("directory is made"), b.label("no file system of its own")];
    const path = b.buffer(64);
    const own = b.slot("own id");
    b.compute(this.#made, "move", 0);
    b.syscall("fsopen", [b.string("tmpfs"), FSOPEN_CLOEXEC], { store: own, orElse: plain });
    b.syscall("fsconfig", [own, FSCONFIG_CMD_CREATE, 0, 0, 0], { orElse: plain });
    b.syscall("fsmount", [own, FSMOUNT_CLOEXEC, 0], { store: this.#directory, orElse: plain });
    b.syscall("close", [own]);
    b.jump(done);
    b.place(plain);
    b.syscall("getpid", [], { store: own });
    for (const place of places) {
      const next = b.label(`not in ${place}`);
      b.format(path, `${place}/.crimg-events-`, own);
      b.syscall("mkdirat", [AT_FDCWD, path, 0o700], { orElse: next });
      b.jump(opened);
      b.place(next);
    }
    b.jump(this.#nowhere);
    b.place(opened);
    b.compute(this.#made, "move", path);
    b.syscall("openat", [AT_FDCWD, path, openFlags.DIRECTORY | openFlags.CLOEXEC, 0], { store: this.#directory, message: this.#message });
    b.place(done);
    this.context.keepHigh(this.#directory);
  }

  #removeDirectory({ steps }: EventPlan): void {
    const { builder: b } = this.context;
    const done = b.label("stand-ins are gone");
    b.jumpIf(this.#made, "eq", 0, done);
    for (const path of leftOvers(steps).reverse()) {
      const isGone = b.label("it is gone");
      b.syscall("unlinkat", [this.#directory, b.string(path), 0], { expect: "any", store: this.#current });
      b.jumpIf(this.#current, "eq", 0, isGone);
      b.syscall("unlinkat", [this.#directory, b.string(path), AT_REMOVEDIR], { expect: "any" });
      b.place(isGone);
    }
    b.syscall("unlinkat", [this.#directory, b.string("filler"), 0], { expect: "any" });
    b.syscall("unlinkat", [AT_FDCWD, this.#made, AT_REMOVEDIR], { expect: "any" });
    b.place(done);
    b.syscall("close", [this.#directory]);
  }

  #watch(wd: number, path: string, mask: number): void {
    const { builder: b } = this.context;
    const full = b.buffer(64 + path.length * 4);
    b.format(full, "/proc/self/fd/", this.#directory, `/${path}`);
    b.syscall("ioctl", [this.instance, INOTIFY_IOC_SETNEXTWD, wd], { message: this.#message });
    b.syscall("inotify_add_watch", [this.instance, full, mask], { expect: wd, message: this.#message });
  }

  /** Two events. */
  #pair(): void {
    const { builder: b } = this.context;
    b.syscall("openat", [this.#directory, b.string("filler"), openFlags.CLOEXEC, 0], { store: this.#current, message: this.#message });
    b.syscall("close", [this.#current]);
  }

  #chmodFiller(mode: number): void {
    this.context.builder.syscall("fchmod", [this.#filler, mode], { message: this.#message });
  }

  /** Fills the queue until no event finds room; `bytes` is then what is in it. */
  #fillUp(bytes: Slot): void {
    const { builder: b } = this.context;
    const [again, full] = [b.label("fill the queue"), b.label("queue is full")];
    const now = b.buffer(8);
    b.compute(bytes, "move", 0);
    b.place(again);
    this.#pair();
    b.syscall("ioctl", [this.instance, FIONREAD, now], { message: this.#message });
    b.jumpIf(now.u4, "eq", bytes, full);
    b.compute(bytes, "move", now.u4);
    b.jump(again);
    b.place(full);
  }

  /** Reads exactly that many bytes of events. */
  #read(bytes: Slot): void {
    const { builder: b } = this.context;
    const [left, length, got] = [b.slot("bytes left"), b.slot("bytes of a read"), b.slot("bytes read")];
    const [again, small, done] = [b.label("read events"), b.label("few are left"), b.label("events are read")];
    b.compute(left, "move", bytes);
    b.place(again);
    b.jumpIf(left, "lt", 16, done);
    b.compute(length, "move", left);
    b.jumpIf(left, "lt", chunk, small);
    b.compute(length, "move", chunk);
    b.place(small);
    b.syscall("read", [this.instance, this.#buffer, length], { store: got, message: this.#message });
    b.compute(left, "sub", left, got);
    b.jumpIf(got, "ne", 0, again);
    b.place(done);
  }

  /** Adds as many fillers as leave room for `needed` events; `fillers` becomes their number. */
  #addFillers(most: Slot, needed: number, fillers: Slot): void {
    const { builder: b } = this.context;
    const [left, odd] = [b.slot("fillers to add"), b.slot("is odd")];
    const [enough, again, even] = [b.label("there is room"), b.label("add fillers"), b.label("fillers are even")];
    b.compute(fillers, "sub", most, needed);
    b.jumpIf(fillers, "ge", 0, enough);
    b.compute(fillers, "move", 0);
    b.place(enough);
    b.compute(left, "shift_right", fillers, 1);
    const done = b.label("fillers are added");
    b.place(again);
    b.jumpIf(left, "eq", 0, done);
    this.#pair();
    b.compute(left, "sub", left, 1);
    b.jump(again);
    b.place(done);
    b.compute(odd, "and", fillers, 1);
    b.jumpIf(odd, "eq", 0, even);
    this.#chmodFiller(0o600);
    b.place(even);
  }

  #carryOut(step: EventStep): void {
    const { builder: b } = this.context;
    const message = this.#message;
    const [directory, current] = [this.#directory, this.#current];
    switch (step.do) {
      case "watch":
        this.#watch(step.wd, step.path, step.mask);
        return;
      case "unwatch":
        b.syscall("inotify_rm_watch", [this.instance, step.wd], { message });
        return;
      case "make":
        if (step.isDirectory) b.syscall("mkdirat", [directory, b.string(step.path), 0o700], { message });
        else {
          b.syscall("openat", [directory, b.string(step.path), openFlags.RDWR | openFlags.CREAT | openFlags.CLOEXEC, 0o600], {
            store: current,
            message,
          });
          b.syscall("close", [current]);
        }
        return;
      case "open":
        b.syscall("openat", [directory, b.string(step.path), step.flags | openFlags.CLOEXEC, 0], { store: current, message });
        return;
      case "read":
        b.syscall("read", [current, this.#buffer, 1], { expect: 1, message });
        return;
      case "write":
        b.syscall("write", [current, this.#buffer, 1], { expect: 1, message });
        return;
      case "list":
        b.syscall("getdents64", [current, this.#buffer, chunk], { message });
        return;
      case "chmod":
        b.syscall("fchmod", [current, 0o700], { message });
        return;
      case "close":
        b.syscall("close", [current]);
        return;
      case "remove":
        b.syscall("unlinkat", [directory, b.string(step.path), step.isDirectory ? AT_REMOVEDIR : 0], { message });
        return;
      case "move":
        b.syscall("renameat2", [directory, b.string(step.path), directory, b.string(step.to), 0], { message });
    }
  }
}

/** Paths that may be left at the end, parents first. */
function leftOvers(steps: readonly EventStep[]): string[] {
  const paths = new Set<string>();
  for (const step of steps) {
    if (step.do === "make") paths.add(step.path);
    else if (step.do === "move") paths.add(step.to);
  }
  return [...paths].sort();
}
