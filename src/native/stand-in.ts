// SPDX-License-Identifier: Apache-2.0
/**
 * A process that runs on while it is still being collected, and the fork of it that answers for it: the fork has the same memory,
 * program, directories and namespaces, and stands still. What else was to be asked has been asked before. Whoever asks the process
 * itself all the same is told so here, rather than get an answer of another moment.
 */
import type { FileStat } from "./files.js";
import type { SyscallName } from "../linux/syscall-numbers.js";

/** Something was asked of a process that runs on, and nobody else knows it. */
export class NotAsked extends Error {}

export interface StandIn {
  readonly pid: number;
  /** Its threads, the first included. */
  readonly tids: ReadonlySet<number>;
  readonly fork: number;
  /** What files of /proc said while it stood still, by path. */
  readonly told: ReadonlyMap<string, Buffer>;
  /** What stat said of files meanwhile that it may have changed since, by path; −errno. */
  readonly files: ReadonlyMap<string, FileStat | number>;
  /** Extended states of threads while they stood still. */
  readonly xstates: ReadonlyMap<number, Buffer>;
}

let current: StandIn | undefined;

/** From here on this one answers; undefined: nobody. */
export function letAnswer(standIn: StandIn | undefined): void {
  current = standIn;
}

/** What is below /proc/PID and the same for a fork. */
const sameOfFork = /^(maps|smaps|numa_maps|pagemap|mem|auxv|exe|cwd|root|(map_files|ns|root)\/.*)$/;

/** The path that is to be looked at instead of this one. @throws NotAsked */
export function pathAsked(path: string): string {
  if (current === undefined || !path.startsWith("/proc/")) return path;
  const [, , id = "", ...rest] = path.split("/");
  const { pid, tids, fork } = current;
  const number = Number(id);
  if (number !== pid && !tids.has(number)) return path;
  const isOfThread = rest[0] === "task" && rest.length > 1;
  const name = (isOfThread ? rest.slice(2) : rest).join("/");
  const tid = isOfThread ? Number(rest[1]) : number;
  if (tid === pid && sameOfFork.test(name)) return `/proc/${fork}/${name}`;
  throw new NotAsked(path);
}

/** What a file said while the process stood still. */
export function fileTold(path: string): Buffer | undefined {
  return current?.told.get(path);
}

/** What stat said of a file while the process stood still; undefined if it is to be asked. */
export function statTold(path: string): FileStat | number | undefined {
  return current?.files.get(path);
}

/** The extended state of a thread while it stood still; undefined if it is to be asked. */
export function xstateTold(tid: number): Buffer | undefined {
  return current?.xstates.get(tid);
}

/** Whose memory is to be read instead of that of `pid`. */
export function memoryAsked(pid: number): number {
  return pid === current?.pid ? current.fork : pid;
}

/** Where in the arguments of a call a process or thread is named. */
const placesOfIds: Partial<Record<SyscallName, readonly number[]>> = {
  ptrace: [1],
  kcmp: [0, 1],
  kill: [0],
  prlimit64: [0],
  pidfd_open: [0],
  process_vm_writev: [0],
  sched_getattr: [0],
  sched_getaffinity: [0],
  get_robust_list: [0],
  ioprio_get: [1],
};

/** @throws NotAsked if a call is about the process */
export function assertAskable(name: SyscallName, args: readonly unknown[]): void {
  if (current === undefined) return;
  for (const place of placesOfIds[name] ?? []) {
    const id = args[place];
    if (typeof id === "number" && (id === current.pid || current.tids.has(id))) throw new NotAsked(`${name} of ${id}`);
  }
}

/** @throws NotAsked if one of these is the process, or a thread of it */
export function assertAskableIds(ids: Iterable<number>): void {
  if (current === undefined) return;
  for (const id of ids) if (id === current.pid || current.tids.has(id)) throw new NotAsked(`a list about ${id}`);
}
