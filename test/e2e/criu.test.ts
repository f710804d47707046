// SPDX-License-Identifier: Apache-2.0
/**
 * Real CRIU and crimg take over from one another: what CRIU dumped resumes as an executable, what crimg dumped
 * is restored by CRIU, and a set read and written again is still a set.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { differencesOfSets, readSet, writeSet } from "../support/criu.js";
import { criuDump, criuRestore, gone } from "../support/criu-run.js";
import { compile, crimg, endTree, run, start, temporaryDirectory, treeOf, until, spawned } from "../support/processes.js";
import { criuBin, noCriu, projectRoot } from "../support/project.js";

const skip = criuBin === undefined && noCriu;
const program = (name: string): string => join(projectRoot, "test/programs", name);

/** Something that runs, and a way to see that it goes on undamaged. */
interface Subject {
  readonly name: string;
  /** Starts it; returns its pid when it is worth dumping. */
  readonly start: (t: TestContext, directory: string) => Promise<number>;
  readonly goesOn: (directory: string) => Promise<void>;
}

const logged = (name: string, command: (directory: string, log: string) => readonly [string, ...string[]]): Subject => ({
  name,
  async start(t, directory) {
    const log = join(directory, "ticks");
    const [file, ...args] = command(directory, log);
    const { pid } = start(t, file, args, { cwd: directory });
    await moreTicks(log, 5, 60);
    return pid;
  },
  async goesOn(directory) {
    const log = join(directory, "ticks");
    await moreTicks(log, 5);
    assertUnbroken(log);
  },
});

const resources: Subject = {
  name: "a tree with every kind of resource",
  async start(t, directory) {
    const out = join(directory, "out");
    writeFileSync(out, "");
    start(t, "sh", ["-c", `exec ${compile("resources.c", directory, "-lpthread")} > out`], { cwd: directory });
    await until(
      "everything is set up",
      () => existsSync(join(directory, "pid")) || (readFileSync(out, "utf8") !== "" && assert.fail(readFileSync(out, "utf8"))),
    );
    return Number(readFileSync(join(directory, "pid"), "utf8"));
  },
  async goesOn(directory) {
    writeFileSync(join(directory, "go"), "");
    const said = await until("it has looked at everything", () => readFileSync(join(directory, "out"), "utf8") || undefined);
    assert.equal(said, "ok\n");
  },
};

/** The tool ends a sleep that was interrupted by its dump with EINTR, which this program does not forgive. */
const plain = logged("one process", (directory, log) => [compile("counter.c", directory), log]);
const threaded = logged("python3 with three threads", (_, log) => ["/usr/bin/python3", program("threads.py"), log]);
const ring = logged("a ring of asynchronous I/O with an event in it", (_, log) => ["/usr/bin/python3", program("aio-counter.py"), log]);
const pipeline = logged("a shell with children", (_, log) => ["bash", program("pipeline.sh"), log]);

/** Executes an image in the foreground; what it complains of is shown. Returns the pid of the waiting process. */
function execute(t: TestContext, image: string, directory: string): number {
  const { pid, stderr } = spawn(image, [], { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  stderr.on("data", (text) => t.diagnostic(String(text)));
  assert.ok(pid !== undefined);
  spawned.add(pid);
  t.after(() => endTree(pid));
  return pid;
}

for (const subject of [threaded, pipeline, ring, resources]) {
  test(`dumped by CRIU, read and written again, restored by CRIU: ${subject.name}`, { skip, timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const pid = await subject.start(t, directory);
    await criuDump(pid, join(directory, "one"));
    const losses: string[] = [];
    const checkpoint = await readSet(join(directory, "one"), losses);
    assert.deepEqual(losses, []);
    await writeSet(checkpoint, join(directory, "two"));
    checkpoint.close();
    assert.deepEqual(differencesOfSets(join(directory, "one"), join(directory, "two"), /^$/), []);
    rmSync(join(directory, "one"), { recursive: true });
    criuRestore(t, pid, join(directory, "two"));
    await subject.goesOn(directory);
  });

  test(`dumped by CRIU, resumed as an executable: ${subject.name}`, { skip, timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const pid = await subject.start(t, directory);
    await criuDump(pid, join(directory, "criu"));
    const image = join(directory, "image.elf");
    const converted = crimg("convert", join(directory, "criu"), image);
    assert.equal(converted.status, 0, converted.stderr);
    rmSync(join(directory, "criu"), { recursive: true });
    const waiter = execute(t, image, directory);
    await subject.goesOn(directory);
    assert.ok(subject === resources || treeOf(waiter).includes(pid), "it has its pid again");
  });
}

for (const subject of [plain, threaded, pipeline, ring, resources]) {
  test(`dumped by crimg, restored by CRIU: ${subject.name}`, { skip, timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const pid = await subject.start(t, directory);
    const tree = treeOf(pid);
    const image = join(directory, "image.elf");
    const dumped = crimg("dump", String(pid), "-o", image);
    assert.equal(dumped.status, 0, dumped.stderr);
    await gone(tree);
    const converted = crimg("convert", image, join(directory, "criu"), "--to", "criu");
    assert.equal(converted.status, 0, converted.stderr);
    rmSync(image);
    criuRestore(t, pid, join(directory, "criu"));
    await subject.goesOn(directory);
  });
}

test("redis: CRIU to executable to CRIU, all keys there", { skip, timeout: 180_000 }, async (t) => {
  if (spawnSync("sh", ["-c", "command -v redis-server redis-cli"]).status !== 0) return t.skip("redis is not installed");
  const directory = temporaryDirectory(t);
  const socket = join(directory, "redis.sock");
  const port = String(20_000 + (process.pid % 20_000));
  const cli = (...args: string[]): string => run("redis-cli", ["-s", socket, ...args]).stdout.trim();
  const { pid } = start(
    t,
    "redis-server",
    ["--port", port, "--unixsocket", socket, "--save", "", "--enable-debug-command", "yes", "--dir", directory],
    { cwd: directory },
  );
  await until("redis answers", () => cli("ping") === "PONG");
  assert.equal(cli("debug", "populate", "20000", "key", "64"), "OK");
  const digest = cli("debug", "digest");
  await criuDump(pid, join(directory, "one"));
  const image = join(directory, "image.elf");
  assert.equal(crimg("convert", join(directory, "one"), image).status, 0);
  execute(t, image, directory);
  await until("redis answers again", () => cli("ping") === "PONG");
  assert.equal(cli("debug", "digest"), digest);
  const tree = treeOf(pid);
  const dumped = crimg("dump", String(pid), "-o", join(directory, "two-criu"), "--to", "criu");
  assert.equal(dumped.status, 0, dumped.stderr);
  await gone(tree);
  criuRestore(t, pid, join(directory, "two-criu"));
  await until("redis answers once more", () => cli("ping") === "PONG");
  assert.equal(cli("debug", "digest"), digest);
  assert.equal(cli("dbsize"), "20000");
});
