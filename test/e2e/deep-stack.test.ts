// SPDX-License-Identifier: Apache-2.0
/** A thread that has used its stack to the end: the stack grows for what is borrowed of it, as for a signal. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { goesOn } from "../support/checking-log.js";
import { compile, crimg, endTree, spawned, start, temporaryDirectory, until } from "../support/processes.js";

test("a thread at the end of its stack is dumped and resumed", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const { pid } = start(t, compile("deep-stack.c", directory), [log]);
  await goesOn(log, 2, 20);
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running");
  assert.equal(status, 0, stderr);
  await goesOn(log, 2, 20);
  endTree(pid);
  await until("it is gone", () => !existsSync(`/proc/${pid}`));
  const child = spawn(image, [], { stdio: "ignore" });
  if (child.pid !== undefined) spawned.add(child.pid);
  t.after(() => endTree(child.pid as number));
  await goesOn(log, 2, 20);
});
