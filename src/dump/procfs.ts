// SPDX-License-Identifier: Apache-2.0
/** Readers of /proc/PID files. All of them say "gone" (undefined) rather than throw when the process has ended. */
import { errno, tryListDirectory, tryReadlink, tryReadSmall } from "../native/index.js";

/** /proc/PID or /proc/PID/task/TID. */
export function procPath(pid: number, tid?: number): string {
  return tid === undefined ? `/proc/${pid}` : `/proc/${pid}/task/${tid}`;
}

/** Fields of /proc/PID/status by name, values trimmed. */
export function readStatus(path: string): Map<string, string> | undefined {
  const text = tryReadSmall(`${path}/status`)?.toString("latin1");
  if (text === undefined || text === "") return undefined;
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  return fields;
}

/** The last number of a field such as NSpid: the id in the innermost namespace. */
export function innermost(status: Map<string, string>, field: string): number | undefined {
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

/** Reads /proc/PID/stat. The name is between the first "(" and the last ")": it may hold either itself. */
export function readStat(path: string): ProcStat | undefined {
  const data = tryReadSmall(`${path}/stat`);
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

/** Thread ids of a process; undefined when it is gone. */
export function listThreads(pid: number): number[] | undefined {
  const names = tryListDirectory(`/proc/${pid}/task`);
  return typeof names === "number" ? undefined : names.map(Number);
}

/** Pids of the children that one thread made (CONFIG_PROC_CHILDREN); undefined when it is gone. */
export function listChildren(pid: number, tid: number): number[] | undefined {
  const text = tryReadSmall(`/proc/${pid}/task/${tid}/children`)?.toString("latin1");
  return text
    ?.split(" ")
    .filter((word) => word.trim() !== "")
    .map(Number);
}

/** A link of /proc as text that keeps non-UTF-8 bytes; the caller decides what is an error. */
export function readProcLink(path: string): Buffer | undefined {
  return tryReadlink(path);
}

/** Whether a process exists (also when we may not look into it). */
export function processExists(pid: number): boolean {
  const failure = { errno: 0 };
  return tryReadSmall(`/proc/${pid}/stat`, failure) !== undefined || failure.errno === errno.EACCES;
}
