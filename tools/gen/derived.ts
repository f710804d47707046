// SPDX-License-Identifier: Apache-2.0
/** Generated files that come from the code itself, not from the spec. */
import { allRules } from "../../src/validate/catalogue.js";
import { cliPage, cliPagePath } from "./cli-page.js";
import { formatIds, registryPath, registrySource } from "./registry.js";
import { rulesPage, rulesPagePath } from "./validation-rules.js";

/** Path → content. */
export async function derivedFiles(root: string): Promise<ReadonlyMap<string, string>> {
  return new Map([
    [registryPath, registrySource(formatIds(root))],
    [rulesPagePath, rulesPage(allRules())],
    [cliPagePath, await cliPage()],
  ]);
}
