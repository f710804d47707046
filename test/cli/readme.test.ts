// SPDX-License-Identifier: Apache-2.0
/** Every command in README is executed, in order, in one shell in one directory: the page cannot rot. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { closeLeaks, run, temporaryDirectory } from "../support/processes.js";
import { projectRoot } from "../support/project.js";

const readme = readFileSync(join(projectRoot, "README.md"), "utf8");
const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1] ?? "");
/** The block that builds and tests: it cannot run inside the test that it runs. CI runs it as it stands. */
const isSetup = (block: string): boolean => /^npm ci/m.test(block);

test("the commands of README work, one after the other", { timeout: 180_000 }, (t) => {
  const directory = temporaryDirectory(t);
  // `head` closes pipes early: that is how the page shows long output, and no failure.
  const script = [
    closeLeaks,
    "set -e",
    "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
    `export PATH="${join(projectRoot, "bin")}:$PATH"`,
    ...blocks.filter((block) => !isSetup(block)),
  ].join("\n");
  const { status, stdout, stderr } = run("bash", ["-c", script], { cwd: directory, seconds: 150 });
  assert.equal(status, 0, `${stdout.slice(-2000)}\n${stderr}`);
});

test("the two commands of README are those that CI runs", () => {
  const setup = blocks.filter(isSetup).join("\n");
  const ci = readFileSync(join(projectRoot, ".ci/run"), "utf8");
  assert.match(setup, /^npm ci && npm run demo\b/m);
  assert.match(setup, /^npm test\b/m);
  assert.match(ci, /^npm ci\b/m);
  assert.match(ci, /^npm test$/m);
});

test("the demo counts on", { timeout: 240_000 }, () => {
  const { status, stdout, stderr } = run("npm", ["run", "--silent", "demo"], { cwd: projectRoot, seconds: 100 });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /counted to \d+, was frozen into one file and killed, and counted on to \d+/);
});
