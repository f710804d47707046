// SPDX-License-Identifier: Apache-2.0
/** Numbers for descriptors that exist only during the restore: out of the way of every number that the tree has. */
import { rlimitResourceValues } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";

/** An inclusive range of descriptor numbers. */
export interface FdRange {
  readonly first: number;
  readonly last: number;
}

/** Descriptors of the restore. */
export interface HighFds extends FdRange {
  /** From here on are those that outlast the others (LowerContext.keepLast). */
  readonly firstLasting: number;
  /** From here on those that the first process keeps to the end (lasting-fds.ts). */
  readonly firstUntilEnd: number;
  /** From here on the directories of threads, until these are there. */
  readonly firstOfThreads: number;
}

/** close_range's "to the end". */
export const noLimit = 0xffff_ffff;
/** Below, numbers are left to the tree and to the first process. */
const leastFirst = 64;

/**
 * Above all numbers of the tree. Where the hard limit on open files leaves no room there (valgrind keeps its own at the
 * very end of what the limit allows), the first gap between them that is wide enough.
 */
export function chooseHighFds(checkpoint: Checkpoint): HighFds {
  const range = chooseRange(checkpoint);
  const firstLasting = range.first + mostNeeded(checkpoint);
  const firstUntilEnd = firstLasting + mostLasting(checkpoint);
  return { ...range, firstLasting, firstUntilEnd, firstOfThreads: firstUntilEnd + mostUntilEnd(checkpoint) };
}

function chooseRange(checkpoint: Checkpoint): FdRange {
  const { descriptors, epollWatches } = checkpoint.tables;
  // Items of epoll sets are added under their numbers, which may be of descriptors that are gone.
  const highest = Math.max(leastFirst - 1, highestOf(descriptors), highestOf(epollWatches));
  const above = { first: highest + 1, last: noLimit };
  const needed = mostNeeded(checkpoint) + mostLasting(checkpoint) + mostUntilEnd(checkpoint) + ofThreads(checkpoint);
  if (above.first + needed <= leastHardLimit(checkpoint)) return above;
  let first = leastFirst;
  const used = [...new Set([...descriptors, ...epollWatches].map(({ fd }) => fd))].sort((a, b) => a - b);
  for (const number of used) {
    if (number - first >= needed) return { first, last: number - 1 };
    first = Math.max(first, number + 1);
  }
  return above;
}

function highestOf(rows: readonly { readonly fd: number }[]): number {
  let highest = -1;
  for (let index = 0; index < rows.length; index++) highest = Math.max(highest, rows[index]?.fd ?? -1);
  return highest;
}

/** More descriptors than a restore holds at once: what is open, mapped or stood in, each perhaps twice, and a few. */
function mostNeeded({ tables }: Checkpoint): number {
  const { files, objects, tasks, sockets, pipes, cgroups, threadDirectories } = tables;
  const directories = tasks.length + threadDirectories.length;
  return 64 + 2 * (files.length + objects.length + directories + 2 * sockets.length + 2 * pipes.length + cgroups.length);
}

/** What is kept for `settle`: files with marks, and nameless inodes that these name. */
function mostLasting({ tables }: Checkpoint): number {
  const { files, objects } = tables;
  const marked = files.filter(({ kind }) => kind === "inotify" || kind === "fanotify").length;
  return marked === 0 ? 0 : marked + objects.length;
}

/**
 * What leads to the pager; every TCP connection, and a netlink socket; the control groups of threads that are not in those of their
 * leader.
 */
function mostUntilEnd({ tables }: Checkpoint): number {
  const { cgroupMembers, threads } = tables;
  const leaders = new Set<number>();
  const tasks = new Set<number>();
  for (const [index, { task }] of threads.entries()) {
    if (tasks.has(task)) continue;
    tasks.add(task);
    leaders.add(index);
  }
  const groupsOfLeaders = new Set(cgroupMembers.flatMap(({ thread, cgroup }) => (leaders.has(thread) ? [cgroup] : [])));
  const apart = cgroupMembers.filter(({ thread, cgroup }) => !leaders.has(thread) && !groupsOfLeaders.has(cgroup)).length;
  const ofPager = tables.extents.length > 0 ? 1 : 0;
  return ofPager + apart + mostConnections({ tables });
}

const ofThreads = ({ tables }: Checkpoint): number => 2 * tables.threadDirectories.length;

function mostConnections({ tables }: Pick<Checkpoint, "tables">): number {
  return tables.tcpConnections.length === 0 && tables.networkLocks.length === 0 ? 0 : tables.tcpConnections.length + 1;
}

function leastHardLimit({ tables }: Checkpoint): number {
  const limits = tables.rlimits.filter(({ resource }) => rlimitResourceValues[resource] === rlimitResourceValues.nofile);
  return limits.reduce((least, { hard }) => (hard < BigInt(least) ? Number(hard) : least), noLimit);
}
