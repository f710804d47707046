// SPDX-License-Identifier: Apache-2.0
/** Runs probes (test/probes): start, dump, gone, resume, tell; and all but the first again. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Family, Probe } from "../probes/probe.js";
import { findInner } from "./namespaced.js";
import { closeLeaks, compile, crimg, endTree, isAlive, type Outcome, spawned, until } from "./processes.js";
import { projectRoot } from "./project.js";

/** What became of a probe. */
export type Result =
  | { readonly kind: "as expected" }
  /** This kernel or processor does not have the state. */
  | { readonly kind: "unavailable"; readonly why: string }
  | { readonly kind: "wrong"; readonly what: string };

const asExpected: Result = { kind: "as expected" };
const wrong = (what: string): Result => ({ kind: "wrong", what });

/** Values by name, of one telling. */
type Told = ReadonlyMap<string, string>;

/** /proc/PID/comm; empty for a process that is gone. */
function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trimEnd();
  } catch {
    return "";
  }
}

/** One process with some probes. */
class ProbeProcess {
  #round = 0;
  #child: ChildProcess & { readonly pid: number };
  /** As seen from here. */
  pid: number;
  readonly #innerPid: number;
  readonly #name: string;

  constructor(
    readonly directory: string,
    program: string,
    probes: readonly Probe[],
  ) {
    this.#name = basename(program).slice(0, 15);
    const words = [program, directory, ...probes.map(({ name }) => name)];
    this.#child = this.#spawn("bash", ["-c", `${closeLeaks}; exec "$@"`, "bash", ...words]);
    this.pid = this.#child.pid;
    this.#innerPid = this.pid;
  }

  #spawn(command: string, args: readonly string[]): ChildProcess & { readonly pid: number } {
    const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"], detached: true, cwd: this.directory });
    child.on("error", () => undefined);
    child.stderr?.on("data", (chunk) => (this.complaints += String(chunk)));
    if (child.pid === undefined) throw new Error(`cannot start ${command}`);
    spawned.add(child.pid);
    return child as ChildProcess & { readonly pid: number };
  }

  complaints = "";

  /** What it tells next; the first time without being asked. */
  async told(): Promise<Told> {
    const path = join(this.directory, `told.${this.#round}`);
    if (this.#round > 0) process.kill(this.pid, "SIGUSR1");
    await until(
      `told.${this.#round}`,
      () => {
        if (!isAlive(this.pid)) throw new Error(`the program has ended: ${this.complaints}`);
        return existsSync(path);
      },
      20,
    );
    this.#round++;
    const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
    return new Map(
      lines.map((line) => {
        const space = line.indexOf(" ");
        return [line.slice(0, space), line.slice(space + 1)];
      }),
    );
  }

  dump(...options: string[]): Outcome {
    return crimg("dump", String(this.pid), "-o", join(this.directory, "image.elf"), "--force", ...options);
  }

  async resume(): Promise<void> {
    const old = this.pid;
    await until("the dumped program is gone", () => !existsSync(`/proc/${old}`), 20);
    this.complaints = "";
    this.#child = this.#spawn(join(this.directory, "image.elf"), []);
    this.pid = await until(
      "the program is there again",
      () => {
        if (!isAlive(this.#child.pid)) throw new Error(`the image ended: ${this.complaints}`);
        const pid = findInner(this.#child.pid, this.#innerPid);
        // While the tree is made another process may have that id for a moment (lower/run-as.ts).
        return pid !== undefined && nameOf(pid) === this.#name ? pid : undefined;
      },
      20,
    );
  }

  end(): void {
    endTree(this.#child.pid);
    if (existsSync(`/proc/${this.pid}`)) endTree(this.pid);
    this.#child.stderr?.destroy();
  }
}

/** Runs some probes of a family in one process. `onResult` hears of each. */
export async function runProbes(family: Family, probes: readonly Probe[], onResult: (probe: Probe, result: Result) => void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "crimg-probe-"));
  let running: ProbeProcess | undefined;
  try {
    const source = join(projectRoot, "test/probes", `${family.program}.c`);
    const program = compile(source, directory, "-pthread", "-Wall", ...(family.flags ?? []));
    running = new ProbeProcess(directory, program, probes);
    const before = await running.told();
    const there = probes.filter((probe) => {
      const value = before.get(probe.name) ?? "unavailable: the program does not know it";
      const isThere = !value.startsWith("unavailable: ");
      if (!isThere) onResult(probe, { kind: "unavailable", why: value.slice(13) });
      return isThere;
    });
    if (there.length === 0) return;
    const [first] = there;
    if (first !== undefined && first.is !== "kept" && "refused" in first.is) {
      onResult(first, await judgeRefusal(running, before, first, first.is));
      return;
    }
    const results = new Map(there.map((probe) => [probe, asExpected]));
    for (const round of ["first", "second"]) {
      const dumped = running.dump();
      if (dumped.status !== 0) {
        for (const probe of there) onResult(probe, wrong(`the ${round} dump: ${dumped.stderr}`));
        return;
      }
      await running.resume();
      const after = await running.told();
      for (const probe of there) {
        const result = judge(probe, round, before.get(probe.name), after.get(probe.name), dumped);
        if (result.kind === "wrong" && results.get(probe) === asExpected) results.set(probe, result);
      }
    }
    for (const [probe, result] of results) onResult(probe, result);
  } finally {
    running?.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

function judge({ is }: Probe, round: string, before: string | undefined, after: string | undefined, dumped: Outcome): Result {
  if (is === "kept") return before === after ? asExpected : wrong(`after the ${round} resume ${before} is ${after}`);
  if (!("cannot" in is)) return asExpected;
  if (is.told !== undefined && !is.told.test(dumped.stderr)) return wrong(`the dump does not tell ${is.told}: ${dumped.stderr}`);
  return round === "first" && before === after ? wrong(`it is said to be lost, and is still ${after}`) : asExpected;
}

async function judgeRefusal(running: ProbeProcess, before: Told, probe: Probe, is: { refused: RegExp; ignore?: string }): Promise<Result> {
  const refused = running.dump();
  if (refused.status !== 4) return wrong(`the dump ended with ${refused.status}: ${refused.stderr}`);
  if (!is.refused.test(refused.stderr)) return wrong(`the dump does not name it: ${refused.stderr}`);
  const after = await running.told();
  if (after.get(probe.name) !== before.get(probe.name))
    return wrong(`after the refusal ${before.get(probe.name)} is ${after.get(probe.name)}`);
  if (is.ignore === undefined) return asExpected;
  const dumped = running.dump("--ignore", is.ignore);
  if (dumped.status !== 0) return wrong(`with --ignore ${is.ignore}: ${dumped.stderr}`);
  if (!is.refused.test(dumped.stderr)) return wrong(`with --ignore ${is.ignore} the loss is not told: ${dumped.stderr}`);
  await running.resume();
  await running.told();
  return asExpected;
}
