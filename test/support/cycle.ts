// SPDX-License-Identifier: Apache-2.0
/** One turn of the wheel: dump a tree while it is busy, see it gone, resume it by executing its file. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { TestContext } from "node:test";
import { findInner } from "./namespaced.js";
import { crimg, endTree, spawned, treeOf, until } from "./processes.js";
import { differences, treeState, type TreeState } from "./tree-state.js";

export interface Resumed {
  /** The process that `./image.elf` became: it waits in the foreground. */
  readonly waiter: ChildProcess & { readonly pid: number };
  /** Pid of the resumed root, as seen from here; the root itself sees its old one. */
  readonly pid: number;
}

export interface CycleOptions {
  /** Lines of `differences` that this program cannot avoid, with the reason in the caller. */
  readonly mayDiffer?: RegExp;
  /** Given to the image, such as a program's own stdin. */
  readonly stdio?: "ignore" | "inherit";
}

/**
 * Dumps the tree under `pid` into `image`, resumes it, and holds what is visible of it before and after against each
 * other. The state before is taken while the dump has left the tree stopped, so that nothing moves in between.
 */
export async function dumpAndResume(t: TestContext, pid: number, image: string, options: CycleOptions = {}): Promise<Resumed> {
  const before = await dumpAndKill(pid, image);
  return resume(t, image, before, options);
}

/** Dumps with --leave-stopped, records the stopped tree, and ends it (with whoever waits for it in the foreground). */
export async function dumpAndKill(pid: number, image: string): Promise<TreeState> {
  const dumped = crimg("dump", String(pid), "-o", image, "--leave-stopped");
  assert.equal(dumped.status, 0, `crimg dump: ${dumped.stderr}`);
  assert.equal(statSync(image).mode & 0o777, 0o700);
  const before = treeState(pid);
  const tree = treeOf(pid);
  endTree(pid);
  // A foreground parent stops with its program, as a shell's job does: it has to run to see the end.
  waiters.get(pid)?.kill("SIGCONT");
  await until("the dumped tree is gone", () => tree.every((member) => !existsSync(`/proc/${member}`)));
  return before;
}

/** Who waits in the foreground for a resumed root. */
const waiters = new Map<number, ChildProcess>();

/**
 * Executes the image in the foreground, with the tree left stopped, until it looks exactly like `before`; then lets
 * it run.
 */
export async function resume(t: TestContext, image: string, before: TreeState, options: CycleOptions = {}): Promise<Resumed> {
  const waiter = spawn(image, ["--leave-stopped"], {
    cwd: dirname(image),
    stdio: [options.stdio ?? "ignore", "ignore", "pipe"],
  }) as ChildProcess & { pid: number };
  let complaints = "";
  waiter.stderr?.on("data", (chunk) => (complaints += String(chunk)));
  spawned.add(waiter.pid);
  t.after(() => endTree(waiter.pid));
  const [root] = before.keys();
  assert.ok(root !== undefined);
  let left: string[] = [];
  const look = (): number | undefined => {
    assert.equal(waiter.exitCode ?? waiter.signalCode, null, `${image} ended: ${complaints}`);
    const pid = findInner(waiter.pid, root);
    left = differences(before, pid === undefined ? new Map() : treeState(pid)).filter((line) => !options.mayDiffer?.test(line));
    return left.length === 0 ? pid : undefined;
  };
  const pid = await until("the tree is as it was", look).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${left.join("\n")} ${complaints}`);
  });
  waiters.set(pid, waiter);
  for (const member of [...treeOf(pid), waiter.pid]) {
    if (existsSync(`/proc/${member}`)) process.kill(member, "SIGCONT");
  }
  return { waiter, pid };
}

/** Numbers of the lines "tick N …" in a log. */
export function ticks(log: string): number[] {
  let text = "";
  try {
    text = readFileSync(log, "utf8");
  } catch {
    return [];
  }
  assert.doesNotMatch(text, /broken/, `the program found its state changed: ${text.slice(-200)}`);
  return [...text.matchAll(/^tick (\d+)/gm)].map((match) => Number(match[1]));
}

/** Waits for `more` ticks beyond what is there; returns the last. */
export function moreTicks(log: string, more: number, seconds = 60): Promise<number> {
  const from = ticks(log).at(-1) ?? 0;
  return until(
    `${more} ticks beyond ${from} in ${log}`,
    () => {
      const last = ticks(log).at(-1) ?? 0;
      return last >= from + more && last;
    },
    seconds,
  );
}

/** Every tick once, in order: nothing was lost and nothing was done twice. */
export function assertUnbroken(log: string): void {
  ticks(log).forEach((value, index) => assert.equal(value, index + 1, `tick ${index + 1} is missing or repeated`));
}
