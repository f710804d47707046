// SPDX-License-Identifier: Apache-2.0
/** Without any privilege: a process of the user's own is dumped, and its image resumes it, twice. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, closeSync, existsSync, openSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { compile, endTree, run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const nobody = 65534;
const isRoot = process.getuid?.() === 0;
/** What makes root an ordinary user with no capability left; an ordinary user needs nothing. */
const unprivileged = isRoot
  ? ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
  : ["env"];

const [first, ...words] = unprivileged as [string, ...string[]];
const canRead = spawnSync(first, [...words, "test", "-x", crimgCommand]).status === 0;
const hasNamespaces = spawnSync(first, [...words, "unshare", "--user", "--pid", "--fork", "true"]).status === 0;

const why = !canRead
  ? "the checkout is not readable for an ordinary user"
  : !hasNamespaces
    ? "no unprivileged user namespaces here"
    : false;

test("an ordinary user dumps and resumes an own process", { skip: why, timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755);
  if (isRoot) chownSync(directory, nobody, nobody);
  const log = join(directory, "log");
  // As a service manager would, somebody else has opened its standard error: it is the caller's after a resume.
  const unreachable = openSync(join(directory, "unreachable"), "w");
  chmodSync(join(directory, "unreachable"), 0);
  t.after(() => closeSync(unreachable));
  const program = start(t, first, [...words, compile("counter.c", directory), log], {
    cwd: directory,
    stdio: ["ignore", "ignore", unreachable],
  });
  await moreTicks(log, 3);

  let pid = program.pid;
  for (const image of ["first.elf", "second.elf"].map((name) => join(directory, name))) {
    const dumped = run(first, [...words, crimgCommand, "dump", String(pid), "-o", image]);
    assert.equal(dumped.status, 0, dumped.stderr);
    await until("the program is gone", () => !existsSync(`/proc/${pid}`));
    const waiter = spawn(first, [...words, image], { cwd: directory, stdio: "ignore" });
    const root = waiter.pid ?? assert.fail("cannot execute the image");
    t.after(() => endTree(root));
    await moreTicks(log, 3);
    // The caller's process, the first process of the namespace, the program.
    pid = await until("the program is there", () => treeOf(root).at(2));
    assert.equal(readlinkSync(`/proc/${pid}/fd/2`), "/dev/null");
  }
  assertUnbroken(log);
});
