// SPDX-License-Identifier: Apache-2.0
/** The npm package as a new user meets it: installed into an empty place, without a network, a compiler or a checkout. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { projectRoot } from "../support/project.js";
import { endTree, run, start, temporaryDirectory, until } from "../support/processes.js";

const { version } = JSON.parse(readFileSync(join(projectRoot, "package.json"), "utf8")) as { version: string };
const packages = join(projectRoot, "build/package");

test("the package installs and works from an empty folder", { timeout: 300_000 }, async (t) => {
  const made = run(process.execPath, [join(projectRoot, "dist/tools/package/main.js"), "man", "npm"], { seconds: 120 });
  assert.equal(made.status, 0, made.stderr);
  const file = join(packages, `crimg-${version}.tgz`);
  assert.ok(statSync(file).size < 3_000_000, `${statSync(file).size} bytes`);
  const names = run("tar", ["-tzf", file]).stdout.split("\n");
  assert.deepEqual(
    names.filter((name) => /test|\.ts$|\.map$|\.c$/.test(name) && !name.endsWith(".d.ts")),
    [],
    "neither tests nor sources",
  );

  const directory = temporaryDirectory(t);
  const prefix = join(directory, "prefix");
  // Only what npm itself needs: no compiler is found, and nothing may be fetched.
  const bare = join(directory, "bin");
  mkdirSync(bare);
  for (const command of ["node", "npm", "sh", "env", "cat", "sleep"]) {
    const found = command === "node" ? process.execPath : run("sh", ["-c", `command -v ${command}`]).stdout.trim();
    writeFileSync(join(bare, command), `#!/bin/sh\nexec ${found} "$@"\n`, { mode: 0o755 });
  }
  const env = { PATH: bare, HOME: directory, npm_config_registry: "http://127.0.0.1:9/", npm_config_update_notifier: "false" };
  const installed = run("npm", ["install", "--global", "--prefix", prefix, "--no-audit", "--no-fund", file], {
    env,
    cwd: directory,
    seconds: 120,
  });
  assert.equal(installed.status, 0, installed.stderr);
  assert.doesNotMatch(installed.stderr, /warn/);

  const empty = join(directory, "empty");
  mkdirSync(empty);
  const command = join(prefix, "bin/crimg");
  const crimg = (...args: string[]) => run(command, args, { cwd: empty, env });
  const log = join(empty, "log");
  const program = start(t, "sh", ["-c", `n=0; while :; do n=$((n+1)); echo $n >> ${log}; sleep 0.05; done`], { cwd: empty });
  await until("it counts", () => existsSync(log));
  const dumped = crimg("dump", String(program.pid), "-o", "image.elf");
  assert.equal(dumped.status, 0, dumped.stderr);
  const before = readFileSync(log, "utf8").length;
  assert.match(crimg("show", "image.elf").stdout, /processes?, /);
  assert.equal(crimg("validate", "image.elf").status, 0);
  assert.equal(crimg("convert", "image.elf", "image.json").status, 0);
  assert.equal(crimg("validate", "image.json").status, 0);
  const resumed = spawn(command, ["exec", "image.elf"], { cwd: empty, env: { ...env, PATH: process.env["PATH"] }, stdio: "ignore" });
  t.after(() => endTree(resumed.pid ?? 0));
  await until("it counts on", () => readFileSync(log, "utf8").length > before);
  const info = JSON.parse(crimg("--version", "--json").stdout) as Record<string, unknown>;
  assert.equal(info["version"], version);
  assert.equal(info["node"], process.versions.node);

  // The library, from a project that has it.
  writeFileSync(
    join(empty, "use.mjs"),
    `import { open } from "crimg"; const c = await open("image.elf"); console.log(c.tasks.length); c.close();`,
  );
  mkdirSync(join(empty, "node_modules"));
  spawnSync("ln", ["-s", join(prefix, "lib/node_modules/crimg"), join(empty, "node_modules/crimg")]);
  const used = run(process.execPath, ["use.mjs"], { cwd: empty });
  assert.equal(used.status, 0, used.stderr);
  assert.match(used.stdout, /^[12]\n$/);
});

test("the addon needs no C library, so that Node with any can load it", () => {
  const { stdout } = run("readelf", ["-dW", join(projectRoot, "build/addon.node")]);
  assert.doesNotMatch(stdout, /NEEDED/);
  const undefinedNames = run("nm", ["-D", "--undefined-only", join(projectRoot, "build/addon.node")]).stdout;
  const names = [...undefinedNames.matchAll(/^\s+(\w) (\S+)/gm)].map(([, kind = "", name = ""]) => ({ kind, name }));
  // What is weak need not be there: functions of some versions of Node, and what is done instead.
  const isNodes = ({ kind, name }: { kind: string; name: string }): boolean =>
    name.startsWith("napi_") || (kind === "w" && /^(node_api_|_ZN2v8)/.test(name));
  assert.ok(names.length > 20, undefinedNames);
  assert.deepEqual(
    names.filter((one) => !isNodes(one)),
    [],
  );
});

test("manual pages have no errors, and one for each command", (t) => {
  const made = run(process.execPath, [join(projectRoot, "dist/tools/package/main.js"), "man"]);
  assert.equal(made.status, 0, made.stderr);
  const folder = join(packages, "manual/man");
  const commands = run(join(projectRoot, "bin/crimg"), ["--help"]).stdout.matchAll(/^ {2}crimg (\w+) /gm);
  assert.deepEqual(readdirSync(folder).sort(), ["crimg.1", ...[...commands].map(([, name]) => `crimg-${name}.1`)].sort());
  if (spawnSync("groff", ["--version"]).status !== 0) return t.skip("groff is not installed");
  for (const page of readdirSync(folder)) {
    const { status, stdout, stderr } = run("groff", ["-man", "-Kutf8", "-Tutf8", "-P-cbou", "-ww", join(folder, page)]);
    assert.equal(status, 0);
    assert.equal(stderr, "", page);
    assert.match(stdout, /NAME/);
  }
});

test("npm pack in a checkout says how the package is made", () => {
  const { status, stderr } = run("npm", ["pack", "--dry-run"], { cwd: projectRoot });
  assert.notEqual(status, 0);
  assert.match(stderr, /npm run package/);
});
