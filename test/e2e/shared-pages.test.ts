// SPDX-License-Identifier: Apache-2.0
/** Memory that parent and children share by copy-on-write: stored once, and shared again after a resume. */
import assert from "node:assert/strict";
import { chownSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, dumpAndResume, moreTicks } from "../support/cycle.js";
import { crimgCommand } from "../support/project.js";
import { compile, crimg, run, start, temporaryDirectory, treeOf } from "../support/processes.js";

/** Memory of a tree, what is shared counted once, MiB. */
function proportional(root: number): number {
  const kib = treeOf(root).map((pid) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0));
  return kib.reduce((sum, one) => sum + one, 0) / 1024;
}

for (const layout of [[], ["adjacent"]])
  test(`six processes that share 64 MiB share them after one resume and after two ${layout}`.trimEnd(), { timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const program = compile("shares-pages.c", directory);
    let { pid } = start(t, program, [directory, "64", ...layout], { cwd: directory });
    const logs = [0, 1, 2, 3, 4, 5].map((who) => join(directory, String(who)));
    for (const log of logs) await moreTicks(log, 2);
    const before = proportional(pid);
    assert.ok(before < 90, `${before} MiB before`);
    for (const name of ["one.elf", "two.elf"]) {
      const image = join(directory, name);
      ({ pid } = await dumpAndResume(t, pid, image, { mayDiffer: / timers:| syscall:/ }));
      assert.ok(statSync(image).size < 100 << 20, `${statSync(image).size} bytes`);
      for (const log of logs) await moreTicks(log, 2);
      for (const log of logs) assertUnbroken(log);
      const after = proportional(pid);
      assert.ok(after < before * 1.1 + 4, `${after} MiB, ${before} before`);
      const { status, stdout } = crimg("validate", image);
      assert.equal(status, 0, stdout);
      // Written again it is as small, and each process has all its pages.
      const again = join(directory, `again-${name}`);
      assert.equal(crimg("convert", image, again).status, 0);
      assert.equal(statSync(again).size, statSync(image).size);
    }
  });

test("an ordinary user, who sees no page numbers, finds them too, and looking leaves them shared", {
  skip: process.getuid?.() !== 0 && "needs root",
}, async (t) => {
  const directory = temporaryDirectory(t);
  chownSync(directory, 65534, 65534);
  const user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
  const { pid } = start(t, "setpriv", [...user, compile("shares-pages.c", directory), directory, "64"], { cwd: directory });
  for (let who = 0; who < 6; who++) await moreTicks(join(directory, String(who)), 2);
  const before = proportional(pid);
  const image = join(directory, "image.elf");
  const { status, stderr } = run("setpriv", [...user, crimgCommand, "dump", String(pid), "-o", image, "--leave-running"]);
  assert.equal(status, 0, stderr);
  assert.ok(statSync(image).size < 100 << 20, `${statSync(image).size} bytes`);
  assert.ok(proportional(pid) < before * 1.1 + 4, `${proportional(pid)} MiB, ${before} before`);
});
