// SPDX-License-Identifier: Apache-2.0
// Runs the tests: node tools/test.mjs [PATH…]. A PATH is part of a test's name, such as `unit/` or `cli/readme`.
// Builds first if there is nothing built. Two files at a time: many tests start process trees of their own.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = join(root, "dist/test");

/** Runs a command in the checkout and returns its exit status. */
function run(args) {
  const { status, error } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit" });
  if (error) console.error(`test: ${error.message}`);
  return status ?? 1;
}

if (!existsSync(folder)) {
  const status = run([join(root, "tools/build.mjs")]);
  if (status !== 0) process.exit(status);
}

const filters = process.argv.slice(2).map((filter) => filter.replace(/^(\.\/)?(dist\/)?test\//, "").replace(/\.(ts|js)$/, ""));
const files = readdirSync(folder, { recursive: true })
  .filter((name) => name.endsWith(".test.js"))
  // Built from a source that has since gone.
  .filter((name) => existsSync(join(root, "test", name.replace(/\.js$/, ".ts"))))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  .sort()
  .map((name) => relative(root, join(folder, name)));
if (files.length === 0) {
  console.error(`test: no test matches ${filters.join(" ")}`);
  process.exit(2);
}
process.exit(run(["--test", "--test-concurrency=2", ...files]));
