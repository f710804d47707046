// SPDX-License-Identifier: Apache-2.0
/**
 * Control groups with --manage-cgroups: where each thread is, the groups below, and their settings. A hierarchy in which
 * the whole tree is where crimg is as well is only noted: a resume leaves the tree where it is resumed.
 */
import { decodeText } from "../bytes/text.js";
import { type CgroupMode, cgroupMemberRow, cgroupPolicyRow, cgroupPropertyRow, cgroupRow } from "../gen/tables.js";
import { close, cString, failed, openFlag, tryCall, tryListDirectory, tryOpen, tryReadSmall, tryStat } from "../native/index.js";
import { membersFiles, propertiesOf, valueToWrite } from "../linux/cgroup-properties.js";
import { rootFor } from "../model/cgroup-root.js";
import { groupsTold } from "./cgroups.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { refusal } from "./refusal.js";

export interface KeepCgroups {
  readonly mode: CgroupMode;
  /** `[CONTROLLER:]PATH` each. */
  readonly roots: readonly string[];
}

const flag = { threaded: 1, above: 2, dumpers: 4 } as const;
/** More groups below those of the tree are not looked at. */
const mostGroups = 2000;
const [FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE] = [0, 1, 6];

/** `4:memory:/a` → memory → /a, of /proc/PID/cgroup (cgroups(7)). */
function groupsOf(told: Buffer | undefined): Map<string, string> {
  const lines = decodeText(told ?? Buffer.alloc(0)).split("\n");
  const groups = new Map<string, string>();
  for (const line of lines) {
    const [, hierarchy, group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (hierarchy !== undefined && group !== undefined) groups.set(hierarchy, group);
  }
  return groups;
}

/** Adds the rows of all groups; `threadRows` are the rows of the threads of each process. */
export function collectCgroups(
  context: DumpContext,
  processes: readonly (readonly [DumpedProcess, readonly number[]])[],
  { mode, roots }: KeepCgroups,
): void {
  const ours = groupsOf(tryReadSmall("/proc/self/cgroup"));
  const members = processes.flatMap(([process, rows]) =>
    process.frozen.threads.map(({ tid }, index) => ({
      thread: rows[index] ?? 0,
      tid,
      groups: groupsOf(groupsTold(process, tid)),
    })),
  );
  for (const hierarchy of new Set(members.flatMap(({ groups }) => [...groups.keys()]))) {
    const root = rootFor(hierarchy, roots);
    const isDumpers = root === undefined && members.every(({ groups }) => groups.get(hierarchy) === ours.get(hierarchy));
    const collector = new HierarchyCollector(context, hierarchy, root ?? "", isDumpers);
    try {
      for (const { thread, tid, groups } of members) {
        const path = groups.get(hierarchy);
        if (path === undefined) continue;
        if (root !== undefined && path !== root && !path.startsWith(`${root}/`)) {
          throw refusal("cgroup-root", `thread ${tid} is in the control group ${hierarchy}:${path}, which is not below ${root}`, {
            hint: "Name another --cgroup-root.",
          });
        }
        const cgroup = collector.add(path.slice((root ?? "").length) || "/");
        context.tables.cgroupMembers.push(cgroupMemberRow({ thread, cgroup }));
      }
      if (!isDumpers) collector.addBelow();
    } finally {
      collector.close();
    }
  }
  context.tables.cgroupPolicies.push(cgroupPolicyRow({ mode }));
}

class HierarchyCollector {
  readonly #rows = new Map<string, number>();
  readonly #heads = new Set<string>();
  readonly #fd: number;
  readonly #mount: string;

  constructor(
    private readonly context: DumpContext,
    private readonly hierarchy: string,
    private readonly root: string,
    private readonly isDumpers: boolean,
  ) {
    this.#mount = mountPointOf(hierarchy);
    this.#fd = isDumpers ? -1 : this.#mount === "" ? mountHierarchy(hierarchy) : tryOpen(this.#mount, openFlag.PATH | openFlag.DIRECTORY);
  }

  close(): void {
    if (this.#fd >= 0) close(this.#fd);
  }

  /** The row of a group that a thread is in. */
  add(path: string): number {
    this.#heads.add(path);
    for (const above of pathsAbove(path)) this.#addOne(above, flag.above);
    const row = this.#addOne(path, 0);
    const { cgroups } = this.context.tables;
    const known = cgroups[row];
    if (known !== undefined && (known.flags & flag.above) !== 0) cgroups[row] = { ...known, flags: known.flags & ~flag.above };
    return row;
  }

  /** Rows of the groups below those of the tree, or below the root that was named. */
  addBelow(): void {
    const queue = this.root === "" ? [...this.#heads].filter((path) => path !== "/") : ["/"];
    for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
      const names = tryListDirectory(this.#fileOf(path, ""));
      for (const name of typeof names === "number" ? [] : names) {
        const below = `${path === "/" ? "" : path}/${name}`;
        const stat = tryStat(this.#fileOf(below, ""));
        if (typeof stat === "number" || (stat.mode & 0o170000) !== 0o040000 || this.#rows.size >= mostGroups) continue;
        this.#addOne(below, 0);
        queue.push(below);
      }
    }
  }

  #fileOf(path: string, name: string): string {
    return `/proc/self/fd/${this.#fd}${this.root}${path}/${name}`;
  }

  #addOne(path: string, flags: number): number {
    const known = this.#rows.get(path);
    if (known !== undefined) return known;
    const { cgroups } = this.context.tables;
    const { hierarchy, root } = this;
    const common = { hierarchy, root, path, mount: this.#mount };
    if (this.isDumpers) {
      const row = cgroups.push(cgroupRow({ ...common, flags: flags | flag.dumpers })) - 1;
      this.#rows.set(path, row);
      return row;
    }
    const stat = tryStat(this.#fileOf(path, ""));
    const { mode, uid, gid } = typeof stat === "number" ? { mode: 0o40755, uid: 0, gid: 0 } : stat;
    const type = decodeText(tryReadSmall(this.#fileOf(path, "cgroup.type")) ?? Buffer.alloc(0)).trim();
    const isThreaded = type === "threaded" ? flag.threaded : 0;
    const row = cgroups.push(cgroupRow({ ...common, mode, uid, gid, flags: flags | isThreaded })) - 1;
    this.#rows.set(path, row);
    if (`${root}${path}` !== "/") this.#addProperties(row, path);
    return row;
  }

  #addProperties(cgroup: number, path: string): void {
    for (const name of propertiesOf(this.hierarchy)) {
      const stat = tryStat(this.#fileOf(path, name));
      if (typeof stat === "number") continue;
      const text = membersFiles.has(name) ? undefined : tryReadSmall(this.#fileOf(path, name));
      const value = text === undefined ? "" : valueToWrite(name, decodeText(text));
      if (value === undefined) continue;
      const { mode, uid, gid } = stat;
      this.context.tables.cgroupProperties.push(cgroupPropertyRow({ cgroup, name, value, mode, uid, gid }));
    }
  }
}

/** `/a/b/c` → `/a`, `/a/b`. */
function pathsAbove(path: string): string[] {
  const names = path.split("/").filter(Boolean);
  return names.slice(0, -1).map((_, index) => `/${names.slice(0, index + 1).join("/")}`);
}

/** Where a hierarchy is mounted as a whole; empty for nowhere. */
function mountPointOf(hierarchy: string): string {
  const table = decodeText(tryReadSmall("/proc/self/mountinfo") ?? Buffer.alloc(0));
  for (const line of table.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root, path = ""] = before.split(" ");
    const [type, , options = ""] = after.split(" ");
    if (root !== "/") continue;
    if (hierarchy === "" && type === "cgroup2") return path;
    const words = new Set(options.split(","));
    if (hierarchy !== "" && type === "cgroup" && hierarchy.split(",").every((word) => words.has(word))) return path;
  }
  return "";
}

/** Mounts a hierarchy where nobody sees it: fsopen(2). Returns the descriptor. */
function mountHierarchy(hierarchy: string): number {
  const context = tryCall("fsopen", cString(hierarchy === "" ? "cgroup2" : "cgroup"), 1);
  try {
    const words = hierarchy === "" ? [] : hierarchy.split(",");
    if (words.length > 0 && words.every((word) => word.startsWith("name=")))
      tryCall("fsconfig", context, FSCONFIG_SET_FLAG, cString("none"), null, 0);
    for (const word of words) {
      if (word.startsWith("name=")) tryCall("fsconfig", context, FSCONFIG_SET_STRING, cString("name"), cString(word.slice(5)), 0);
      else tryCall("fsconfig", context, FSCONFIG_SET_FLAG, cString(word), null, 0);
    }
    tryCall("fsconfig", context, FSCONFIG_CMD_CREATE, null, null, 0);
    const fd = tryCall("fsmount", context, 1, 0);
    if (!failed(fd)) return fd;
    throw refusal(
      "cgroup",
      `the control groups ${hierarchy === "" ? "of version 2" : hierarchy} are mounted nowhere, and cannot be mounted here`,
      {
        hint: "Run crimg as root, or leave them out: --manage-cgroups=ignore.",
      },
    );
  } finally {
    close(context);
  }
}
