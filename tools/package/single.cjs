// SPDX-License-Identifier: Apache-2.0
/**
 * What the single executable runs: bin/bundle.cjs with the files inside the executable instead of those beside it. Plain
 * script, since Node takes the entry of a single executable as it is.
 */
const { createRequire } = require("node:module");
const { getRawAsset } = require("node:sea");
const { Script } = require("node:vm");

const asset = (name) => new Uint8Array(getRawAsset(name));
globalThis[Symbol.for("crimg.assets")] = asset;

/** The cache of a command, or the one for those without. */
function cacheOf(command) {
  try {
    return Buffer.from(getRawAsset(`bundle/${command}.cache`));
  } catch {
    return Buffer.from(getRawAsset("bundle/other.cache"));
  }
}

const words = process.argv.slice(2);
if (words[0] === "run") {
  const early = [];
  globalThis[Symbol.for("crimg.early-signals")] = early;
  for (const name of ["SIGUSR1", "SIGUSR2", "SIGTERM"]) process.on(name, (signal) => early.push(signal));
}
const filename = process.execPath;
const source = Buffer.from(getRawAsset("bundle/main.cjs")).toString("latin1");
const script = new Script(source, { filename: "/crimg/dist/bundle/cli/main.cjs", cachedData: cacheOf(words[0] ?? "other") });
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, createRequire(filename), module_, filename, "/crimg/dist/bundle/cli");
const { endWith, runCommandLine } = module_.exports;
endWith(runCommandLine(words));
