// SPDX-License-Identifier: Apache-2.0
import { CrimgError } from "../errors/crimg-error.js";

/** `10`, `0.5` → seconds, above 0 and at most a day. Throws CrimgError `usage.seconds`. */
export function parseSeconds(option: string, text: string): number {
  const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds > 0 && seconds <= 86_400) return seconds;
  throw new CrimgError("usage.seconds", `${option} ${text}: not a number of seconds`, { expected: "seconds, such as 10 or 0.5" });
}
