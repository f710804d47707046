/** The version in package.json. */
import { readFileSync } from "node:fs";

/** "crimg 0.1.0": what images name as their creator. */
export function programVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"));
  return typeof parsed === "object" && parsed !== null && "version" in parsed ? `crimg ${String(parsed.version)}` : "crimg";
}
