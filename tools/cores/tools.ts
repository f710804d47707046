// SPDX-License-Identifier: Apache-2.0
/** The programs that make and read cores: found in PATH, or named as NAME=PATH on the command line (Debian packages conflict). */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const named = new Map(process.argv.slice(2).flatMap((arg) => (arg.includes("=") ? [arg.split("=", 2) as [string, string]] : [])));

/** The path of a tool, or undefined. */
export function tool(name: string): string | undefined {
  const given = named.get(name);
  if (given !== undefined) return given;
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export interface Said {
  readonly status: number | null;
  readonly text: string;
  readonly errors: string;
}

/** Runs a program to its end, with a bound. */
export function say(
  path: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly seconds?: number; readonly input?: string } = {},
): Said {
  const { status, stdout, stderr } = spawnSync(path, args, {
    encoding: "utf8",
    timeout: (options.seconds ?? 120) * 1000,
    killSignal: "SIGKILL",
    maxBuffer: 1 << 28,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    input: options.input ?? "",
    env: { ...process.env, DEBUGINFOD_URLS: "", LC_ALL: "C.UTF-8" },
  });
  return { status, text: stdout ?? "", errors: stderr ?? "" };
}

/** The first version number that a tool tells. */
export function versionOf(path: string, args: readonly string[] = ["--version"]): string {
  const { text, errors } = say(path, args, { seconds: 20 });
  return /[0-9]+\.[0-9]+[0-9A-Za-z.+~-]*/.exec(text + errors)?.[0] ?? "?";
}
