// SPDX-License-Identifier: Apache-2.0
/**
 * Control groups: the first process finds or makes them, each in its hierarchy, which it mounts for itself; a process
 * enters those of its first thread before it gets its memory, so that the memory counts there; threads in other groups
 * are moved when all are ready. Nothing of it happens in a rehearsal: groups are there for all to see.
 */
import { posix } from "node:path";
import { type CgroupMode, type CgroupPropertyRow, type CgroupRow, cgroupFlagsBits } from "../gen/tables.js";
import { writesOf } from "../linux/cgroup-properties.js";
import { AT, ERRNO, O } from "./constants.js";
import type { Lowering } from "./lowering.js";
import type { Slot } from "./operands.js";

const [FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE] = [0, 1, 6];
const hint = "resume as root; --manage-cgroups=ignore leaves the tree in the groups of whoever resumes it";

/** Which groups are made, whose settings are written, and which may exist. */
const policies: Readonly<
  Record<CgroupMode, { readonly makes: boolean; readonly sets: "never" | "made" | "always"; readonly mayExist: boolean }>
> = {
  none: { makes: false, sets: "never", mayExist: true },
  props: { makes: false, sets: "always", mayExist: true },
  soft: { makes: true, sets: "made", mayExist: true },
  full: { makes: true, sets: "always", mayExist: true },
  strict: { makes: true, sets: "always", mayExist: false },
};

export class CgroupLowering {
  readonly #hierarchies = new Map<string, Slot>();
  /** By row of cgroups: its directory. */
  readonly #directories = new Map<number, Slot>();

  private constructor(
    private readonly l: Lowering,
    private readonly mode: CgroupMode,
  ) {}

  static of(l: Lowering): CgroupLowering | undefined {
    const policy = l.checkpoint.tables.cgroupPolicies[0];
    return policy === undefined ? undefined : new CgroupLowering(l, policy.mode);
  }

  /** A group that the tree is put into: not one in which it is where it was dumped from, unless a root was named. */
  #isMeant(row: CgroupRow): boolean {
    return (row.flags & cgroupFlagsBits.dumpers) === 0 || row.root !== "";
  }

  /** Ops of the first process, before any fork. */
  make(): void {
    const { cgroups } = this.l.checkpoint.tables;
    this.l.builder.outside(() => {
      for (const [index, row] of cgroups.entries()) {
        if (!this.#isMeant(row)) continue;
        const hierarchy = this.#hierarchies.get(row.hierarchy) ?? this.#openHierarchy(row);
        this.#hierarchies.set(row.hierarchy, hierarchy);
        this.#makeOne(index, row, hierarchy);
      }
    });
    this.#moveThreads();
  }

  #nameOf({ hierarchy, root, path }: CgroupRow): string {
    return `control group ${hierarchy === "" ? "" : `${hierarchy}:`}${root}${path}`;
  }

  /** Mounts the hierarchy where nobody sees it; without the right to that, where it was mounted. */
  #openHierarchy(row: CgroupRow): Slot {
    const b = this.l.builder;
    const { hierarchy, mount } = row;
    const [slot, context] = [b.slot(`hierarchy ${hierarchy}`), b.slot(`hierarchy ${hierarchy} to be`)];
    const [cannot, done] = [b.label("cannot mount"), b.label("hierarchy is open")];
    const words = hierarchy === "" ? [] : hierarchy.split(",");
    b.syscall("fsopen", [b.string(hierarchy === "" ? "cgroup2" : "cgroup"), 1], { store: context, orElse: cannot });
    const configure = (command: number, key: string, value?: string): void =>
      b.syscall("fsconfig", [context, command, key === "" ? 0 : b.string(key), value === undefined ? 0 : b.string(value), 0], {
        orElse: cannot,
      });
    if (words.length > 0 && words.every((word) => word.startsWith("name="))) configure(FSCONFIG_SET_FLAG, "none");
    for (const word of words) {
      if (word.startsWith("name=")) configure(FSCONFIG_SET_STRING, "name", word.slice(5));
      else configure(FSCONFIG_SET_FLAG, word);
    }
    configure(FSCONFIG_CMD_CREATE, "");
    b.syscall("fsmount", [context, 1, 0], { store: slot, orElse: cannot });
    b.syscall("close", [context]);
    b.jump(done);
    b.place(cannot);
    b.syscall("openat", [AT.fdcwd, b.string(mount === "" ? "/sys/fs/cgroup" : mount), O.path | O.directory | O.cloexec, 0], {
      store: slot,
      message: `reach the control groups ${hierarchy === "" ? "of version 2" : hierarchy}`,
      hint,
    });
    b.place(done);
    this.l.keepHigh(slot);
    return slot;
  }

  #makeOne(index: number, row: CgroupRow, hierarchy: Slot): void {
    const b = this.l.builder;
    const { makes, sets, mayExist } = policies[this.mode];
    const { cgroupProperties, cgroupMembers, cgroups } = this.l.checkpoint.tables;
    const full = `${row.root}${row.path}`.replace(/\/$/, "");
    const relative = full === "" ? "." : full.slice(1);
    const name = this.#nameOf(row);
    const made = b.slot(`result of making ${name}`);
    b.compute(made, "move", -ERRNO.exist);
    if (makes && relative !== ".") {
      const roots = row.root.split("/").filter(Boolean);
      roots.forEach((_, depth) => {
        const above = posix.join(...roots.slice(0, depth + 1));
        const isNew = b.slot(`result of making ${above}`);
        b.syscall("mkdirat", [hierarchy, b.string(above), 0o755], { store: isNew, expect: "any" });
        this.#fillCpuset(row, hierarchy, above, isNew);
      });
      const isAbove = (row.flags & cgroupFlagsBits.above) !== 0;
      const isRoot = row.path === "/";
      b.syscall("mkdirat", [hierarchy, b.string(relative), 0o755], {
        store: made,
        expect: mayExist || isAbove || isRoot ? [0, -ERRNO.exist] : 0,
        message: `make ${name}`,
        hint: mayExist ? hint : "it must not exist with --manage-cgroups=strict",
      });
    }
    if (makes && relative !== ".") this.#fillCpuset(row, hierarchy, relative, made);
    const isMade = b.label("group is made");
    const after = b.label("group is set");
    b.jumpIf(made, "eq", 0, isMade);
    if (sets !== "always") b.jump(after);
    b.place(isMade);
    const properties = cgroupProperties.filter(({ cgroup }) => cgroup === index);
    if (sets !== "never" && full !== "") for (const property of properties) this.#set(hierarchy, relative, property, name);
    const given = b.label("owner is given");
    b.jumpIf(made, "ne", 0, given);
    b.syscall("fchmodat", [hierarchy, b.string(relative), row.mode & 0o7777], { expect: "any" });
    b.syscall("fchownat", [hierarchy, b.string(relative), row.uid, row.gid, 0], { expect: "any" });
    b.place(given);
    b.place(after);
    const isUsed =
      cgroupMembers.some(({ cgroup }) => cgroup === index) || cgroups.some((other) => (other.flags & cgroupFlagsBits.threaded) !== 0);
    if (!isUsed) return;
    const slot = b.slot(name);
    b.syscall("openat", [hierarchy, b.string(relative), O.path | O.directory | O.cloexec, 0], {
      store: slot,
      message: `open ${name}`,
      hint: makes ? hint : `it must exist with --manage-cgroups=${this.mode}`,
    });
    this.l.keepHigh(slot);
    this.#directories.set(index, slot);
  }

  /** Writes a setting, unless it is as it should be. */
  #set(hierarchy: Slot, directory: string, { name, value, mode, uid, gid }: CgroupPropertyRow, group: string): void {
    const b = this.l.builder;
    if (value !== "") this.#writeSetting(hierarchy, directory, name, value, group);
    if (mode === 0) return;
    b.syscall("fchmodat", [hierarchy, b.string(`${directory}/${name}`), mode & 0o7777], { expect: "any" });
    b.syscall("fchownat", [hierarchy, b.string(`${directory}/${name}`), uid, gid, 0], { expect: "any" });
  }

  #writeSetting(hierarchy: Slot, directory: string, name: string, value: string, group: string): void {
    const b = this.l.builder;
    const [file, done, write] = [b.slot(`${name} of ${group}`), b.label("is set"), b.label("is to be set")];
    const message = `set ${name} of ${group} to ${value.replaceAll("\n", "; ").slice(0, 80)}`;
    const wanted = Buffer.from(`${value}\n`);
    const found = b.buffer(wanted.length + 1);
    b.syscall("openat", [hierarchy, b.string(`${directory}/${name}`), O.rdonly | O.cloexec, 0], { store: file, orElse: write });
    const got = b.slot(`what ${name} is`);
    b.syscall("read", [file, found, wanted.length + 1], { store: got, expect: "any" });
    b.syscall("close", [file]);
    b.jumpIf(got, "ne", wanted.length, write);
    b.compare(found, b.bytes(wanted, 1), wanted.length, { orElse: write });
    b.jump(done);
    b.place(write);
    for (const [target, text] of writesOf(name, value)) {
      const bytes = Buffer.from(text);
      b.syscall("openat", [hierarchy, b.string(`${directory}/${target}`), O.wronly | O.cloexec, 0], { store: file, message, hint });
      b.syscall("write", [file, b.bytes(bytes, 1), bytes.length], { expect: bytes.length, message, hint });
      b.syscall("close", [file]);
    }
    b.place(done);
  }

  /** Nobody may enter a new cpuset of version 1 before it has processors and memory: those of the one above, for a start. */
  #fillCpuset({ hierarchy: name }: CgroupRow, hierarchy: Slot, directory: string, made: Slot): void {
    if (!name.split(",").includes("cpuset")) return;
    const b = this.l.builder;
    const done = b.label("cpuset is filled");
    const [file, length, text] = [b.slot("file of a cpuset"), b.slot("length of a list"), b.buffer(4096)];
    b.jumpIf(made, "ne", 0, done);
    for (const what of ["cpuset.cpus", "cpuset.mems"]) {
      const message = `fill the ${what} of control group ${name}:/${directory}`;
      b.syscall("openat", [hierarchy, b.string(posix.join(posix.dirname(directory), what)), O.rdonly | O.cloexec, 0], {
        store: file,
        message,
      });
      b.syscall("read", [file, text, 4096], { store: length, message });
      b.syscall("close", [file]);
      b.syscall("openat", [hierarchy, b.string(`${directory}/${what}`), O.wronly | O.cloexec, 0], { store: file, message });
      b.syscall("write", [file, text, length], { message });
      b.syscall("close", [file]);
    }
    b.place(done);
  }

  /** Groups of a thread, with their directories. */
  #groupsOf(thread: number): (readonly [number, CgroupRow])[] {
    const { cgroupMembers, cgroups } = this.l.checkpoint.tables;
    return cgroupMembers.flatMap((member) => {
      const row = cgroups[member.cgroup];
      return member.thread === thread && row !== undefined && this.#isMeant(row) ? [[member.cgroup, row] as const] : [];
    });
  }

  /** The nearest group above a threaded one that processes can be in. */
  #domainOf({ hierarchy, path }: CgroupRow): number | undefined {
    const { cgroups } = this.l.checkpoint.tables;
    let best: number | undefined;
    for (const [index, row] of cgroups.entries()) {
      const isAbove = row.hierarchy === hierarchy && path.startsWith(row.path === "/" ? "/" : `${row.path}/`);
      if (!isAbove || (row.flags & cgroupFlagsBits.threaded) !== 0) continue;
      if (best === undefined || row.path.length > (cgroups[best]?.path.length ?? 0)) best = index;
    }
    return best;
  }

  /** Ops of a task, alone in its process: enters the groups of its first thread. */
  enter(task: number): void {
    const b = this.l.builder;
    const [leader] = this.l.checkpoint.threadsOf(task);
    const groups = leader === undefined ? [] : this.#groupsOf(leader);
    if (groups.length === 0) return;
    b.outside(() => {
      for (const [index, row] of groups) {
        const isThreaded = (row.flags & cgroupFlagsBits.threaded) !== 0;
        const domain = isThreaded ? this.#domainOf(row) : undefined;
        if (domain !== undefined) this.#write(domain, "cgroup.procs", row);
        this.#write(index, isThreaded ? "cgroup.threads" : "cgroup.procs", row);
      }
    });
  }

  #write(index: number, name: string, row: CgroupRow): void {
    const b = this.l.builder;
    const directory = this.#directories.get(index);
    if (directory === undefined) return;
    const file = b.slot(`${name} of a group`);
    const message = `enter ${this.#nameOf(row)}`;
    b.syscall("openat", [directory, b.string(name), O.wronly | O.cloexec, 0], { store: file, message, hint });
    b.syscall("write", [file, b.string("0"), 1], { message, hint });
    b.syscall("close", [file]);
  }

  /** Threads in other groups than the first of their process. */
  #moveThreads(): void {
    const { l } = this;
    const { tables } = l.checkpoint;
    for (const [thread, { task, tid }] of tables.threads.entries()) {
      const [leader] = l.checkpoint.threadsOf(task);
      if (leader === undefined || leader === thread) continue;
      const own = new Set(this.#groupsOf(leader).map(([index]) => index));
      for (const [index, row] of this.#groupsOf(thread)) {
        const directory = this.#directories.get(index);
        if (own.has(index) || directory === undefined) continue;
        l.untilEnd([directory], ([fd = -1]) => {
          const b = l.builder;
          const message = `put thread ${tid} into ${this.#nameOf(row)}`;
          const [file, length, text] = [b.slot("tasks of a group"), b.slot("length of an id"), b.buffer(16)];
          b.outside(() => {
            b.format(text, "", l.threadShared(thread).u4, "", { store: length });
            b.syscall("openat", [fd, b.string(row.hierarchy === "" ? "cgroup.threads" : "tasks"), O.wronly | O.cloexec, 0], {
              store: file,
              message,
              hint,
            });
            b.syscall("write", [file, text, length], { message, hint });
            b.syscall("close", [file]);
          });
        });
      }
    }
  }
}
