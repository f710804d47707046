// SPDX-License-Identifier: Apache-2.0
/**
 * Settings of control groups that a restore writes, in the order in which it does (Documentation/admin-guide/cgroup-v1 and
 * cgroup-v2.rst of Linux).
 */

/** What every group of a hierarchy of version 1 has. */
const common = ["cgroup.clone_children", "notify_on_release"];

/** Files of which only owner and mode are kept. */
export const membersFiles: ReadonlySet<string> = new Set(["cgroup.procs", "cgroup.threads", "tasks"]);

/** Version 1, by controller. */
const byController: Readonly<Record<string, readonly string[]>> = {
  cpu: ["cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.rt_period_us", "cpu.rt_runtime_us", "cpu.idle"],
  cpuset: [
    "cpuset.cpus",
    "cpuset.mems",
    "cpuset.memory_migrate",
    "cpuset.cpu_exclusive",
    "cpuset.mem_exclusive",
    "cpuset.mem_hardwall",
    "cpuset.memory_spread_page",
    "cpuset.memory_spread_slab",
    "cpuset.sched_load_balance",
    "cpuset.sched_relax_domain_level",
  ],
  memory: [
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.swappiness",
    "memory.soft_limit_in_bytes",
    "memory.move_charge_at_immigrate",
    "memory.oom_control",
    "memory.use_hierarchy",
    "memory.kmem.limit_in_bytes",
    "memory.kmem.tcp.limit_in_bytes",
  ],
  blkio: ["blkio.weight"],
  devices: ["devices.list"],
  net_cls: ["net_cls.classid"],
  net_prio: ["net_prio.ifpriomap"],
  pids: ["pids.max"],
  hugetlb: ["hugetlb.2MB.limit_in_bytes", "hugetlb.1GB.limit_in_bytes"],
};

/** Version 2: the type and what children may use come first. */
const version2 = [
  "cgroup.type",
  "cgroup.subtree_control",
  "cgroup.max.descendants",
  "cgroup.max.depth",
  "cpuset.cpus",
  "cpuset.mems",
  "cpuset.cpus.partition",
  "cpu.weight",
  "cpu.idle",
  "cpu.max",
  "cpu.max.burst",
  "cpu.uclamp.min",
  "cpu.uclamp.max",
  "memory.max",
  "memory.high",
  "memory.low",
  "memory.min",
  "memory.swap.max",
  "memory.swap.high",
  "memory.zswap.max",
  "memory.oom.group",
  "pids.max",
  "io.max",
  "io.weight",
  "io.latency",
  "hugetlb.2MB.max",
  "hugetlb.1GB.max",
  "rdma.max",
  "misc.max",
];

/** Files to look at in the groups of a hierarchy, named as /proc/PID/cgroup does. */
export function propertiesOf(hierarchy: string): readonly string[] {
  if (hierarchy === "") return [...version2, ...membersFiles];
  return [...common, ...hierarchy.split(",").flatMap((controller) => byController[controller] ?? []), ...membersFiles];
}

/** What is written to have a file say `text`; undefined if nothing need be. */
export function valueToWrite(name: string, text: string): string | undefined {
  const value = text.trimEnd();
  switch (name) {
    case "memory.oom_control":
      return /^oom_kill_disable (\d)/m.exec(value)?.[1];
    case "cgroup.subtree_control":
      return value === ""
        ? undefined
        : value
            .split(" ")
            .map((controller) => `+${controller}`)
            .join(" ");
    case "cgroup.type":
      return value === "threaded" ? value : undefined;
    case "cpu.uclamp.min":
    case "cpu.uclamp.max":
    case "cpuset.cpus.partition":
      return value === "member" ? undefined : value;
    default:
      return value;
  }
}

/** The writes that have the file `name` of a group say `value`: file and text each. Values of several lines take one each. */
export function writesOf(name: string, value: string): readonly (readonly [string, string])[] {
  const lines = value.split("\n");
  if (name === "devices.list") return [["devices.deny", "a"], ...lines.map((line) => ["devices.allow", line] as const)];
  return lines.map((line) => [name, line] as const);
}
