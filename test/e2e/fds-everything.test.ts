// SPDX-License-Identifier: Apache-2.0
/** A program that has one of everything open is dumped and resumed, twice, and finds all of it as it was. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { dumpAndResume } from "../support/cycle.js";
import { compile, endTree, start, temporaryDirectory, until } from "../support/processes.js";

const lines = (log: string): string[] => {
  try {
    return readFileSync(log, "utf8").trim().split("\n");
  } catch {
    return [];
  }
};

for (const times of [1, 2]) {
  test(`descriptors of every kind after ${times === 1 ? "a resume" : "two"}`, { timeout: 240_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const log = join(directory, "log");
    const program = start(t, compile("descriptors.c", directory), [log, directory]);
    await until("the program has opened everything", () => lines(log).includes("ready"));
    let pid = program.pid;
    for (let turn = 1; turn <= times; turn++) {
      ({ pid } = await dumpAndResume(t, pid, join(directory, `image${turn}.elf`)));
    }
    t.after(() => endTree(pid));
    process.kill(pid, "SIGUSR1");
    await until("the program has looked at everything", () => lines(log).includes("done"));
    const results = lines(log).filter((line) => line !== "ready" && line !== "done");
    assert.ok(results.length >= 30, results.join("\n"));
    assert.deepEqual(
      results.filter((line) => !line.startsWith("ok ")),
      [],
    );
  });
}
