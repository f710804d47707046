// SPDX-License-Identifier: Apache-2.0
/**
 * Real programs, each dumped while busy, killed, resumed by executing its own image, held against its state before,
 * seen to go on, and dumped and resumed a second time from an image that needs nothing of the first.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { assertUnbroken, dumpAndResume, moreTicks, ticks } from "../support/cycle.js";
import { innerPid } from "../support/namespaced.js";
import { compile, run, start, temporaryDirectory, until } from "../support/processes.js";
import { projectRoot } from "../support/project.js";

interface Subject {
  readonly name: string;
  /** Command and arguments, given a directory and the log to write. */
  readonly command: (directory: string, log: string) => readonly [string, ...string[]];
  readonly mayDiffer?: RegExp;
}

const program = (name: string): string => join(projectRoot, "test/programs", name);
const installed = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;

const subjects: readonly Subject[] = [
  { name: "a static C program", command: (directory, log) => [compile("counter.c", directory, "-static"), log] },
  { name: "a dynamic C program", command: (directory, log) => [compile("counter.c", directory), log] },
  { name: "AVX-512 state in registers", command: (directory, log) => [compile("avx512.c", directory), log] },
  { name: "python3 with three threads and 200 MB", command: (_, log) => ["/usr/bin/python3", program("threads.py"), log] },
  { name: "node with timers and a worker", command: (_, log) => [process.execPath, program("worker.mjs"), log] },
  { name: "a bash loop with a pipeline of children", command: (_, log) => ["bash", program("pipeline.sh"), log] },
  { name: "java with a running heap", command: (_, log) => ["java", "-Xmx128m", program("Heap.java"), log] },
];

for (const subject of subjects) {
  test(subject.name, { timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const log = join(directory, "log");
    const [command, ...args] = subject.command(directory, log);
    if (!existsSync(command) && !installed(command)) return t.skip(`${command} is not installed`);
    const first = start(t, command, args, { cwd: directory });
    await moreTicks(log, 5, 60);
    if (!ticks(log).length) return t.skip("this CPU has no AVX-512");

    const second = await dumpAndResume(t, first.pid, join(directory, "first.elf"), subject);
    await moreTicks(log, 5);
    const third = await dumpAndResume(t, second.pid, join(directory, "second.elf"), subject);
    rmSync(join(directory, "first.elf"));
    await moreTicks(log, 5);
    assertUnbroken(log);
    assert.equal(innerPid(third.pid), first.pid, "it has its old pid");
  });
}

test("redis-server with 100,000 keys on tcp and unix sockets", { timeout: 180_000 }, async (t) => {
  if (!installed("redis-server")) return t.skip("redis-server is not installed");
  const directory = temporaryDirectory(t);
  const socket = join(directory, "redis.sock");
  const port = String(20_000 + (process.pid % 20_000));
  const cli = (...args: string[]): string => run("redis-cli", ["-s", socket, ...args], { seconds: 60 }).stdout.trim();
  const first = start(
    t,
    "redis-server",
    ["--port", port, "--unixsocket", socket, "--save", "", "--dir", directory, "--enable-debug-command", "local"],
    { cwd: directory },
  );
  await until("redis answers", () => cli("ping") === "PONG");
  assert.equal(cli("debug", "populate", "100000", "key", "64"), "OK");
  const digest = cli("debug", "digest");

  let pid = first.pid;
  for (const image of ["first.elf", "second.elf"]) {
    pid = (await dumpAndResume(t, pid, join(directory, image))).pid;
    assert.equal(cli("dbsize"), "100000");
    assert.equal(cli("debug", "digest"), digest);
    assert.equal(run("redis-cli", ["-p", port, "get", "key:99999"]).stdout.trim(), cli("get", "key:99999"));
    assert.equal(cli("set", "written", image), "OK");
    assert.equal(cli("del", "written"), "1");
  }
});

test("one process through 100 cycles: nothing drifts", { timeout: 600_000 }, async (t: TestContext) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const child = start(t, compile("counter.c", directory), [log], { cwd: directory });
  await moreTicks(log, 2);
  let pid = child.pid;
  for (let cycle = 1; cycle <= 100; cycle++) {
    const image = join(directory, `${cycle % 2}.elf`);
    rmSync(image, { force: true });
    pid = (await dumpAndResume(t, pid, image)).pid;
    await moreTicks(log, 1);
  }
  assertUnbroken(log);
});
