/** Generated files that come from the code itself, not from the spec. */
import { allRules } from "../../src/validate/catalogue.js";
import { formatIds, registryPath, registrySource } from "./registry.js";
import { rulesPage, rulesPagePath } from "./validation-rules.js";

/** Path → content. */
export function derivedFiles(root: string): ReadonlyMap<string, string> {
  return new Map([
    [registryPath, registrySource(formatIds(root))],
    [rulesPagePath, rulesPage(allRules())],
  ]);
}
