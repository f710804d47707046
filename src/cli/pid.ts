// SPDX-License-Identifier: Apache-2.0
import { CrimgError } from "../errors/crimg-error.js";

/** A pid from the command line. Throws CrimgError `usage.pid`. */
export function parsePid(text: string): number {
  const pid = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (pid < 1 || pid > 0x7fffffff) {
    throw new CrimgError("usage.pid", `"${text}" is not a process id`, {
      expected: "a number from 1 up",
      hint: "pidof NAME or pgrep NAME finds it",
    });
  }
  return pid;
}
