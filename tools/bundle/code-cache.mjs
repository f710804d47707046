// SPDX-License-Identifier: Apache-2.0
/**
 * Makes the bundle's code caches, one a command: node code-cache.mjs. A cache holds the functions that ran until it was
 * made, so the commands run here, on an image of a child that sleeps. Where that may not be dumped (another process
 * traces us, say) the caches hold less, and nothing is lost.
 *
 * node code-cache.mjs NAME WORDS… makes one: of a command line, or of several with "+" between them.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const { cacheOf, loadBundle } = createRequire(import.meta.url)("../../bin/bundle.cjs");

async function makeOne(name, lines) {
  const { runCommandLine, script } = loadBundle(name);
  for (const words of lines) await runCommandLine(words);
  writeFileSync(cacheOf(name), script.createCachedData());
}

function makeAll(directory, pid) {
  const path = (name) => join(directory, name);
  const image = path("image.elf");
  // Whatever descriptors the child inherited.
  const dump = ["dump", String(pid), "-o", image, "--leave-running", "--ignore", "descriptor"];
  const conversions = ["ckpt-elf", "core", "criu", "json"].flatMap((format) => ["+", "convert", image, path(format), "--to", format]);
  const run = ["run", "--image", path("run.elf"), "--at", "100ms", "-q", "--", "sleep", "3"];
  const lines = {
    other: ["--version"],
    // What every start needs, and no more: an image is to be shown without reading much (test/e2e/large-images.test.ts).
    show: ["--version"],
    dump,
    run,
    convert: conversions.slice(1),
    validate: ["validate", image],
    explain: ["explain", image],
  };
  for (const [name, words] of Object.entries(lines)) {
    const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), name, ...words], { stdio: "ignore", timeout: 30_000 });
    if (status !== 0) process.exitCode = 1;
  }
}

const [name, ...words] = process.argv.slice(2);
if (name !== undefined) {
  const lines = words.reduce((all, word) => (word === "+" ? [...all, []] : [...all.slice(0, -1), [...(all.at(-1) ?? []), word]]), [[]]);
  await makeOne(name, lines);
  process.exitCode = 0;
} else {
  const directory = mkdtempSync(join(tmpdir(), "crimg-build-"));
  const sleeper = spawn("sleep", ["60"], { stdio: "ignore" });
  try {
    makeAll(directory, sleeper.pid);
  } finally {
    sleeper.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}
