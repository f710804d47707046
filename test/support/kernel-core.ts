// SPDX-License-Identifier: Apache-2.0
/** Cores that the kernel of this machine writes. */
import { existsSync, readFileSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { run } from "./processes.js";

/** Why there can be none here, or undefined: cores go to a program, or to a folder of the administrator's. */
export function whyNoKernelCores(): string | undefined {
  const pattern = readFileSync("/proc/sys/kernel/core_pattern", "latin1").trim();
  if (!/^core(\.%p)?$/.test(pattern)) return `core_pattern is "${pattern}"`;
  return run("sh", ["-c", "ulimit -c unlimited"]).status === 0 ? undefined : "no cores may be written (ulimit -c)";
}

/**
 * Runs a program that ends by a signal, and returns its core under a name of its own.
 * @param options filter: /proc/PID/coredump_filter; kib: the largest core, for ones that are cut off
 */
export function kernelCore(
  directory: string,
  name: string,
  command: readonly string[],
  options: { readonly filter?: string; readonly kib?: number; readonly env?: NodeJS.ProcessEnv } = {},
): string {
  const filter = options.filter === undefined ? "" : `echo ${options.filter} >/proc/self/coredump_filter && `;
  const script = `ulimit -c ${options.kib ?? "unlimited"} && ${filter}exec "$@"`;
  const { signal, status, stderr } = run("bash", ["-c", script, "bash", ...command], {
    cwd: directory,
    env: { ...process.env, ...options.env },
  });
  const made = readdirSync(directory).find((entry) => /^core(\.[0-9]+)?$/.test(entry));
  if (made === undefined) throw new Error(`no core of ${command.join(" ")} (${status ?? signal}): ${stderr}`);
  const path = join(directory, name);
  if (existsSync(path)) throw new Error(`${path} is there already`);
  renameSync(join(directory, made), path);
  return path;
}
