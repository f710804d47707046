// SPDX-License-Identifier: Apache-2.0
/** The version in package.json. */
import { readFileSync } from "node:fs";

/** "0.1.0". package.json is three folders above dist/src/ops (and above the bundle). */
export function crimgVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed ? String(parsed.version) : "unknown";
}

/** "crimg 0.1.0": what images name as their creator. */
export const programVersion = (): string => `crimg ${crimgVersion()}`;
