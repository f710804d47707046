// SPDX-License-Identifier: Apache-2.0
/** Files generated from the code itself are up to date. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { derivedFiles } from "../../tools/gen/derived.js";
import { projectRoot } from "../support/project.js";

for (const [path, content] of await derivedFiles(projectRoot)) {
  test(`${path} is up to date`, () => {
    assert.equal(readFileSync(join(projectRoot, path), "utf8"), content, "stale: run `npm run generate`");
  });
}
