// SPDX-License-Identifier: Apache-2.0
/**
 * What can be seen of a process tree from outside, as text a field, so that "identical before and after" is one
 * comparison. Left out is only what no faithful restore can keep: times used, counters of faults, inode numbers of
 * pipes and sockets (their sharing is kept by renaming them in order of first appearance).
 */
import { readFileSync, readlinkSync } from "node:fs";
import { innerPid } from "./namespaced.js";
import { list, treeOf } from "./processes.js";

/** pid, as the process itself sees it → field → value. */
export type TreeState = Map<number, Map<string, string>>;

/** The state of the tree under `root`, a pid as seen from here. */
export function treeState(root: number): TreeState {
  const names = new Map<string, string>();
  const state: TreeState = new Map();
  const tree = treeOf(root);
  const inside: InnerPids = new Map(tree.map((pid) => [String(pid), String(innerPid(pid) ?? pid)]));
  for (const pid of tree) state.set(Number(inside.get(String(pid))), processState(pid, names, inside));
  return state;
}

/** Differences in words, one a line; empty when there are none. */
export function differences(before: TreeState, after: TreeState): string[] {
  const found: string[] = [];
  for (const pid of new Set([...before.keys(), ...after.keys()])) {
    const old = before.get(pid);
    const now = after.get(pid);
    if (!old || !now) {
      found.push(`process ${pid} ${old ? "is missing" : "is new"}`);
      continue;
    }
    for (const field of new Set([...old.keys(), ...now.keys()])) {
      const a = old.get(field);
      const b = now.get(field);
      if (a !== b) found.push(`${pid} ${field}: ${brief(a, b)} became ${brief(b, a)}`);
    }
  }
  return found;
}

/** The lines of `text` that `other` lacks. */
function brief(text: string | undefined, other: string | undefined): string {
  if (text === undefined) return "(absent)";
  const rest = new Set((other ?? "").split("\n"));
  const lines = text.split("\n").filter((line) => !rest.has(line));
  return JSON.stringify(lines.slice(0, 12).join("\n"));
}

const statusFields = new RegExp(
  "^(Name|Umask|State|TracerPid|Uid|Gid|Groups|NoNewPrivs|Seccomp|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap\\w+|" +
    "Cpus_allowed|THP_enabled|Threads|CoreDumping):",
);

/** Ids of the tree's processes as seen from here → as they see themselves. */
type InnerPids = ReadonlyMap<string, string>;

/** Ids of processes outside the tree (the root's parent, a session led from a shell) are the caller's after a resume. */
const orOutside = (id: string | undefined, inside: InnerPids): string => (id === undefined ? undefined : inside.get(id)) ?? "outside";

function processState(pid: number, names: Map<string, string>, inside: InnerPids): Map<string, string> {
  const state = new Map<string, string>();
  const proc = `/proc/${pid}`;
  const stat = statFields(`${proc}/stat`);
  if (stat[0] === "Z") {
    return state.set("zombie", `${stat[49]} pgrp ${orOutside(stat[2], inside)} session ${orOutside(stat[3], inside)}`);
  }
  state.set("status", statusOf(`${proc}/status`));
  // parent, group, session; then exit signal and mm fields (numbered as in proc_pid_stat(5), minus 3)
  state.set("family", [1, 2, 3].map((index) => orOutside(stat[index], inside)).join(" "));
  state.set("stat", [35, 23, 24, 25, 42, 43, 44, 45, 46, 47, 48].map((index) => stat[index]).join(" "));
  state.set("maps", maps(pid, names));
  state.set("vmflags", vmFlags(pid));
  for (const file of ["limits", "personality", "oom_score_adj", "coredump_filter"]) state.set(file, read(`${proc}/${file}`));
  for (const file of ["cmdline", "environ", "auxv"]) state.set(file, read(`${proc}/${file}`, "hex"));
  for (const link of ["exe", "cwd", "root"]) state.set(link, target(`${proc}/${link}`));
  // Whom a timer notifies is told by a process or thread id.
  state.set(
    "timers",
    read(`${proc}/timers`).replace(/(pid|tid)\.(\d+)$/gm, (_, kind, id) => `${kind}.${String(innerPid(`${pid}/task/${id}`) ?? id)}`),
  );
  state.set("fds", descriptors(pid, names));
  for (const tid of list(`${proc}/task`)) {
    const name = `thread ${innerPid(`${pid}/task/${tid}`) ?? tid}`;
    state.set(`${name} status`, statusOf(`${proc}/task/${tid}/status`));
    const fields = statFields(`${proc}/task/${tid}/stat`);
    state.set(`${name} sched`, [15, 16, 37, 38].map((index) => fields[index]).join(" "));
    state.set(`${name} slack`, read(`${proc}/task/${tid}/timerslack_ns`));
  }
  return state;
}

/** What `look` gives, or the error in its place: a process may end, or hide a file, while we look. */
function orError(look: () => string): string {
  try {
    return look();
  } catch (error) {
    return `(${(error as NodeJS.ErrnoException).code})`;
  }
}

const read = (path: string, encoding: BufferEncoding = "utf8"): string => orError(() => readFileSync(path, encoding));
const target = (path: string): string => orError(() => readlinkSync(path));

/** Fields of /proc/PID/stat behind the name, so that index 0 is the state. */
function statFields(path: string): string[] {
  const text = read(path);
  return text
    .slice(text.lastIndexOf(")") + 2)
    .trim()
    .split(" ");
}

function statusOf(path: string): string {
  return read(path)
    .split("\n")
    .filter((line) => statusFields.test(line))
    .map((line) => line.replace(/^State:\t[SRDTt] .*/, "State:\tlive"))
    .join("\n");
}

/** A stable name for something that has a new number after a restore. */
function rename(names: Map<string, string>, kind: string, number: string): string {
  const key = `${kind}:${number}`;
  const known = names.get(key);
  if (known) return known;
  const name = `${kind}#${[...names.keys()].filter((other) => other.startsWith(`${kind}:`)).length}`;
  names.set(key, name);
  return name;
}

function maps(pid: number, names: Map<string, string>): string {
  return read(`/proc/${pid}/maps`)
    .split("\n")
    .map((line) =>
      line.replace(
        /^(\S+ \S+ \S+ \S+) (\d+)(\s+)(\/dev\/zero|\/memfd:.*|.*) \(deleted\)$/,
        (_, head, ino, __, name) =>
          `${String(head).replace(/\S+$/, "-")} ${rename(names, "inode", String(ino))} ` +
          `${String(name).replace(/^\/(?!dev\/zero|memfd:).*\//, "…/")} (deleted)`,
      ),
    )
    .join("\n");
}

function vmFlags(pid: number): string {
  const lines: string[] = [];
  let range = "";
  for (const line of read(`/proc/${pid}/smaps`).split("\n")) {
    const head = /^([0-9a-f]+-[0-9a-f]+) /.exec(line);
    if (head) range = head[1] ?? "";
    // `ac` (accounted) depends on the order of mprotect calls, `sd` on writes since the last clear: neither is state of the program
    else if (line.startsWith("VmFlags:"))
      lines.push(
        `${range} ${line
          .slice(8)
          .replace(/ (sd|ac)\b/g, "")
          .trim()}`,
      );
  }
  return lines.join("\n");
}

function descriptors(pid: number, names: Map<string, string>): string {
  return list(`/proc/${pid}/fd`)
    .map(Number)
    .sort((a, b) => a - b)
    .map((fd) => {
      const link = target(`/proc/${pid}/fd/${fd}`).replace(/^(pipe|socket):\[(\d+)\]$/, (_, kind, ino) =>
        rename(names, String(kind), String(ino)),
      );
      const info = read(`/proc/${pid}/fdinfo/${fd}`)
        .split("\n")
        .filter((line) => !/^(mnt_id|ino|it_value|ticks|tfd|eventfd-id|SigQ)/.test(line))
        // An appending program moves on while we look.
        .filter((line, _, all) => !line.startsWith("pos:") || !all.some((other) => /^flags:\t\d+[2367]\d\d\d$/.test(other)))
        .join(" ")
        // A pidfd: only the id that its process itself sees.
        .replace(/Pid:\t-?\d+ NSpid:[\t\d]*\t(\d+)/, "NSpid:\t$1");
      return `${fd} ${link} ${info}`;
    })
    .join("\n");
}
