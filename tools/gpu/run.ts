// SPDX-License-Identifier: Apache-2.0
/** Commands with a bound. */
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const crimgCommand = join(root, "bin/crimg");

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

export interface RunOptions {
  readonly seconds?: number;
  readonly cwd?: string;
  /** Where standard error goes, for what leaves processes behind: a pipe would be waited for as long as they have it. */
  readonly stderrFile?: string;
}

export function run(command: string, args: readonly string[], options: RunOptions = {}): Outcome {
  const since = performance.now();
  const file = options.stderrFile === undefined ? undefined : openSync(options.stderrFile, "w");
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    timeout: (options.seconds ?? 60) * 1000,
    killSignal: "SIGKILL",
    stdio: ["ignore", file === undefined ? "pipe" : "ignore", file ?? "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (file !== undefined) closeSync(file);
  const said = options.stderrFile === undefined ? (stderr ?? "") : readFileSync(options.stderrFile, "utf8");
  const text = error === undefined ? said : `${said}${error.message}`;
  return { status, stdout: stdout ?? "", stderr: text, milliseconds: performance.now() - since };
}

/** As `run`; throws with what it said unless it ends well. */
export function must(command: string, args: readonly string[], options: RunOptions = {}): Outcome {
  const outcome = run(command, args, options);
  if (outcome.status !== 0) throw new Error(`${command} ${args.join(" ")}: status ${outcome.status}: ${outcome.stderr || outcome.stdout}`);
  return outcome;
}

export const crimg = (...args: readonly string[]): Outcome => run(process.execPath, [crimgCommand, ...args], { seconds: 90 });
export const mustCrimg = (...args: readonly string[]): Outcome => must(process.execPath, [crimgCommand, ...args], { seconds: 90 });
export { crimgCommand };

export async function until<T>(what: string, condition: () => T | undefined | false, seconds = 30): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const value = condition();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((wake) => setTimeout(wake, 5));
  }
}
