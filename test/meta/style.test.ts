// SPDX-License-Identifier: Apache-2.0
/** The formatter and linter (biome.json) find nothing to say about the sources. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { projectRoot } from "../support/project.js";

test("every source file is formatted and passes the linter", () => {
  const biome = join(projectRoot, "node_modules/.bin/biome");
  const { status, stdout, stderr } = spawnSync(biome, ["check", "--error-on-warnings", "--vcs-enabled=false"], {
    cwd: projectRoot,
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(status, 0, `run npx biome check --write\n${stdout}${stderr}`);
});
