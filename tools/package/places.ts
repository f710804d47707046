// SPDX-License-Identifier: Apache-2.0
/** Where the packager takes things from and puts them. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
export const packageFolder = join(root, "build/package");
/** Manual pages and completions, which every package takes from here. */
export const manualFolder = join(packageFolder, "manual");

export interface Manifest {
  readonly version: string;
  readonly [key: string]: unknown;
}

export function manifest(): Manifest {
  return JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
}

/** Copies a file or folder of the checkout to the same place below `target`. */
export function take(target: string, name: string, as = name): void {
  const to = join(target, as);
  mkdirSync(dirname(to), { recursive: true });
  cpSync(join(root, name), to, { recursive: true });
}

/** Runs a command; throws with what it said. Returns its standard output. */
export function run(command: string, args: readonly string[], cwd = root): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 28 });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}
