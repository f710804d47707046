// SPDX-License-Identifier: Apache-2.0
/** dump --parent: only what has changed is stored, all of it comes back, and a parent that is none is told. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, isAlive, spawned, start, temporaryDirectory, until } from "../support/processes.js";

function resume(t: TestContext, image: string): void {
  const child = spawn(image, ["--detach"], { stdio: "ignore" });
  if (child.pid !== undefined) spawned.add(child.pid);
  t.after(() => child.kill("SIGKILL"));
}

function ok(...words: string[]): void {
  const { status, stderr } = crimg(...words);
  assert.equal(status, 0, `crimg ${words.join(" ")}: ${stderr}`);
}

test("images on images, merged, moved away and exchanged", { timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const at = (name: string): string => join(directory, name);
  const log = at("log");
  // 24 MiB that stay, beside memory of which most changes.
  const { pid } = start(t, compile("changes-memory.c", directory, "-lpthread"), [log, "2", "24"], { cwd: directory });
  t.after(() => endTree(pid));
  await moreTicks(log, 4);
  const gone = () => until("it is gone", () => !existsSync(`/proc/${pid}`) || !isAlive(pid));
  ok("dump", String(pid), "-o", at("base.elf"), "--leave-running");
  await moreTicks(log, 4);
  ok("dump", String(pid), "-o", at("two.elf"), "--parent", at("base.elf"), "--leave-running");
  await moreTicks(log, 4);
  ok("dump", String(pid), "-o", at("three.elf"), "--parent", at("two.elf"));
  await gone();
  const sizes = ["base.elf", "two.elf", "three.elf"].map((name) => statSync(at(name)).size);
  assert.ok((sizes[0] ?? 0) > 26 << 20, `${sizes}`);
  for (const size of sizes.slice(1)) assert.ok(size < 8 << 20, `${sizes}`);
  for (const name of ["two.elf", "three.elf"]) {
    const { status, stdout } = crimg("validate", at(name));
    assert.equal(status, 0, stdout);
    assert.match(stdout, /nothing wrong/);
  }

  resume(t, at("three.elf"));
  await moreTicks(log, 6);
  endTree(pid);
  await gone();
  ok("convert", "--flatten", at("three.elf"), at("flat.elf"));
  assert.ok(statSync(at("flat.elf")).size > 26 << 20);

  // Whoever is not there, or is another one, is told: before anything is made.
  renameSync(at("base.elf"), at("elsewhere"));
  const missing = spawnSync(at("three.elf"), { encoding: "utf8", timeout: 20_000 });
  assert.equal(missing.status, 125);
  assert.match(missing.stderr, /open the parent image .*base\.elf.*No such file/);
  assert.match(crimg("validate", at("three.elf")).stdout, /pages\.parent.*base\.elf: it is not there/);
  assert.match(crimg("convert", at("three.elf"), at("x.elf")).stderr, /in its parent .*base\.elf: it is not there\n.*\n.*put it back/);
  copyFileSync(at("two.elf"), at("base.elf"));
  const wrong = spawnSync(at("three.elf"), { encoding: "utf8", timeout: 20_000 });
  assert.equal(wrong.status, 125);
  assert.match(wrong.stderr, /parent image .*base\.elf[\s\S]*is not the image that this one was made on/);
  assert.match(crimg("convert", at("three.elf"), at("x.elf")).stderr, /another file is there/);
  // Beside the image it is found by whoever reads it.
  mkdirSync(at("moved"));
  for (const [from, to] of [
    ["elsewhere", "base.elf"],
    ["two.elf", "two.elf"],
    ["three.elf", "three.elf"],
  ] as const) {
    copyFileSync(at(from), join(directory, "moved", to));
  }
  ok("convert", join(directory, "moved/three.elf"), at("again.elf"));
  assert.equal(statSync(at("again.elf")).size, statSync(at("flat.elf")).size);

  resume(t, at("again.elf"));
  await moreTicks(log, 6);
});

test("a parent of other processes, of another format, or the image itself is refused", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const at = (name: string): string => join(directory, name);
  const program = compile("counter.c", directory);
  const [first, second] = ["one", "two"].map((name) => start(t, program, [at(name)], { cwd: directory }).pid);
  await moreTicks(at("one"), 1);
  await moreTicks(at("two"), 1);
  ok("dump", String(first), "-o", at("first.elf"), "--leave-running");
  const refused = (...words: string[]): string => {
    const { status, stderr } = crimg("dump", String(second), "--leave-running", ...words);
    assert.notEqual(status, 0);
    return stderr;
  };
  assert.match(refused("-o", at("x.elf"), "--parent", at("first.elf")), /is no parent of this dump: its processes are \d+/);
  assert.match(refused("-o", at("x.elf"), "--parent", at("none.elf")), /none\.elf/);
  assert.match(refused("-o", at("x"), "--to", "core", "--parent", at("first.elf")), /core cannot leave pages to a parent/);
  assert.match(refused("-f", "-o", at("first.elf"), "--parent", at("first.elf")), /replace its own parent/);
  assert.ok(!existsSync(at("x.elf")));
  await moreTicks(at("two"), 1);
});
