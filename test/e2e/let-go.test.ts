// SPDX-License-Identifier: Apache-2.0
/** --leave-running of one process, which runs on before most of it has been collected: the image is of one moment all the same. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { goesOn } from "../support/checking-log.js";
import { compile, crimg, endTree, type Outcome, spawned, start, temporaryDirectory, until } from "../support/processes.js";

/** Executes an image, which waits for its program; ended with the test. */
function resumed(t: TestContext, image: string): ChildProcess {
  const child = spawn(image, [], { stdio: "ignore" }) as ChildProcess & { readonly pid: number };
  spawned.add(child.pid);
  t.after(() => endTree(child.pid));
  return child;
}

/** Dumps a program that runs on. With objects of System V none is let go, and tests that run beside this one make some. */
function dumpLettingGo(pid: number, image: string): Promise<Outcome> {
  return until("no objects of System V", () => {
    rmSync(image, { force: true });
    const outcome = crimg("dump", String(pid), "-o", image, "--leave-running", "-v");
    return outcome.stderr.includes("there are objects of System V") ? undefined : outcome;
  });
}

const ranOn = /its fork answers for it[\s\S]*collected \d+ mappings/;
const childrenOf = (pid: number): string => readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();

for (const { program, args } of [
  { program: "one-moment.c", args: ["file"] },
  { program: "churns.c", args: ["16", "7", "0"] },
]) {
  test(`${program}: memory, registers and positions are of one moment`, { timeout: 120_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
    const { pid } = start(t, compile(program, directory, "-lpthread"), [log, ...args], { cwd: directory });
    await goesOn(log, 2, 20);
    let waiter: ChildProcess | undefined;
    for (let round = 0; round < 4; round++) {
      const { status, stderr } = await dumpLettingGo(pid, image);
      assert.equal(status, 0, stderr);
      // Whether its mappings are what they were before the freeze, or it changes them all the time.
      assert.match(stderr, ranOn);
      if (program === "one-moment.c") assert.doesNotMatch(stderr, /once more/);
      await goesOn(log, 2, 20);
      endTree(pid);
      waiter?.kill("SIGCONT");
      await until("it is gone", () => !existsSync(`/proc/${pid}`));
      waiter = resumed(t, image);
      await goesOn(log, 2, 20);
      assert.doesNotMatch(readFileSync(log, "latin1"), /BAD/);
    }
  });
}

test("what is found to be in the way when it runs on is told by a dump that begins anew", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid: other } = start(t, "sleep", ["1000"]);
  const { pid } = start(t, compile("one-moment.c", directory), [log, join(directory, "file")], { cwd: `/proc/${other}/task/${other}` });
  await goesOn(log, 1, 20);
  endTree(other);
  // A zombie has its directory still.
  await until("it is gone", () => !existsSync(`/proc/${other}`));
  const { status, stderr } = await dumpLettingGo(pid, join(directory, "image.elf"));
  assert.match(stderr, /its fork answers for it[\s\S]*once more: while it ran on[\s\S]*froze 1 processes/);
  assert.notEqual(status, 0);
  assert.match(stderr, /current directory/);
  assert.equal(existsSync(join(directory, "image.elf")), false);
  await goesOn(log, 2, 20);
  assert.equal(childrenOf(pid), "");
});

for (const { how, args, saw } of [
  { how: "calm", args: [], saw: /found the pages[\s\S]*the tree runs on\n[\s\S]*written: / },
  { how: "whose mappings get other flags", args: ["advise"], saw: /once more: its mappings have changed[\s\S]*the tree runs on\n/ },
  { how: "one of which moves", args: ["move"], saw: /once more: its mappings have changed[\s\S]*the tree runs on\n/ },
]) {
  test(`many small mappings are stored while it stands still, instead of being forked: ${how}`, { timeout: 120_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
    const { pid } = start(t, compile("many-mappings.c", directory, "-lpthread"), [log, "5600", ...args]);
    await goesOn(log, 2, 20);
    const dumpUntil = (wanted: RegExp): void => {
      // Of flags that change all the time a look may find what the other found.
      for (let attempt = 0; ; attempt++) {
        rmSync(image, { force: true });
        const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running", "-v");
        assert.equal(status, 0, stderr);
        if (wanted.test(stderr)) {
          if (how === "calm") assert.doesNotMatch(stderr, /forks? keep|its fork answers|once more/);
          return;
        }
        assert.ok(how !== "calm" && attempt < 20, stderr);
      }
    };
    dumpUntil(saw);
    await goesOn(log, 2, 20);
    assert.equal(childrenOf(pid), "");
    // Without -v what smaps says is asked for before any code is loaded.
    const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running", "--force");
    assert.equal(status, 0, stderr);
    await goesOn(log, 2, 20);
    endTree(pid);
    await until("it is gone", () => !existsSync(`/proc/${pid}`));
    resumed(t, image);
    await goesOn(log, 2, 20);
    assert.doesNotMatch(readFileSync(log, "latin1"), /BAD/);
  });
}
