// SPDX-License-Identifier: Apache-2.0
/** A thread that has used its stack to the end: the stack grows for what is borrowed of it, as for a signal. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { compile, crimg, endTree, spawned, start, temporaryDirectory, until } from "../support/processes.js";

test("a thread at the end of its stack is dumped and resumed", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const { pid } = start(t, compile("deep-stack.c", directory), [log]);
  const lines = (): number => (existsSync(log) ? readFileSync(log, "latin1").split("\n").length : 0);
  const goesOn = async (): Promise<void> => {
    const before = lines();
    await until(`more than ${before} lines`, () => lines() > before + 1, 20);
  };
  await goesOn();
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running");
  assert.equal(status, 0, stderr);
  await goesOn();
  endTree(pid);
  await until("it is gone", () => !existsSync(`/proc/${pid}`));
  const child = spawn(image, [], { stdio: "ignore" });
  if (child.pid !== undefined) spawned.add(child.pid);
  t.after(() => endTree(child.pid as number));
  await goesOn();
});
