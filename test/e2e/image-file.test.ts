// SPDX-License-Identifier: Apache-2.0
/** An image in other tools' eyes: readelf, file, strace; and `crimg explain` tells what strace sees. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { dumpAndKill, moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, run, start, temporaryDirectory, until } from "../support/processes.js";

const installed = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;

async function frozen(t: TestContext): Promise<{ directory: string; image: string; log: string; pid: number }> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid } = start(t, compile("counter.c", directory), [log], { cwd: directory });
  await moreTicks(log, 2);
  const image = join(directory, "image.elf");
  await dumpAndKill(pid, image);
  return { directory, image, log, pid };
}

test("readelf lists the tables by name and complains of nothing", {
  skip: !installed("readelf") && "readelf is not installed",
}, async (t) => {
  const { image } = await frozen(t);
  const { status, stdout, stderr } = run("readelf", ["-lSW", image]);
  assert.equal(status, 0);
  assert.equal(stderr, "");
  assert.match(stdout, /Elf file type is EXEC/);
  for (const table of ["tasks", "threads", "vmas", "extents", "files", "descriptors"])
    assert.match(stdout, new RegExp(`\\.ckpt\\.${table}\\b`));
});

test("file says that it is an executable", { skip: !installed("file") && "file is not installed" }, async (t) => {
  const { image } = await frozen(t);
  assert.match(run("file", [image]).stdout, /ELF 64-bit LSB executable, x86-64/);
});

test("strace sees what explain tells", { skip: !installed("strace") && "strace is not installed", timeout: 180_000 }, async (t) => {
  const { directory, image, log } = await frozen(t);
  const explained = crimg("explain", image).stdout;
  const trace = join(directory, "trace");
  const tracer = start(t, "strace", ["-qq", "-o", trace, image], { cwd: directory });
  await moreTicks(log, 2);
  const lines = await until("strace has written", () => {
    const seen = readFileSync(trace, "utf8").trim().split("\n");
    return seen.length > 50 && seen;
  });
  endTree(tracer.pid);
  // From the first op on: before it, stage 1 loads the program.
  const begin = lines.findIndex((line) => line.startsWith("rt_sigprocmask("));
  assert.ok(begin > 0 && begin < 20, lines.slice(0, 20).join("\n"));
  for (const line of lines.slice(begin)) {
    const call = /^(\w+)\(/.exec(line)?.[1];
    if (call === undefined || call === "futex") continue; // not a call; how counters are waited for
    assert.ok(explained.includes(`${call}(`), `explain does not tell: ${line}`);
    const path = /"(\/[^"]*)"/.exec(line)?.[1];
    if (path !== undefined) assert.ok(explained.includes(path), `explain does not name ${path}: ${line}`);
  }
});
