// SPDX-License-Identifier: Apache-2.0
/** An image executed while the process that was dumped still holds its pid: it waits for the end of that one. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, start, temporaryDirectory, until } from "../support/processes.js";

/** A parent that looks after its ended child only a second and a half later. */
const lateParent = `
import os, subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
open(sys.argv[1], "w").write(str(child.pid) + " ")
while open(f"/proc/{child.pid}/stat").read().split(") ")[1][0] != "Z": time.sleep(0.01)
time.sleep(1.5)
child.wait()
time.sleep(600)
`;

test("an image waits until the process that it replaces is gone", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, pidfile, image] = ["log", "pid", "image.elf"].map((name) => join(directory, name)) as [string, string, string];
  start(t, "python3", ["-c", lateParent, pidfile, compile("counter.c", directory), log], { cwd: directory });
  const pid = await until("the child runs", () => {
    try {
      return /^(\d+) /.exec(readFileSync(pidfile, "latin1"))?.[1];
    } catch {
      return undefined;
    }
  });
  await moreTicks(log, 3);
  const dumped = crimg("dump", pid, "-o", image);
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.match(readFileSync(`/proc/${pid}/stat`, "latin1"), /\) Z /, "nobody has waited for the killed process yet");
  const resumed = start(t, image, [], { cwd: directory });
  t.after(() => endTree(resumed.pid));
  await moreTicks(log, 3);
});
