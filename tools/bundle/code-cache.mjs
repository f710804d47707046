// SPDX-License-Identifier: Apache-2.0
/**
 * Makes the bundles' code caches, one a command: node code-cache.mjs. A cache holds the functions that ran until it was
 * made, so the commands run here, on an image of a child that waits. Where that may not be dumped (another process
 * traces us, say) the caches hold less, and nothing is lost.
 *
 * node code-cache.mjs NAME WORDS… makes one: of a command line, or of several with "+" between them. With "whole:" before the
 * name it is one for the bundle of all commands, though the command has a bundle of its own.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";

const { cacheOf, loadBundle } = createRequire(import.meta.url)("../../bin/bundle.cjs");

async function makeOne(name, lines) {
  // Commands do not set flags here (src/cli/short-run.ts).
  globalThis[Symbol.for("crimg.makes-cache")] = true;
  // V8 forgets the code of functions that have not run for a while, and what it has forgotten is in no cache.
  setFlagsFromString("--no-flush-bytecode");
  const [, whole, command] = /^(whole:)?(.*)$/.exec(name);
  const { runCommandLine, script, filename } = loadBundle(command, [], whole !== undefined);
  for (const words of lines) if ((await runCommandLine(words)) !== 0) process.exitCode = 1;
  // The flags of a cache must be those of whoever uses it.
  setFlagsFromString("--flush-bytecode");
  writeFileSync(cacheOf(command, filename), script.createCachedData());
}

function makeAll(directory, { pid, largePid, endedPid }) {
  const path = (name) => join(directory, name);
  const image = path("image.elf");
  // Whatever descriptors the child inherited.
  const dumpOf = (child, name) => ["dump", String(child), "-o", path(name), "--force", "--json", "--ignore", "descriptor"];
  const dump = [...dumpOf(largePid, "large.elf"), "--leave-running", "+", ...dumpOf(pid, "image.elf"), "--leave-running"];
  const conversions = ["ckpt-elf", "core", "criu", "json"].flatMap((format) => ["+", "convert", image, path(format), "--to", format]);
  const run = ["run", "--image", path("run.elf"), "--at", "100ms", "-q", "--", "sleep", "3"];
  const lines = {
    other: ["--version"],
    // What every start needs, and no more: an image is to be shown without reading much (test/e2e/large-images.test.ts).
    show: ["--version"],
    "whole:dump": dump,
    dump: [...dump, "+", ...dumpOf(endedPid, "ended.elf")],
    run,
    convert: conversions.slice(1),
    validate: ["validate", image],
    explain: ["explain", image],
  };
  for (const [name, words] of Object.entries(lines)) {
    const stdio = ["ignore", "ignore", "pipe"];
    const options = { stdio, timeout: 30_000, encoding: "utf8" };
    const { status, stderr } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), name, ...words], options);
    if (status === 0) continue;
    console.error(`build: the code cache of ${name} lacks some of what it could hold: ${stderr.trim() || `exit status ${status}`}`);
    process.exitCode = 1;
  }
}

const [name, ...words] = process.argv.slice(2);
if (name !== undefined) {
  const lines = words.reduce((all, word) => (word === "+" ? [...all, []] : [...all.slice(0, -1), [...(all.at(-1) ?? []), word]]), [[]]);
  await makeOne(name, lines);
} else {
  const directory = mkdtempSync(join(tmpdir(), "crimg-build-"));
  const ended = spawn("sleep", ["60"], { stdio: "ignore" });
  // It waits for more, and has so much memory that its mappings are read before it is frozen (src/dump/early-mappings.ts).
  const waiting = spawn("sort", [], { stdio: ["pipe", "ignore", "ignore"] });
  // If the write fails so do the dumps, which say why.
  waiting.stdin.on("error", () => undefined);
  const isWritten = new Promise((resolve) => waiting.stdin.write(Buffer.alloc(8 << 20, "a line of text\n"), resolve));
  // What larger programs have: threads, much memory, descriptors of several kinds.
  const large = spawn(process.execPath, ["-e", "setTimeout(() => {}, 60_000)"], { stdio: "ignore", env: { UV_USE_IO_URING: "0" } });
  try {
    await Promise.all([isWritten, new Promise((resolve) => setTimeout(resolve, 300))]);
    makeAll(directory, { pid: waiting.pid, largePid: large.pid, endedPid: ended.pid });
  } finally {
    waiting.kill();
    ended.kill();
    large.kill();
    rmSync(directory, { recursive: true, force: true });
  }
}
