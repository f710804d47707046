// SPDX-License-Identifier: Apache-2.0
// Builds everything: TypeScript into dist/, the native parts (native/Makefile) into build/, then the command line's bundles. These
// come last, since their code caches hold what ran in a dump, which needs all the rest.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const typescript = createRequire(import.meta.url).resolve("typescript/package.json");

/** Runs a command in the checkout and stops the build if it fails. */
function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (error) console.error(`build: cannot run ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}

run(process.execPath, [join(dirname(typescript), "bin", "tsc"), "-p", "."]);
run(process.execPath, [join(dirname(typescript), "bin", "tsc"), "-p", "browser"]);
if (existsSync(join(root, "native/Makefile"))) run("make", ["--no-print-directory", "-s", "-C", "native"]);
run(process.execPath, [join(root, "tools/bundle.mjs")]);
