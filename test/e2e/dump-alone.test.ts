// SPDX-License-Identifier: Apache-2.0
/** Processes with one thread, which make their calls all at the same time: no register changes, whatever happens to crimg meanwhile. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { collect } from "../../src/dump/collect.js";
import { FrozenTree } from "../../src/dump/freeze.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { callCount, InjectedList, setFault, SysError } from "../../src/native/index.js";
import { compile, isAlive, start, temporaryDirectory, until } from "../support/processes.js";
import { projectRoot } from "../support/project.js";
import { outerState } from "../support/steady.js";

/** Starts test/programs/alone.c. */
async function startAlone(t: TestContext) {
  const directory = temporaryDirectory(t);
  const [progress, err] = [join(directory, "progress"), join(directory, "err")];
  writeFileSync(progress, Buffer.alloc(4096));
  const fds = [openSync("/dev/null", "r"), openSync(err, "a")] as const;
  const { pid } = start(t, compile("alone.c", directory), [progress], { stdio: [fds[0], fds[0], fds[1]], cwd: directory });
  for (const fd of fds) closeSync(fd);
  const rounds = (): bigint[] => [0, 8, 16].map((at) => readFileSync(progress).readBigUInt64LE(at));
  await until("all three run", () => rounds().every((count) => count > 0n));
  const pids = [pid, ...readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").map(Number)];
  const states = () => pids.map(outerState);
  return {
    pid,
    pids,
    states,
    async assertGoesOn(what: string) {
      const before = rounds();
      const goOn = (): boolean => {
        assert.equal(readFileSync(err, "latin1"), "", what);
        assert.ok(pids.every(isAlive), `${what}: one has ended`);
        return rounds().every((count, index) => count > (before[index] ?? 0n) + 1n);
      };
      await until(`${what}: all go on`, goOn);
    },
  };
}

function collectOnce(pid: number): void {
  const tree = FrozenTree.freeze(pid);
  try {
    collect(tree, { creator: "test" }).close();
  } finally {
    tree.release();
  }
}

/** Numbers of the first and last native call that are made while the processes make theirs. */
function callsOfInjection(work: () => void): { readonly first: number; readonly last: number } {
  const original = InjectedList.prototype.injectAlone;
  const began = callCount();
  let [first, last, asked] = [0, 0, 0];
  InjectedList.prototype.injectAlone = function (processes) {
    first = callCount() - began + 1;
    const made = original.call(this, processes);
    last = callCount() - began;
    asked = processes.length;
    assert.ok(made.every(({ answers, row }) => answers.status(row) === 0));
    return made;
  };
  try {
    work();
  } finally {
    InjectedList.prototype.injectAlone = original;
  }
  assert.equal(asked, 3, "all are asked in this way");
  return { first, last };
}

test("any native call may fail while they make their calls", { timeout: 120_000 }, async (t) => {
  const alone = await startAlone(t);
  collectOnce(alone.pid);
  const before = alone.states();
  const { first, last } = callsOfInjection(() => collectOnce(alone.pid));
  assert.ok(last > first + 40, `${first} to ${last}`);
  await alone.assertGoesOn("after a collection");
  // Every second one; they are the same for each process, of which there are three.
  for (let nth = first; nth <= last; nth += Number(process.env["CRIMG_FAULT_STEP"] ?? 2)) {
    setFault(nth, 5);
    try {
      collectOnce(alone.pid);
    } catch (error) {
      assert.ok(error instanceof CrimgError || error instanceof SysError, `call ${nth}: ${String(error)}`);
    } finally {
      setFault(0, 0);
    }
    await alone.assertGoesOn(`after a failure of call ${nth}, ${first} to ${last}`);
    assert.deepEqual(alone.states(), before, `after a failure of call ${nth}`);
  }
});

test("kill -9 while they make their calls", { timeout: 300_000 }, async (t) => {
  const alone = await startAlone(t);
  const before = alone.states();
  for (let index = 0; index < Number(process.env["CRIMG_KILLS"] ?? 8); index++) {
    const child = spawn(process.execPath, [join(projectRoot, "dist/test/support/collect-again.js"), String(alone.pid)], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const ended = new Promise((resolve) => child.on("close", resolve));
    // The code is warm after some rounds: most of the time is that of calls then.
    let said = 0;
    child.stdout.on("data", (data: Buffer) => (said += data.length));
    await until("it collects", () => said >= 8);
    await new Promise((resolve) => setTimeout(resolve, 30 * Math.random()));
    child.kill("SIGKILL");
    await ended;
    await alone.assertGoesOn(`kill ${index}`);
    assert.deepEqual(alone.states(), before, `kill ${index}`);
  }
});
