// SPDX-License-Identifier: Apache-2.0
/** A program that has one of everything open is dumped and resumed, twice, and finds all of it as it was. */
import assert from "node:assert/strict";
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
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

test("files that are open many times are so again, each with its number, flags and place", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [file, other, log] = ["file", "other", "log"].map((name) => join(directory, name)) as [string, string, string];
  writeFileSync(file, "0123456789");
  writeFileSync(other, "abc");
  // Numbers of the two are mixed; two have been read from.
  const script = `for i in {20..79}; do
    case $((i % 3)) in 0) eval "exec $i<${file}";; 1) eval "exec $i>>${file}";; 2) eval "exec $i<>${other}";; esac
  done; read -r -N 4 -u 21; read -r -N 3 -u 24; echo ready >${log}; while :; do read -t 60 <> <(:); done`;
  const program = start(t, "bash", ["-c", script]);
  await until("the program has opened everything", () => lines(log).includes("ready"));
  const table = (pid: number): unknown =>
    Array.from({ length: 60 }, (_, index) => {
      const fd = index + 20;
      const [pos, flags] = readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8").split("\n");
      return [fd, readlinkSync(`/proc/${pid}/fd/${fd}`), pos, flags];
    });
  const before = table(program.pid);
  assert.match(JSON.stringify(before), /"pos:\\t4"[^[]*flags.*"pos:\\t3"/);
  const { pid } = await dumpAndResume(t, program.pid, join(directory, "image.elf"));
  t.after(() => endTree(pid));
  assert.deepEqual(table(pid), before);
});
