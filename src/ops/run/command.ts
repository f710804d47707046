// SPDX-License-Identifier: Apache-2.0
/** Finding the program that a command names, as a shell does. */
import { accessSync, constants, statSync } from "node:fs";
import { resolve } from "node:path";
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The absolute path of `name`: looked for in PATH unless it holds a slash.
 * @throws CrimgError `run.no-command` (exit status 127), `run.not-executable` (126)
 */
export function findCommand(name: string, searchPath = process.env["PATH"] ?? "/usr/bin:/bin"): string {
  const candidates = name.includes("/") ? [resolve(name)] : searchPath.split(":").map((directory) => resolve(directory || ".", name));
  const files = candidates.filter(isFile);
  const found = files.find(isExecutable);
  if (found !== undefined) return found;
  if (files[0] !== undefined) {
    throw new CrimgError(
      "run.not-executable",
      `${files[0]} is not executable`,
      { hint: "chmod +x, or name its interpreter first" },
      exitStatus.notExecutable,
    );
  }
  throw new CrimgError("run.no-command", `${name}: there is no such command`, { hint: "check the name and PATH" }, exitStatus.notFound);
}
