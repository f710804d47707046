// SPDX-License-Identifier: Apache-2.0
/**
 * /proc/PID/fdinfo/N (proc_pid_fdinfo(5); fs/proc/fd.c and the show_fdinfo of each kind in the kernel).
 * Lines are `name:` and a value; what a kind adds comes after the common four.
 */
import { tryReadSmall } from "../../native/index.js";

/** An item of an epoll set: `tfd: 3 events: 19 data: 3 pos:0 ino:12 sdev:10` (numbers other than tfd and pos are hex). */
export interface EpollItem {
  /** Number under which it was added; the descriptor may since be closed or reused. */
  readonly fd: number;
  readonly events: number;
  readonly data: bigint;
  readonly ino: bigint;
  /** Device of the watched inode as the kernel has it (major << 20 | minor). */
  readonly device: number;
}

export interface FdInfo {
  readonly pos: bigint;
  /** Open flags, octal there; O_CLOEXEC (0o2000000) is this very descriptor's flag. */
  readonly flags: number;
  readonly mountId: number;
  readonly ino: bigint;
  /** Text of `lock:` lines: locks and leases made through this description. */
  readonly locks: readonly string[];
  readonly epoll: readonly EpollItem[];
  /** Lines of inotify and fanotify, with what they begin with. */
  readonly marks: readonly string[];
  /** Lines of the kind by name, the first of each. */
  readonly fields: ReadonlyMap<string, string>;
}

const epollLine = /^tfd:\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)(?:\s+pos:\s*-?\d+ ino:\s*([0-9a-f]+) sdev:\s*([0-9a-f]+))?/;

/** Of a descriptor of crimg's own. */
export function ownFdInfo(fd: number): FdInfo | undefined {
  return parseFdInfo(tryReadSmall(`/proc/self/fdinfo/${fd}`)?.toString("latin1") ?? "");
}

/** Parses an fdinfo file; undefined when the common lines are missing (the descriptor went away while reading). */
export function parseFdInfo(text: string): FdInfo | undefined {
  const fields = new Map<string, string>();
  const locks: string[] = [];
  const epoll: EpollItem[] = [];
  const marks: string[] = [];
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    if (name.startsWith("inotify ") || name.startsWith("fanotify ")) {
      marks.push(line);
    } else if (name === "lock") {
      locks.push(line.slice(colon + 1).trim());
    } else if (name === "tfd") {
      const match = epollLine.exec(line);
      if (!match) return undefined;
      epoll.push({
        fd: Number(match[1]),
        events: parseInt(match[2] ?? "0", 16),
        data: BigInt(`0x${match[3] ?? "0"}`),
        ino: BigInt(`0x${match[4] ?? "0"}`),
        device: parseInt(match[5] ?? "0", 16),
      });
    } else if (!fields.has(name)) {
      fields.set(name, line.slice(colon + 1).trim());
    }
  }
  const pos = fields.get("pos");
  const flags = fields.get("flags");
  if (pos === undefined || flags === undefined || !/^-?\d+$/.test(pos) || !/^[0-7]+$/.test(flags)) return undefined;
  return {
    pos: BigInt(pos),
    flags: parseInt(flags, 8),
    mountId: Number(fields.get("mnt_id") ?? "0"),
    ino: BigInt(fields.get("ino") ?? "0"),
    locks,
    epoll,
    marks,
    fields,
  };
}

/** A decimal field; 0 where it is absent. */
export function decimalField(info: FdInfo, name: string): bigint {
  const value = info.fields.get(name);
  return value !== undefined && /^-?\d+$/.test(value) ? BigInt(value) : 0n;
}

/** A hexadecimal field without prefix, such as `sigmask` and `eventfd-count`; 0 where it is absent. */
export function hexField(info: FdInfo, name: string): bigint {
  const value = info.fields.get(name);
  return value !== undefined && /^[0-9a-f]+$/.test(value) ? BigInt(`0x${value}`) : 0n;
}

/** `(seconds, nanoseconds)` of a timerfd in nanoseconds; 0 where it is absent. */
export function timeField(info: FdInfo, name: string): bigint {
  const match = /^\((\d+), (\d+)\)$/.exec(info.fields.get(name) ?? "");
  return match ? BigInt(match[1] ?? "0") * 1_000_000_000n + BigInt(match[2] ?? "0") : 0n;
}
