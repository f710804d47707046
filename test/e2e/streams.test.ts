// SPDX-License-Identifier: Apache-2.0
/** Images through pipes: from a dump to a resume without a name, and writers that a signal ends. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, spawned, start, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

test("a dump flows through a pipe into a resume", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid } = start(t, compile("counter.c", directory), [log], { cwd: directory });
  await moreTicks(log, 3);
  spawned.add(pid);
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith(".crimg-"));
  // Not synchronously: this process has to see the end of the program.
  // The dump needs no room for a file.
  const pipeline = spawn("sh", ["-c", `TMPDIR=/nonexistent ${crimgCommand} dump ${pid} -o - | ${crimgCommand} exec --detach -`], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  await until("both have ended", () => pipeline.exitCode !== null);
  assert.equal(pipeline.exitCode, 0);
  t.after(() => endTree(pid));
  await moreTicks(log, 3);
  assertUnbroken(log);
  assert.deepEqual(
    readdirSync(tmpdir()).filter((name) => name.startsWith(".crimg-") && !before.includes(name)),
    [],
  );
});

test("a signal ends a writer that nobody reads from, and the program runs on", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid } = start(t, compile("counter.c", directory), [log], { cwd: directory });
  await moreTicks(log, 3);
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image, "--leave-running").status, 0);
  for (const words of [
    ["dump", String(pid), "-o", "-"],
    ["convert", image, "-", "--to", "core"],
  ]) {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const writer = spawn(crimgCommand, words, { stdio: ["ignore", "pipe", "ignore"] });
      t.after(() => writer.kill("SIGKILL"));
      writer.stdout.pause();
      // Long enough for the pipe to be full, mostly; earlier it ends by itself.
      await pause(1.5);
      writer.kill(signal);
      await until("it has ended", () => writer.signalCode !== null || writer.exitCode !== null);
      assert.ok(writer.signalCode === signal || writer.exitCode === (signal === "SIGINT" ? 130 : 143), words.join(" "));
    }
  }
  await moreTicks(log, 3);
});
