// SPDX-License-Identifier: Apache-2.0
/** Thousands of mappings that are shared memory of their own each: no object is looked for among all mappings. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { open } from "../../src/index.js";
import { projectRoot } from "../support/project.js";
import { run, start, temporaryDirectory, until } from "../support/processes.js";

const bin = join(projectRoot, "bin/crimg");

const program = `
import mmap, sys, time
kept = [mmap.mmap(-1, 8192) for n in range(5000)]
for n, one in enumerate(kept): one[0] = n % 251
open(sys.argv[1], 'w')
time.sleep(600)
`;

test("a program with five thousand pieces of shared memory is dumped in seconds", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const ready = join(directory, "ready");
  const { pid } = start(t, "/usr/bin/python3", ["-c", program, ready], { cwd: directory });
  await until("the program is ready", () => existsSync(ready));
  const image = join(directory, "image.elf");
  // It takes 2 s; with a look at all mappings for each object it took 45.
  const dumped = run(bin, ["dump", String(pid), "-o", image, "--leave-running", "--ignore", "descriptor"], { seconds: 20 });
  assert.equal(dumped.status, 0, dumped.stderr);
  const checkpoint = await open(image);
  t.after(() => checkpoint.close());
  const shared = checkpoint.tasks.flatMap(({ maps }) => maps.filter(({ kind }) => kind === "anon_shared"));
  assert.equal(shared.length, 5000);
});
