// SPDX-License-Identifier: Apache-2.0
/** What /proc tells of a tree without stopping it, and without a look at memory, arguments or environments. */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { listChildren, listThreads, procPath, readStat, readStatus } from "../../dump/procfs.js";
import { namespaceKinds } from "../../dump/namespaces/kinds.js";
import { capabilityNames } from "../show/names.js";

export interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  /** /proc/PID/comm. */
  readonly name: string;
  /** R, S, D, T, t, Z. */
  readonly state: string;
  readonly threads: number;
  /** Path of the executable; absent if it may not be seen. */
  readonly executable?: string;
  /** Effective user id. */
  readonly uid: number;
  /** Names of the effective capabilities. */
  readonly capabilities: string;
  /** `0` none, `1` strict, `2` filter (proc_pid_status(5)). */
  readonly seccomp: string;
  readonly noNewPrivileges: boolean;
  /** Kinds of namespaces that are not crimg's own. */
  readonly namespaces: readonly string[];
  /** Mappings by what they map: file, anonymous, or the kernel's name in brackets. */
  readonly mappings: Readonly<Record<string, number>>;
  /** Resident memory, KiB. */
  readonly residentKib: number;
  /** Descriptors by what they lead to: file, socket, pipe, `anon_inode:[eventfd]`. */
  readonly descriptors: Readonly<Record<string, number>>;
}

/** The process and its descendants, parents first; bounded, since a report is to be read. */
export function treeFacts(root: number, most = 200): ProcessFacts[] {
  const pids = [root];
  const facts: ProcessFacts[] = [];
  for (const pid of pids) {
    if (facts.length === most) break;
    const one = processFacts(pid);
    if (one === undefined) continue;
    facts.push(one);
    for (const tid of listThreads(pid) ?? []) pids.push(...(listChildren(pid, tid) ?? []));
  }
  return facts;
}

function processFacts(pid: number): ProcessFacts | undefined {
  const stat = readStat(procPath(pid));
  const status = readStatus(procPath(pid));
  if (stat === undefined || status === undefined) return undefined;
  const executable = linkOf(`/proc/${pid}/exe`);
  return {
    pid,
    parent: Number(stat.field(4)),
    name: stat.comm.toString("utf8"),
    state: stat.state,
    threads: Number(status.get("Threads") ?? 0),
    ...(executable === undefined ? {} : { executable }),
    uid: Number(status.get("Uid")?.split(/\s+/)[1] ?? -1),
    capabilities: capabilityNames(BigInt(`0x${status.get("CapEff") ?? "0"}`)),
    seccomp: status.get("Seccomp") ?? "?",
    noNewPrivileges: status.get("NoNewPrivs") === "1",
    namespaces: namespaceKinds.filter((kind) => linkOf(`/proc/${pid}/ns/${kind}`) !== linkOf(`/proc/self/ns/${kind}`)),
    mappings: countMappings(pid),
    residentKib: Number(/^(\d+) kB$/.exec(status.get("VmRSS") ?? "")?.[1] ?? 0),
    descriptors: countDescriptors(pid),
  };
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function counted(words: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

function countMappings(pid: number): Record<string, number> {
  let text = "";
  try {
    text = readFileSync(`/proc/${pid}/maps`, "latin1");
  } catch {
    return {};
  }
  // proc_pid_maps(5): address perms offset dev inode pathname.
  const names = text.split("\n").flatMap((line) => {
    const fields = /^\S+ \S{3}([ps]) \S+ \S+ (\d+) *(.*)$/.exec(line);
    if (fields === null) return [];
    const [, sharing, inode, name = ""] = fields;
    const kind = /^\[[a-z_]+/.test(name) ? name.replace(/^(\[[a-z_]+).*$/, "$1]") : inode === "0" ? "anonymous" : "file";
    return [sharing === "s" ? `${kind} (shared)` : kind];
  });
  return counted(names);
}

function countDescriptors(pid: number): Record<string, number> {
  let numbers: string[] = [];
  try {
    numbers = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return {};
  }
  return counted(
    numbers.map((number) => {
      const target = linkOf(`/proc/${pid}/fd/${number}`) ?? "not readable";
      if (target.startsWith("/memfd:")) return "memfd";
      if (target.startsWith("/dev/")) return target.replace(/\d+$/, "N");
      return target.startsWith("/") ? "file" : target.replace(/:\[\d+\]$/, "");
    }),
  );
}
