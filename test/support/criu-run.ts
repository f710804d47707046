// SPDX-License-Identifier: Apache-2.0
/** Real CRIU in tests: dump and restore, with its own complaints in the failure message. */
import { waitNow, waitOption } from "../../src/native/index.js";
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { endTree, isAlive, run, spawned, treeOf, until } from "./processes.js";
import { criuBin } from "./project.js";

/** What both need for sockets whose peer is outside, and TCP in whatever state. */
const tolerant = ["--ext-unix-sk", "--tcp-established", "--file-locks"];

function complaints(directory: string, log: string): string {
  try {
    return readFileSync(join(directory, log), "utf8")
      .split("\n")
      .filter((line) => line.includes("Error"))
      .join("\n");
  } catch {
    return "(no log)";
  }
}

/** Dumps a tree with real CRIU, which ends it. */
export async function criuDump(pid: number, directory: string, ...options: string[]): Promise<void> {
  mkdirSync(directory, { mode: 0o700 });
  const tree = treeOf(pid);
  const { status } = run(criuBin ?? "", ["dump", "-t", String(pid), "-D", directory, "-o", "dump.log", "-v2", ...tolerant, ...options]);
  assert.equal(status, 0, `criu dump: ${complaints(directory, "dump.log")}`);
  await gone(tree);
}

/** Waits until the numbers of a tree are free again: zombies hold theirs until their reaper, often init, gets to them. */
export async function gone(tree: readonly number[]): Promise<void> {
  const left = (): number[] => {
    // This process may be the reaper (endTree makes it one), also of children forked since the tree was listed.
    for (const child of treeOf(process.pid).slice(1)) if (!spawned.has(child) && !isAlive(child)) waitNow(child, waitOption.WALL);
    return tree.filter((member) => existsSync(`/proc/${member}`));
  };
  await until("the dumped tree is gone", () => left().length === 0, 90).catch(() => {
    const states = left().map((member) => readFileSync(`/proc/${member}/stat`, "latin1").split(" ").slice(0, 4).join(" "));
    throw new Error(`still there after 90 s (pid, name, state, parent): ${states.join("; ")}`);
  });
}

/** Restores a set with real CRIU; the test ends the tree. */
export function criuRestore(t: TestContext, pid: number, directory: string): void {
  const { status } = run(criuBin ?? "", ["restore", "-d", "-D", directory, "-o", "restore.log", "-v2", ...tolerant]);
  assert.equal(status, 0, `criu restore: ${complaints(directory, "restore.log")}`);
  t.after(() => endTree(pid));
}
