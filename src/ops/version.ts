// SPDX-License-Identifier: Apache-2.0
/** The version in package.json. */
import { readResource } from "../resources/resources.js";

/** "0.1.0". */
export function crimgVersion(): string {
  const parsed: unknown = JSON.parse(Buffer.from(readResource("package.json")).toString("utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed ? String(parsed.version) : "unknown";
}

/** "crimg 0.1.0": what images name as their creator. */
export const programVersion = (): string => `crimg ${crimgVersion()}`;
