// SPDX-License-Identifier: Apache-2.0
/** A process that gcore dumped counts on from an executable made of its core. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { convert } from "../../src/index.js";
import { registry } from "../../formats/registry.js";
import { endTree, run, spawned, start, temporaryDirectory, until } from "../support/processes.js";

const python = "/usr/bin/python3";
/** It ends if it finds itself to be another user. */
const program = `import os, time
n = 0
ids = lambda: os.getresuid() + os.getresgid()
user = ids()
while ids() == user:
    n += 1
    print(n, flush=True)
    time.sleep(0.05)
`;

/** Whole numbers, one a line; a last line without its end is left out. */
function numbersIn(path: string): number[] {
  return readFileSync(path, "utf8").split("\n").slice(0, -1).map(Number);
}

test("a gcore of a counting python3 becomes an executable that counts on", { timeout: 180_000 }, async (t) => {
  if (!existsSync(python) || spawnSync("gcore", ["-h"]).error) return t.skip("no python3 or gcore");
  if (!registry.ids.includes("ckpt-elf")) return t.skip("no ckpt-elf");
  const directory = temporaryDirectory(t);
  const [first, second] = [join(directory, "first.txt"), join(directory, "second.txt")];
  const outputs = [openSync(first, "w"), openSync(second, "w")] as const;
  t.after(() => outputs.forEach((fd) => closeSync(fd)));
  writeFileSync(join(directory, "count.py"), program);
  const { pid } = start(t, python, ["count.py"], { cwd: directory, stdio: ["ignore", outputs[0], "ignore"] });
  await until("the program counts", () => numbersIn(first).length >= 3);
  const gcore = run("gcore", ["-o", join(directory, "core"), String(pid)], { seconds: 90 });
  const core = join(directory, `core.${pid}`);
  assert.ok(existsSync(core), gcore.stderr);
  endTree(pid);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  const last = numbersIn(first).at(-1) ?? 0;

  const image = join(directory, "image.elf");
  const { losses } = await convert(core, image);
  assert.ok(losses.some(({ code }) => code === "core.descriptors"));
  const resumed = spawn(image, [], { cwd: directory, stdio: ["ignore", outputs[1], "pipe"], detached: true });
  let complaints = "";
  resumed.stderr?.on("data", (chunk) => (complaints += String(chunk)));
  const waiter = resumed.pid ?? assert.fail("cannot execute the image");
  spawned.add(waiter);
  t.after(() => endTree(waiter));
  await until(
    "the resumed program counts",
    () => {
      assert.equal(resumed.exitCode ?? resumed.signalCode, null, complaints);
      return numbersIn(second).length >= 5;
    },
    60,
  );
  const numbers = numbersIn(second);
  const begin = numbers[0] ?? 0;
  // gcore stopped it somewhere before it was killed: it repeats what it counted after that.
  assert.ok(begin > 1 && begin <= last + 1, `first ${begin}, last before ${last}`);
  assert.deepEqual(
    numbers,
    numbers.map((_number, index) => begin + index),
  );
});
