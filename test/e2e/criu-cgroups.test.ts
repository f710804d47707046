// SPDX-License-Identifier: Apache-2.0
/** Control groups go from crimg to CRIU and back: the group is made again with its limit, and the program is in it. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { criuDump, gone } from "../support/criu-run.js";
import { endTree, run, start, temporaryDirectory, until } from "../support/processes.js";
import { criuBin, crimgCommand, noCriu } from "../support/project.js";

/** The hierarchy of the pids controller, version 1. */
const hierarchy = "/sys/fs/cgroup/pids";
const skip =
  process.getuid?.() !== 0
    ? "needs root"
    : criuBin === undefined
      ? noCriu
      : existsSync(`${hierarchy}/tasks`)
        ? false
        : "there is no pids hierarchy of version 1 here";

function remove(path: string): void {
  for (let tries = 0; tries < 200 && existsSync(path); tries++) {
    try {
      rmdirSync(path);
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

test("crimg to CRIU, and CRIU to an executable", { skip, timeout: 120_000 }, async (t) => {
  const group = mkdtempSync(join(hierarchy, "crimg-test-"));
  const below = join(group, "below");
  t.after(() => {
    for (const path of [below, group]) remove(path);
  });
  const directory = temporaryDirectory(t);
  mkdirSync(below);
  writeFileSync(join(below, "pids.max"), "77");
  const script = `open('${below}/cgroup.procs', 'w').write('0'); open('ready', 'w').close(); import time; time.sleep(600)`;
  const { pid } = start(t, "python3", ["-c", script], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  const ours = /^\d+:pids:(.*)$/m;
  const groupOf = (): string => ours.exec(readFileSync(`/proc/${pid}/cgroup`, "utf8"))?.[1] ?? "";
  const where = groupOf();
  assert.match(where, /below$/);
  const crimg = (...words: string[]): void => {
    const { status, stderr } = run(crimgCommand, words);
    assert.equal(status, 0, stderr);
  };
  const clear = async (): Promise<void> => {
    await gone([pid]);
    for (const path of [below, group]) remove(path);
    assert.equal(existsSync(group), false);
  };
  const assertBack = (): void => {
    assert.equal(groupOf(), where);
    assert.equal(readFileSync(join(below, "pids.max"), "utf8").trim(), "77");
  };
  const [image, set, again] = ["image.elf", "set", "again.elf"].map((name) => join(directory, name)) as [string, string, string];

  crimg("dump", String(pid), "-o", image, "--manage-cgroups=soft");
  await clear();
  crimg("convert", image, set, "--to", "criu", "--strict");
  const restored = run(criuBin ?? "", ["restore", "-d", "-D", set, "--manage-cgroups=soft", "-o", "restore.log", "-v2"]);
  assert.equal(restored.status, 0, readFileSync(join(set, "restore.log"), "utf8"));
  t.after(() => endTree(pid));
  assertBack();

  const second = join(directory, "second");
  await criuDump(pid, second, "--manage-cgroups=soft");
  await clear();
  crimg("convert", second, again);
  crimg("exec", again, "--detach", "--manage-cgroups=soft");
  assertBack();
});
