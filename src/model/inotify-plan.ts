// SPDX-License-Identifier: Apache-2.0
/**
 * How a queue of inotify events comes to be again. The kernel lets nobody put events into a queue, but it tells what
 * happens: each watch is for the moment on a stand-in, a file or directory of crimg's own, with which is done what the
 * event tells. Pure: steps, which the restore program (kinds/inotify/lower-events.ts) or the dump itself carries out.
 */

/** IN_* of linux/inotify.h. */
export const IN = {
  access: 0x1,
  modify: 0x2,
  attrib: 0x4,
  closeWrite: 0x8,
  closeNowrite: 0x10,
  open: 0x20,
  movedFrom: 0x40,
  movedTo: 0x80,
  create: 0x100,
  delete: 0x200,
  deleteSelf: 0x400,
  moveSelf: 0x800,
  unmount: 0x2000,
  overflow: 0x4000,
  ignored: 0x8000,
  dontFollow: 0x0200_0000,
  isdir: 0x4000_0000,
  oneshot: 0x8000_0000,
} as const;

/** A watch that tells nothing. */
export const silent: number = IN.dontFollow;

export interface QueuedEvent {
  readonly wd: number;
  readonly mask: number;
  readonly cookie: number;
  readonly name: string;
}

/** Flags of open(2). */
const [RDONLY, WRONLY] = [0, 1];

/** One step. Paths are relative to a directory of crimg's own. `open` makes the descriptor that the next steps use. */
export type EventStep =
  /** Watches `path` under that number, or changes the mask of the watch. */
  | { readonly do: "watch"; readonly wd: number; readonly path: string; readonly mask: number }
  | { readonly do: "unwatch"; readonly wd: number }
  | { readonly do: "make"; readonly path: string; readonly isDirectory: boolean }
  | { readonly do: "open"; readonly path: string; readonly flags: number }
  | { readonly do: "read" | "write" | "list" | "chmod" | "close" }
  | { readonly do: "remove"; readonly path: string; readonly isDirectory: boolean }
  | { readonly do: "move"; readonly path: string; readonly to: string };

export interface EventPlan {
  readonly steps: readonly EventStep[];
  /** Events that the steps queue. */
  readonly count: number;
  /** Numbers whose stand-ins are still watched at the end. */
  readonly watched: readonly number[];
  /** IN_Q_OVERFLOW was among the events: it comes last. */
  readonly hasOverflow: boolean;
}

/** More are not put back one by one: what follows is told as an overflow. */
const mostEvents = 4096;
const types = [
  IN.access,
  IN.modify,
  IN.attrib,
  IN.closeWrite,
  IN.closeNowrite,
  IN.open,
  IN.movedFrom,
  IN.movedTo,
  IN.create,
  IN.delete,
  IN.deleteSelf,
  IN.moveSelf,
  IN.ignored,
];

/** A stand-in: what is watched for the moment under one number. */
class StandIn {
  /** Names in it, and whether they are directories. */
  readonly entries = new Map<string, boolean>();
  isWatched = false;
  isGone = false;

  constructor(
    readonly wd: number,
    readonly path: string,
    readonly isDirectory: boolean,
  ) {}

  at(name: string): string {
    return name === "" ? this.path : `${this.path}/${name}`;
  }
}

/** Plans the steps for a queue, oldest event first. */
export function planEvents(events: readonly QueuedEvent[]): EventPlan {
  return new Planner(events).plan();
}

class Planner {
  readonly #steps: EventStep[] = [];
  readonly #standIns = new Map<number, StandIn>();
  #count = 0;
  #numMade = 0;

  constructor(readonly events: readonly QueuedEvent[]) {}

  plan(): EventPlan {
    const told = this.events.filter(({ mask }) => (mask & (IN.overflow | IN.unmount)) === 0);
    const queued = told.slice(0, mostEvents);
    for (let at = 0; at < queued.length; ) at += this.#add(queued, at);
    const watched = [...this.#standIns.values()].filter(({ isWatched }) => isWatched).map(({ wd }) => wd);
    const hasOverflow = queued.length < told.length || this.events.some(({ mask }) => (mask & IN.overflow) !== 0);
    return { steps: this.#steps, count: this.#count, watched, hasOverflow };
  }

  /** Adds the event at `at`, or the two halves of a rename. Returns how many. */
  #add(events: readonly QueuedEvent[], at: number): number {
    const event = events[at];
    const next = events[at + 1];
    if (event === undefined) return 1;
    const isPair =
      next !== undefined &&
      event.cookie !== 0 &&
      event.cookie === next.cookie &&
      (event.mask & IN.movedFrom) !== 0 &&
      (next.mask & IN.movedTo) !== 0;
    if (isPair) {
      this.#rename(event, next);
      return 2;
    }
    for (const type of types) if ((event.mask & type) !== 0) this.#one(event, type);
    return 1;
  }

  #step(step: EventStep): void {
    this.#steps.push(step);
  }

  #standInOf({ wd }: QueuedEvent): StandIn {
    const known = this.#standIns.get(wd);
    if (known !== undefined) return known;
    const isDirectory = this.events.some((event) => event.wd === wd && (event.name !== "" || (event.mask & IN.isdir) !== 0));
    const made = new StandIn(wd, `w${wd}`, isDirectory);
    this.#standIns.set(wd, made);
    this.#step({ do: "make", path: made.path, isDirectory });
    this.#watch(made, silent);
    return made;
  }

  #watch(standIn: StandIn, mask: number): void {
    if (standIn.isGone) return;
    standIn.isWatched = true;
    this.#step({ do: "watch", wd: standIn.wd, path: standIn.path, mask });
  }

  /** What `build` does is told as events of that type. */
  #telling(standIn: StandIn, type: number, build: () => void): void {
    this.#count++;
    this.#watch(standIn, type | silent);
    build();
    if (standIn.isWatched) this.#watch(standIn, silent);
  }

  /** Makes an entry unless it is there. */
  #ensure(standIn: StandIn, name: string, isDirectory: boolean): void {
    if (name === "" || standIn.entries.get(name) === isDirectory) return;
    this.#forget(standIn, name);
    this.#step({ do: "make", path: standIn.at(name), isDirectory });
    standIn.entries.set(name, isDirectory);
  }

  /** Removes an entry if it is there. */
  #forget(standIn: StandIn, name: string): void {
    const isDirectory = standIn.entries.get(name);
    if (isDirectory === undefined) return;
    this.#step({ do: "remove", path: standIn.at(name), isDirectory });
    standIn.entries.delete(name);
  }

  #fresh(): string {
    return `n${this.#numMade++}`;
  }

  #one(event: QueuedEvent, type: number): void {
    const standIn = this.#standInOf(event);
    if (standIn.isGone) return;
    const { name } = event;
    const isDirectory = name === "" ? standIn.isDirectory : (event.mask & IN.isdir) !== 0;
    const path = standIn.at(name);
    const step = (...steps: readonly EventStep[]): void => {
      for (const one of steps) this.#step(one);
    };
    const opened = (flags: number, before: readonly EventStep[], told: EventStep, after: readonly EventStep[]): void => {
      this.#ensure(standIn, name, isDirectory);
      step({ do: "open", path, flags }, ...before);
      this.#telling(standIn, type, () => step(told));
      step(...after);
    };
    const close: EventStep = { do: "close" };
    switch (type) {
      case IN.access:
        if (!isDirectory) {
          this.#ensure(standIn, name, false);
          step({ do: "open", path, flags: WRONLY }, { do: "write" }, close);
        }
        opened(RDONLY, [], { do: isDirectory ? "list" : "read" }, [close]);
        return;
      case IN.modify:
        opened(WRONLY, [], { do: "write" }, [close]);
        return;
      case IN.attrib:
        opened(RDONLY, [], { do: "chmod" }, [close]);
        return;
      case IN.closeWrite:
        opened(WRONLY, [], close, []);
        return;
      case IN.closeNowrite:
        opened(RDONLY, [], close, []);
        return;
      case IN.open:
        this.#ensure(standIn, name, isDirectory);
        this.#telling(standIn, type, () => step({ do: "open", path, flags: RDONLY }));
        step(close);
        return;
      case IN.create:
        this.#forget(standIn, name);
        this.#telling(standIn, type, () => step({ do: "make", path, isDirectory }));
        standIn.entries.set(name, isDirectory);
        return;
      case IN.delete:
        this.#ensure(standIn, name, isDirectory);
        this.#telling(standIn, type, () => step({ do: "remove", path, isDirectory }));
        standIn.entries.delete(name);
        return;
      case IN.movedFrom:
        this.#ensure(standIn, name, isDirectory);
        this.#telling(standIn, type, () => step({ do: "move", path, to: this.#fresh() }));
        standIn.entries.delete(name);
        return;
      case IN.movedTo: {
        const from = this.#fresh();
        this.#forget(standIn, name);
        step({ do: "make", path: from, isDirectory });
        this.#telling(standIn, type, () => step({ do: "move", path: from, to: path }));
        standIn.entries.set(name, isDirectory);
        return;
      }
      case IN.moveSelf: {
        const other = this.#fresh();
        this.#count++;
        this.#watch(standIn, type | silent);
        step({ do: "move", path: standIn.path, to: other });
        // Back again in silence: its name is that of the watch.
        step({ do: "watch", wd: standIn.wd, path: other, mask: silent }, { do: "move", path: other, to: standIn.path });
        return;
      }
      case IN.deleteSelf:
        for (const entry of [...standIn.entries.keys()]) this.#forget(standIn, entry);
        // The kernel queues IN_IGNORED itself.
        this.#count += 2;
        this.#watch(standIn, type | silent);
        step({ do: "remove", path: standIn.path, isDirectory: standIn.isDirectory });
        standIn.isWatched = false;
        standIn.isGone = true;
        return;
      default:
        this.#count++;
        step({ do: "unwatch", wd: standIn.wd });
        standIn.isWatched = false;
        standIn.isGone = true;
    }
  }

  /** A rename from one watched directory into another, or in one. */
  #rename(from: QueuedEvent, to: QueuedEvent): void {
    const [source, target] = [this.#standInOf(from), this.#standInOf(to)];
    const isDirectory = (from.mask & IN.isdir) !== 0;
    if (source.isGone || target.isGone || (source === target && from.name === to.name)) return;
    this.#forget(target, to.name);
    this.#ensure(source, from.name, isDirectory);
    this.#count += 2;
    if (source === target) this.#watch(source, IN.movedFrom | IN.movedTo | silent);
    else {
      this.#watch(source, IN.movedFrom | silent);
      this.#watch(target, IN.movedTo | silent);
    }
    this.#step({ do: "move", path: source.at(from.name), to: target.at(to.name) });
    this.#watch(source, silent);
    this.#watch(target, silent);
    source.entries.delete(from.name);
    target.entries.set(to.name, isDirectory);
  }
}
