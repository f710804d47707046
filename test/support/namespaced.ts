// SPDX-License-Identifier: Apache-2.0
/**
 * Processes in pid namespaces. As an ordinary user an image resumes in a pid namespace of its own: the program has its
 * old process id there, and another one here. Tests look and send signals from here, and compare ids as the program
 * sees them.
 */
import { readFileSync } from "node:fs";
import { treeOf } from "./processes.js";

/** A process's own idea of its id: the one in the innermost namespace; undefined if it has ended. Also for thread ids. */
export function innerPid(pid: number | string): number | undefined {
  try {
    return Number(/^NSpid:.*\b(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return undefined;
  }
}

/** The descendant of `ancestor` that sees itself as `inner`, by its id here; undefined while there is none. */
export function findInner(ancestor: number, inner: number): number | undefined {
  return treeOf(ancestor)
    .slice(1)
    .find((member) => innerPid(member) === inner);
}
