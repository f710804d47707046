// SPDX-License-Identifier: Apache-2.0
/** The program that is dumped while things go wrong, and how to tell that it is unharmed. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";

/** What must stay the same of a process, whatever is done to it. */
function lookOf(pid: number): string {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const fields = ["TracerPid", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapEff", "Threads", "NoNewPrivs", "Seccomp"];
  const lines = fields.map((field) => new RegExp(`^${field}:.*$`, "m").exec(status)?.[0] ?? field);
  return [...lines, readFileSync(`/proc/${pid}/maps`, "utf8")].join("\n");
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

export class Target {
  readonly #child: ChildProcess;
  readonly #counters: string;
  readonly #look: string;

  private constructor(child: ChildProcess, counters: string, look: string) {
    this.#child = child;
    this.#counters = counters;
    this.#look = look;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Compiles and starts it in `directory`. */
  static async start(source: string, directory: string): Promise<Target> {
    const program = join(directory, "target");
    if (!existsSync(program)) {
      const { status, stderr } = spawnSync("cc", ["-O1", "-pthread", "-o", program, source], { encoding: "utf8" });
      if (status !== 0) throw new Error(`cc ${source}: ${stderr}`);
    }
    const counters = join(directory, `counters-${Date.now()}`);
    // Closes what this process inherited, so that the target holds nothing that reaches outside.
    const script = 'for path in /proc/$$/fd/*; do fd=${path##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done; exec "$@"';
    const child = spawn("bash", ["-c", script, "bash", program, counters], { stdio: "ignore", detached: true });
    for (let tries = 0; tries < 200; tries += 1) {
      await sleep(20);
      if (existsSync(counters) && read(counters).every((count, index) => index > 2 || count > 0n)) break;
    }
    return new Target(child, counters, lookOf(child.pid ?? 0));
  }

  /** What is wrong with it, or undefined. Waits until every thread has gone on, three seconds at most. */
  async harm(): Promise<string | undefined> {
    const before = read(this.#counters);
    for (let waited = 0; ; waited += 10) {
      if (!existsSync(`/proc/${this.pid}/maps`) || this.#child.exitCode !== null || this.#child.signalCode !== null) return "it is dead";
      const now = read(this.#counters);
      if ((now[3] ?? 0n) > 0n) return `it found ${now[3]} errors, the last of kind ${now[4]}`;
      if (now.slice(0, 3).every((count, index) => count > (before[index] ?? 0n) + 1n)) break;
      if (waited > 3000)
        return `a thread does not go on (state ${/^State:\s*(\S)/m.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"))?.[1]})`;
      await sleep(10);
    }
    const look = lookOf(this.pid);
    return look === this.#look ? undefined : `it looks different: ${firstDifference(this.#look, look)}`;
  }

  /** Waits that ended with EINTR though no signal was there. */
  get interruptedWaits(): number {
    return Number(read(this.#counters)[5] ?? 0n);
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

function firstDifference(a: string, b: string): string {
  const [before, after] = [a.split("\n"), b.split("\n")];
  const index = before.findIndex((line, place) => line !== after[place]);
  return `${before[index] ?? "(end)"} → ${after[index] ?? "(end)"}`;
}

/** Counters of the three threads, errors, kind of the last error, calls that ended with EINTR. */
function read(path: string): bigint[] {
  const bytes = Buffer.alloc(48);
  const fd = openSync(path, "r");
  try {
    if (readSync(fd, bytes, 0, 48, 0) < 48) return [0n, 0n, 0n, 0n, 0n, 0n];
  } finally {
    closeSync(fd);
  }
  return [0, 1, 2, 3, 4, 5].map((index) => bytes.readBigUInt64LE(8 * index));
}
