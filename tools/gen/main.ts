// SPDX-License-Identifier: Apache-2.0
/** Writes the generated files: node dist/tools/gen/main.js (npm run generate). */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { derivedFiles } from "./derived.js";
import { generate } from "./generate.js";
import { SpecError } from "./yaml-values.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "../../..");
try {
  let changed = 0;
  for (const [path, content] of [...generate(root), ...(await derivedFiles(root))]) {
    const file = join(root, path);
    if (existsSync(file) && readFileSync(file, "utf8") === content) continue;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    console.log(`generate: ${path}`);
    changed++;
  }
  console.log(`generate: ${changed} files changed`);
} catch (error) {
  if (!(error instanceof SpecError)) throw error;
  console.error(`generate: ${error.message}`);
  process.exitCode = 1;
}
