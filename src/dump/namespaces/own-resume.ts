// SPDX-License-Identifier: Apache-2.0
/**
 * Namespaces that a resume of crimg's made (src/lower/namespaces.ts). They hold nothing that a resume would not make
 * again, so a tree in them is dumped as one outside, and lies outside in the model: with the ids that it has there.
 *
 * What is looked at is what would be lost, not only who made it: a tree of somebody who wants to pass for such a one
 * gains nothing.
 */
import { tryReadlink, tryReadSmall } from "../../native/index.js";
import { innermost, procPath, readStat, readStatus } from "../procfs.js";
import { loadedRestoreProgram } from "../restore-process.js";

/** The init of the pid namespace of a process, if it is one that crimg left there. */
export function initOfResume(pid: number): number | undefined {
  const depth = depthOf(pid);
  for (let at = pid; at > 1; ) {
    const stat = readStat(procPath(at));
    if (stat === undefined || depthOf(at) !== depth) return undefined;
    const status = readStatus(procPath(at));
    if (status && innermost(status, "NSpid") === 1) return loadedRestoreProgram(at) === undefined ? undefined : at;
    at = Number(stat.field(4));
  }
  return undefined;
}

function depthOf(pid: number): number {
  return readStatus(procPath(pid))?.get("NSpid")?.split(/\s+/).length ?? 0;
}

/**
 * Whether a user namespace maps one user and one group only, as crimg makes it for an ordinary user. `isSame`: they are
 * called the same outside.
 */
export function singleIds(pid: number): { readonly isSame: boolean } | undefined {
  let isSame = true;
  for (const name of ["uid_map", "gid_map"]) {
    const words =
      tryReadSmall(`${procPath(pid)}/${name}`)
        ?.toString("latin1")
        .trim()
        .split(/\s+/) ?? [];
    if (words.length !== 3 || words[2] !== "1") return undefined;
    isSame &&= words[0] === words[1];
  }
  return { isSame };
}

/** Whether no thread of these has a capability: they mean nothing outside of their user namespace, or far too much. */
export function haveNoCapabilities(threads: readonly { readonly pid: number; readonly tid: number }[]): boolean {
  return threads.every(({ pid, tid }) => {
    const status = readStatus(procPath(pid, tid));
    return ["CapPrm", "CapEff", "CapInh", "CapAmb"].every((name) => /^0+$/.test(status?.get(name) ?? ""));
  });
}

/** Mounts of a process: what identifies each, without ids and propagation (proc_pid_mountinfo(5)). */
export function mountsOf(pid: number | "self"): string[] {
  const text = tryReadSmall(`/proc/${pid}/mountinfo`)?.toString("latin1") ?? "";
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const [, , device, root, point, options] = line.split(" ");
      const type = line.split(" - ")[1]?.split(" ")[0] ?? "";
      return `${device} ${root} ${point} ${options} ${type}`;
    });
}

/** The /proc that a resume mounts for its pid namespace. */
const ownProc = / \/proc \S+ proc$/;

/** Mounts that a process has and crimg has not: they would be lost. The new /proc of a pid namespace is none of them. */
export function mountsLost(inside: readonly string[], outside: readonly string[]): string[] {
  const there = new Set(outside);
  return inside.filter((mount) => !there.has(mount) && !ownProc.test(mount));
}

/** The link of a namespace, `net:[4026531840]`; undefined if there is none (yet) or it may not be read. */
export function namespaceLink(path: string, name: string): string | undefined {
  return tryReadlink(`${path}/ns/${name}`)?.toString("latin1");
}
