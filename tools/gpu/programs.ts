// SPDX-License-Identifier: Apache-2.0
/** The programs that are dumped and resumed: started, watched by their logs, ended. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { must, root, until } from "./run.js";

/** `tick STEP VALUE SECONDS`. */
export interface Tick {
  readonly step: number;
  readonly value: string;
  /** CLOCK_REALTIME, milliseconds. */
  readonly atMs: number;
}

export interface Program {
  readonly name: string;
  readonly pid: number;
  readonly log: string;
}

export class Programs {
  readonly #children = new Map<number, ChildProcess | undefined>();
  #count = 0;

  constructor(readonly directory: string) {}

  build(): void {
    must("nvcc", ["-O2", "-o", join(this.directory, "counter"), join(root, "tools/gpu/counter.cu")], { seconds: 120 });
  }

  file(name: string): string {
    return join(this.directory, name);
  }

  /** The CUDA C++ counter with so much memory on the device. */
  counter(mebibytes: number): Promise<Program> {
    return this.start(`CUDA C++, ${mebibytes} MiB`, join(this.directory, "counter"), (log) => [log, String(mebibytes)]);
  }

  training(width = 4096): Promise<Program> {
    return this.start("PyTorch", "python3", (log) => [join(root, "tools/gpu/train.py"), log, String(width)], 90);
  }

  async start(name: string, command: string, args: (log: string) => readonly string[], seconds = 60): Promise<Program> {
    const log = this.file(`log.${this.#count++}`);
    const child = spawn("bash", ["-c", `${closeLeaks}; exec "$@"`, "bash", command, ...args(log)], {
      cwd: this.directory,
      detached: true,
      stdio: ["ignore", "ignore", "ignore"],
    });
    const pid = child.pid;
    if (pid === undefined) throw new Error(`cannot start ${command}`);
    this.#children.set(pid, child);
    const program = { name, pid, log };
    await until(`${name} counts`, () => ticksOf(log).length >= 20, seconds);
    return program;
  }

  /** A process that a resume made. */
  adopt(pid: number): void {
    this.#children.set(pid, undefined);
  }

  /** Ends what is left of a scenario. */
  endAll(): void {
    for (const pid of this.#children.keys()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // ended
      }
    }
    this.#children.clear();
  }

  /** Ends one, and waits until its pid is free. */
  async end(pid: number): Promise<void> {
    this.#children.delete(pid);
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // ended
    }
    await until(`process ${pid} is gone`, () => !existsSync(`/proc/${pid}`) || isZombie(pid));
  }

  remove(...names: readonly string[]): void {
    for (const name of names) rmSync(this.file(name), { force: true });
  }
}

/** Shell words that close what the caller leaked. */
export const closeLeaks = 'for path in /proc/$$/fd/*; do fd=${path##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done';

function isZombie(pid: number): boolean {
  try {
    return /^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return true;
  }
}

/** Whole lines of a log. Throws where the program found its state changed, or a step is missing or done twice. */
export function ticksOf(log: string): Tick[] {
  let text = "";
  try {
    text = readFileSync(log, "utf8");
  } catch {
    return [];
  }
  return text
    .split("\n")
    .slice(0, -1)
    .map((line, index) => {
      const [word, step, value = "", seconds] = line.split(" ");
      if (word !== "tick" || Number(step) !== index + 1) throw new Error(`${log}: line ${index + 1} is "${line}"`);
      return { step: Number(step), value, atMs: Number(seconds) * 1000 };
    });
}

/** Waits for `more` steps beyond those that are there; returns the first of them. */
export async function nextSteps(program: Program, more = 20, seconds = 30): Promise<Tick> {
  const before = ticksOf(program.log).length;
  const all = await until(
    `${more} more steps of ${program.name}`,
    () => {
      const ticks = ticksOf(program.log);
      return ticks.length >= before + more && ticks;
    },
    seconds,
  );
  return all[before] as Tick;
}
