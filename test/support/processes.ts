// SPDX-License-Identifier: Apache-2.0
/** Starting, watching and ending programs in tests: every wait is bounded, and only own processes are ended. */
import { spawn, spawnSync, type ChildProcess, type SpawnOptions } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { failed, tryCall, waitNow, waitOption } from "../../src/native/index.js";
import { crimgCommand, projectRoot } from "./project.js";
import { assertSecondOpinion } from "./restore-model/second-opinion.js";

const PR_SET_CHILD_SUBREAPER = 36;

/** A private directory that goes with the test. */
export function temporaryDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "crimg-test-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Compiles a program of test/programs (or an absolute path) into `directory`; returns the executable's path. */
export function compile(source: string, directory: string, ...flags: string[]): string {
  const path = source.startsWith("/") ? source : join(projectRoot, "test/programs", source);
  const output = join(directory, path.replace(/^.*\//, "").replace(/\.c$/, ""));
  const { status, stderr } = spawnSync("cc", ["-O1", "-o", output, path, ...flags], { encoding: "utf8" });
  if (status !== 0) throw new Error(`cc ${source}: ${stderr}`);
  return output;
}

/** Polls until `condition` gives something true; throws after `seconds` naming `what`. */
export async function until<T>(what: string, condition: () => T | undefined | false, seconds = 60): Promise<T> {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = condition();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > end) throw new Error(`not in ${seconds} s: ${what}`);
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

/** True while the process exists and is no zombie. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Names in a directory; none if it is gone. */
export function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** The process and everything below it, parents first. */
export function treeOf(pid: number): number[] {
  const tree = [pid];
  for (const member of tree) {
    let children = "";
    for (const thread of list(`/proc/${member}/task`)) {
      try {
        children += readFileSync(`/proc/${member}/task/${thread}/children`, "utf8");
      } catch {
        // ended meanwhile
      }
    }
    for (const child of children.split(/\s+/).filter(Boolean)) tree.push(Number(child));
  }
  return tree;
}

/** Stops a tree, parents first: one that starts a new child for each that ends (nginx) would leave the last one behind. */
function stoppedTree(pid: number): number[] {
  for (let tree: number[] = []; ; ) {
    const before = tree.length;
    tree = treeOf(pid);
    if (tree.length === before) return tree;
    for (const member of tree) {
      try {
        process.kill(member, "SIGSTOP");
      } catch {
        // gone already
      }
    }
  }
}

/**
 * Ends a tree that the test started, by pid, children first. Orphans come to this process, which waits for them: the
 * first process of a container may not, and a pid that stays taken would spoil the next resume.
 */
export function endTree(pid: number): void {
  tryCall("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const tree = stoppedTree(pid).reverse();
  for (const member of tree) {
    try {
      process.kill(member, "SIGKILL");
    } catch {
      // gone already
    }
  }
  const end = Date.now() + 20_000;
  for (const member of tree.slice(0, -1)) {
    while (existsSync(`/proc/${member}`) && Date.now() < end) {
      if (failed(waitNow(member, waitOption.WALL).pid) || isAlive(member)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

/** Shell words that close what the caller of the tests leaked into them (a pipe of a build system, say). */
export const closeLeaks = 'for path in /proc/$$/fd/*; do fd=${path##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done';

/** Children that node waits for itself: whoever reaps orphans must leave these alone. */
export const spawned = new Set<number>();

/** Starts a program in a session of its own, with no more descriptors than its stdio; the test ends it. */
export function start(
  t: TestContext,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): ChildProcess & { pid: number } {
  const child = spawn("bash", ["-c", `${closeLeaks}; exec "$@"`, "bash", command, ...args], {
    stdio: "ignore",
    detached: true,
    ...options,
  });
  child.on("error", () => undefined);
  if (child.pid === undefined) throw new Error(`cannot start ${command}`);
  const pid = child.pid;
  spawned.add(pid);
  t.after(() => endTree(pid));
  return child as ChildProcess & { pid: number };
}

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end, at most `seconds`. */
export function run(
  command: string,
  args: readonly string[],
  options: { seconds?: number; env?: NodeJS.ProcessEnv; cwd?: string; input?: string } = {},
): Outcome {
  const { seconds = 60, ...rest } = options;
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    timeout: seconds * 1000,
    killSignal: "SIGKILL",
    maxBuffer: 1 << 28,
    ...rest,
  });
  if (error && (error as NodeJS.ErrnoException).code !== "ETIMEDOUT") throw error;
  return { status, signal, stdout, stderr };
}

/** Where a command line of crimg writes: the word behind -o, or the second file of convert. */
function outputOf(args: readonly string[]): string | undefined {
  const at = args.findIndex((word) => word === "-o" || word === "--output");
  return at > 0 ? args[at + 1] : args[0] === "convert" ? args[2] : undefined;
}

/** Runs crimg. Whatever image it makes is executed by the second interpreter as well (SPEC.md, section 10). */
export function crimg(...args: string[]): Outcome {
  const outcome = run(crimgCommand, args);
  const output = outputOf(args);
  if (outcome.status === 0 && output !== undefined && (args[0] === "dump" || args[0] === "convert")) assertSecondOpinion(output);
  return outcome;
}
