// SPDX-License-Identifier: Apache-2.0
/** Every system call of a dump made to fail in turn, and crimg killed in the midst: the target must not notice. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Target } from "./target.js";

const dumper = fileURLToPath(new URL("./dumper.js", import.meta.url));

export interface TrialResult {
  readonly tried: number;
  readonly harmed: readonly string[];
  /** Errors that are bugs of crimg: unexpected exceptions. */
  readonly bugs: readonly string[];
  /** Files that were left behind. */
  readonly left: readonly string[];
  /** epoll_wait returned EINTR to the target. */
  readonly interrupted: number;
}

function startDumper(target: Target, directory: string, from: number, to: number, errno: number, step = 1): ChildProcess {
  const args = [dumper, String(target.pid), join(directory, "out.elf"), String(from), String(to), String(errno), String(step)];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) done();
    else child.once("exit", () => done());
  });

function leftovers(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.includes("out.elf"));
}

/** Number of system calls that one dump makes. */
export async function countCalls(target: Target, directory: string): Promise<number> {
  const child = startDumper(target, directory, 0, 1, 0);
  let calls = 0;
  if (child.stdout) for await (const line of createInterface(child.stdout)) calls = Number(/^end 0 (\d+) ok/.exec(line)?.[1] ?? calls);
  await ended(child);
  return calls;
}

/** Fails calls 1, 1 + step, … up to `calls` with an errno. */
export async function failEveryCall(target: Target, directory: string, calls: number, errno: number, step: number): Promise<TrialResult> {
  const [harmed, bugs, left]: [string[], string[], string[]] = [[], [], []];
  let tried = 0;
  const before = target.interruptedWaits;
  for (let next = 1; next <= calls; ) {
    // One process does them all, until a failure keeps it from letting go: then it ends, and another goes on.
    const child = startDumper(target, directory, next, calls + 1, errno, step);
    let last = next;
    if (child.stdout) {
      for await (const line of createInterface(child.stdout)) {
        const end = /^end (\d+) \d+ (.*)$/.exec(line);
        if (end === null) continue;
        last = Number(end[1]);
        tried += 1;
        if (end[2]?.startsWith("bug:")) bugs.push(`call ${last}, errno ${errno}: ${end[2]}`);
      }
    }
    await ended(child);
    const harm = await target.harm();
    if (harm !== undefined) {
      harmed.push(`call ${last}, errno ${errno}: ${harm}`);
      return { tried, harmed, bugs, left, interrupted: 0 };
    }
    left.push(...leftovers(directory).map((name) => `call ${last}, errno ${errno}: ${name}`));
    next = last + step;
  }
  return { tried, harmed, bugs, left, interrupted: target.interruptedWaits - before };
}

/** Kills the dumper at a random moment of a dump, `count` times. `random` gives 0 to 1. */
export async function killAtRandom(target: Target, directory: string, count: number, random: () => number): Promise<TrialResult> {
  const [harmed, left]: [string[], string[]] = [[], []];
  let tried = 0;
  let longestMs = 150;
  const before = target.interruptedWaits;
  while (tried < count && harmed.length === 0) {
    const child = startDumper(target, directory, 0, 1_000_000, 0);
    if (child.stdout === null) throw new Error("no pipe");
    let began = 0;
    // Let one dump pass, to have everything loaded, then kill in the next.
    for await (const line of createInterface(child.stdout)) {
      if (line.startsWith("end 0 ")) longestMs = Math.max(20, performance.now() - began);
      if (line.startsWith("begin 0")) began = performance.now();
      if (!line.startsWith("begin 1")) continue;
      await new Promise((done) => setTimeout(done, random() * longestMs));
      child.kill("SIGKILL");
      break;
    }
    child.kill("SIGKILL");
    await ended(child);
    tried += 1;
    const harm = await target.harm();
    if (harm !== undefined) harmed.push(`kill ${tried}: ${harm}`);
    for (const name of leftovers(directory)) {
      if (name !== "out.elf") left.push(`kill ${tried}: ${name}`);
      rmSync(join(directory, name));
    }
  }
  return { tried, harmed, bugs: [], left, interrupted: harmed.length > 0 ? 0 : target.interruptedWaits - before };
}
