// SPDX-License-Identifier: Apache-2.0
/** Readers of /proc/PID files. All of them say "gone" (undefined) rather than throw when the process has ended. */
import { errno, QuestionList, tryListDirectory, tryReadInto, tryReadSmall } from "../native/index.js";

/** /proc/PID or /proc/PID/task/TID. */
export function procPath(pid: number, tid?: number): string {
  return tid === undefined ? `/proc/${pid}` : `/proc/${pid}/task/${tid}`;
}

/** Fields of /proc/PID/status by name, values trimmed. */
export interface StatusFields {
  get(field: string): string | undefined;
}

export function readStatus(path: string): StatusFields | undefined {
  return parseStatus(tryReadSmall(`${path}/status`));
}

/** Most readers want few of its sixty lines: each is looked for when it is asked for. */
export function parseStatus(bytes: Buffer | undefined): StatusFields | undefined {
  if (bytes === undefined || bytes.length === 0) return undefined;
  const text = `\n${bytes.toString("latin1")}`;
  return {
    get: (field) => {
      const at = text.indexOf(`\n${field}:`);
      if (at < 0) return undefined;
      const end = text.indexOf("\n", at + 1);
      return text.slice(at + field.length + 2, end < 0 ? undefined : end).trim();
    },
  };
}

/** The last number of a field such as NSpid: the id in the innermost namespace. */
export function innermost(status: StatusFields, field: string): number | undefined {
  const value = status.get(field)?.split(/\s+/).at(-1);
  return value === undefined || value === "" ? undefined : Number(value);
}

/** /proc/PID/stat (proc_pid_stat(5)); fields are numbered as in the manual page. */
export interface ProcStat {
  readonly comm: Buffer;
  /** R, S, D, T, t, Z, X … */
  readonly state: string;
  /** Field n of the manual page (4 = ppid …) as a bigint. */
  field(number: number): bigint;
}

/** PF_KTHREAD in field 9 (flags). */
export const PF_KTHREAD = 0x00200000n;
/** PF_IO_WORKER: a thread that the kernel has added to a process, for its io_uring. No tracer can have it. */
export const PF_IO_WORKER = 0x10n;

/** Reads /proc/PID/stat. The name is between the first "(" and the last ")": it may hold either itself. */
export function readStat(path: string): ProcStat | undefined {
  return parseStat(tryReadSmall(`${path}/stat`));
}

export function parseStat(data: Buffer | undefined): ProcStat | undefined {
  if (data === undefined || data.length === 0) return undefined;
  const open = data.indexOf(0x28);
  const close = data.lastIndexOf(0x29);
  if (open < 0 || close < open) return undefined;
  const rest = data
    .toString("latin1", close + 2)
    .trim()
    .split(" ");
  return {
    comm: Buffer.from(data.subarray(open + 1, close)),
    state: rest[0] ?? "?",
    field: (number) => BigInt(rest[number - 3] ?? "0"),
  };
}

/** /proc/PID/maps, whole; undefined when it is gone, or has no room in `room`, if that is given. */
export function readMaps(pid: number, room?: Buffer): Buffer | undefined {
  const path = `${procPath(pid)}/maps`;
  return room === undefined ? tryReadSmall(path) : tryReadInto(path, room);
}

/** Thread ids of a process; undefined when it is gone, with the errno in `failure`. */
export function listThreads(pid: number, failure?: { errno: number }): number[] | undefined {
  const names = tryListDirectory(`/proc/${pid}/task`);
  if (typeof names !== "number") return names.map(Number);
  if (failure) failure.errno = -names;
  return undefined;
}

/** Pids of the children that one thread made (CONFIG_PROC_CHILDREN); undefined when it is gone. */
export function listChildren(pid: number, tid: number): number[] | undefined {
  return parseChildren(tryReadSmall(`/proc/${pid}/task/${tid}/children`));
}

export function parseChildren(bytes: Buffer | undefined): number[] | undefined {
  return bytes
    ?.toString("latin1")
    .split(" ")
    .filter((word) => word.trim() !== "")
    .map(Number);
}

const childrenOfThreads = new QuestionList([{ file: "/proc/\u0001/task/\u0002/children" }]);
/** Bytes of the pids of children, if there are not very many. */
const roomOfChildren = 16384;

/** Pids of the children that some threads of a process made. Those of threads that are gone are their parents' by now. */
export function listChildrenOf(pid: number, tids: readonly number[]): number[] {
  const answers = childrenOfThreads.ask(Int32Array.from(tids.flatMap((tid) => [pid, tid])), roomOfChildren + tids.length * 16);
  return tids.flatMap((tid, row) => {
    const length = answers.result(row, 0);
    if (length === 0) return [];
    return (length < 0 ? listChildren(pid, tid) : parseChildren(answers.bytes(row, 0))) ?? [];
  });
}

/** Whether a process exists (also when we may not look into it). */
export function processExists(pid: number): boolean {
  const failure = { errno: 0 };
  return tryReadSmall(`/proc/${pid}/stat`, failure) !== undefined || failure.errno === errno.EACCES;
}
