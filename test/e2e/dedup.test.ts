// SPDX-License-Identifier: Apache-2.0
/** --dedup: a program with many equal pages, and children with pages of their own that are equal, comes back whole. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { crimg, endTree, run, start, temporaryDirectory, until } from "../support/processes.js";

const program = `
import hashlib, mmap, os, sys, time
os.chdir(sys.argv[1])
own = mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
def fill(memory):
    for i in range(512):
        memory[i << 12:(i + 1) << 12] = bytes([i % 3 + 1]) * 4096 if i % 8 else i.to_bytes(4, "little") * 1024
fill(own)
child = os.fork()
name = "parent" if child else "child"
# Pages of the child's own, which are the same as the parent's.
if child == 0: fill(own)
good = hashlib.sha256(own).hexdigest()
log = open(name, "a", buffering=1)
while True:
    log.write("%s\\n" % (hashlib.sha256(own).hexdigest() == good))
    time.sleep(0.02)
`;

test("equal pages are stored once, and are there again, at once and lazily", { timeout: 120_000 }, async (t) => {
  let pid = 0;
  t.after(() => endTree(pid));
  const directory = temporaryDirectory(t);
  const [script, image, plain, again] = ["program.py", "image.elf", "plain.elf", "again.elf"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
    string,
  ];
  writeFileSync(script, program);
  ({ pid } = start(t, "python3", [script, directory]));
  const linesOf = (name: string): string[] => {
    const path = join(directory, name);
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : [];
  };
  const goOn = async (): Promise<void> => {
    for (const name of ["parent", "child"]) {
      const before = linesOf(name).length;
      await until(`the ${name} goes on`, () => linesOf(name).length > before + 1);
      assert.deepEqual([...new Set(linesOf(name))], ["True"]);
    }
  };
  await goOn();
  assert.equal(crimg("dump", String(pid), "-o", plain, "--leave-running").status, 0);
  for (const mode of [[], ["--compress", "lz4"], ["--lazy"]]) {
    const dumped = crimg("dump", String(pid), "-o", image, "--force", "--dedup", ...mode);
    assert.equal(dumped.status, 0, dumped.stderr);
    const validated = crimg("validate", image);
    assert.equal(validated.status, 0, validated.stdout);
    assert.ok(statSync(image).size < statSync(plain).size - (2 << 20), `${statSync(image).size} of ${statSync(plain).size} bytes`);
    await until("the program is gone", () => !existsSync(`/proc/${pid}`));
    const resumed = run(image, ["--detach"]);
    assert.equal(resumed.status, 0, resumed.stderr);
    await goOn();
  }
  assert.equal(crimg("convert", plain, again, "--dedup").status, 0);
  assert.equal(crimg("diff", plain, again).status, 0);
  assert.ok(statSync(again).size < statSync(plain).size - (2 << 20));
  assert.equal(crimg("convert", plain, `${plain}.json`, "--dedup").status, 2);
  const withParent = crimg("dump", String(pid), "-o", image, "--force", "--leave-running", "--dedup", "--parent", plain);
  assert.equal(withParent.status, 2, withParent.stderr);
  // A parent with equal pages: what it has for one address is found there.
  assert.equal(crimg("dump", String(pid), "-o", again, "--force", "--leave-running", "--dedup").status, 0);
  assert.equal(crimg("dump", String(pid), "-o", image, "--force", "--parent", again).status, 0);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  assert.equal(run(image, ["--detach"]).status, 0);
  await goOn();
});
