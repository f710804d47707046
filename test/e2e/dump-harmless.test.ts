// SPDX-License-Identifier: Apache-2.0
/** Dumping a process that goes on: it must not notice, whatever happens to crimg meanwhile. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { collect } from "../../src/dump/collect.js";
import { collectDescriptors } from "../../src/dump/fds/collect.js";
import type { DumpContext } from "../../src/dump/context.js";
import { FrozenTree } from "../../src/dump/freeze.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { callCount, setFault } from "../../src/native/index.js";
import { crimg, start, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand, projectRoot } from "../support/project.js";
import { outerState, startSteady } from "../support/steady.js";

/** Freezes, collects, copies all pages into an unnamed file, lets go. Returns the tables. */
function collectOnce(pid: number, directory: string, beforeDescriptors = (_: DumpContext): void => undefined) {
  const output = openSync(directory, 0o20200000 | constants.O_RDWR, 0o600);
  try {
    const tree = FrozenTree.freeze(pid);
    try {
      const collection = collect(tree, {
        creator: "test",
        collectDescriptors: (context) => {
          beforeDescriptors(context);
          collectDescriptors(context);
        },
      });
      try {
        let offset = 0n;
        for (const { source, fileOffset, length } of collection.checkpoint.tables.extents) {
          collection.checkpoint.sources[source]?.copyTo(output, offset, [{ position: fileOffset, length }]);
          offset += length;
        }
        return collection.checkpoint.tables;
      } finally {
        collection.close();
      }
    } finally {
      tree.release();
    }
  } finally {
    closeSync(output);
  }
}

test("collecting twice finds the same", async (t) => {
  const steady = await startSteady(t);
  const before = outerState(steady.pid);
  const first = collectOnce(steady.pid, steady.directory);
  await steady.assertGoesOn("after the first time");
  const second = collectOnce(steady.pid, steady.directory);
  await steady.assertGoesOn("after the second time");
  assert.deepEqual(outerState(steady.pid), before);
  for (const table of [
    "tasks",
    "creds",
    "rlimits",
    "signalActions",
    "mms",
    "vmas",
    "objects",
    "descriptors",
    "pipes",
    "epollWatches",
  ] as const) {
    assert.deepEqual(strip(second[table]), strip(first[table]), table);
  }
  assert.equal(first.threads.length, 5);
  assert.equal(first.threads[0]?.sigMask, 1n << 11n, "SIGUSR2 is blocked");
  assert.equal(first.threads[0]?.altstackSize, 65536n);
});

test("files that are open alike are one row, which all that follows handles once", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const there = join(directory, "there");
  const script = `for i in {100..349}; do eval "exec $i</etc/passwd"; done; exec 400</etc/passwd; read -r -u 400; >"$0"; sleep 600`;
  const { pid } = start(t, "bash", ["-c", script, there]);
  await until("it has opened its files", () => existsSync(there));
  const { files, descriptors } = collectOnce(pid, directory);
  const rowOf = (fd: number) => files[descriptors.find((row) => row.task === 0 && row.fd === fd)?.file ?? assert.fail(`no fd ${fd}`)];
  const first = rowOf(100) ?? assert.fail();
  for (let fd = 101; fd < 350; fd++) assert.equal(rowOf(fd), first, `fd ${fd}`);
  assert.notEqual(rowOf(400), first, "another position");
  assert.notEqual(descriptors.find(({ fd }) => fd === 100)?.file, descriptors.find(({ fd }) => fd === 101)?.file, "files of their own");
});

/** Threads that wait. A second line of input makes it catch all signals that a process may ignore: crimg then asks call by call. */
const manyThreads = `
import signal, sys, threading, time
for _ in range(40): threading.Thread(target=threading.Event().wait, daemon=True).start()
print("there", flush=True)
sys.stdin.readline()
for name in ("SIGURG", "SIGWINCH", "SIGCHLD"): signal.signal(getattr(signal, name), lambda *_: None)
print("catches", flush=True)
time.sleep(600)`;

test("threads that make their calls in one go tell what those tell that are asked one by one", async (t) => {
  const directory = temporaryDirectory(t);
  const program = start(t, "python3", ["-c", manyThreads], { stdio: ["pipe", "pipe", "inherit"], cwd: directory });
  let said = "";
  program.stdout?.on("data", (data: Buffer) => (said += data.toString()));
  await until("it has its threads", () => said.includes("there"));
  const take = () => {
    const began = callCount();
    const { threads, creds, tasks, mms, intervalTimers, pendingSignals } = collectOnce(program.pid, directory);
    const rows = threads.map((row) => ({ ...row, regs: undefined, xstate: undefined }));
    return { calls: callCount() - began, tables: { threads: rows, creds, tasks, mms, intervalTimers, pendingSignals } };
  };
  const together = take();
  program.stdin?.write("\n");
  await until("it catches signals", () => said.includes("catches"));
  const apart = take();
  assert.equal(together.tables.threads.length, 41);
  assert.deepEqual(together.tables.threads, apart.tables.threads);
  assert.deepEqual(together.tables, apart.tables);
  assert.ok(together.calls < apart.calls / 2, `${together.calls} calls together, ${apart.calls} one by one`);
});

const ringsOnce = `
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.5)
print("armed", flush=True)
while True: signal.pause()`;

test("a timer that runs out while it is being dumped rings once: it is a signal, or a timer", async (t) => {
  const directory = temporaryDirectory(t);
  const program = start(t, "python3", ["-c", ringsOnce], { stdio: ["ignore", "pipe", "inherit"], cwd: directory });
  let said = "";
  program.stdout?.on("data", (data: Buffer) => (said += data.toString()));
  await until("it is armed", () => said.includes("armed"));
  const pending = (): boolean => /^ShdPnd:\s*0*2000$/m.test(readFileSync(`/proc/${program.pid}/status`, "latin1"));
  const { intervalTimers, pendingSignals } = collectOnce(program.pid, directory, () => {
    for (const end = Date.now() + 5000; !pending() && Date.now() < end; );
  });
  assert.equal(intervalTimers.length, 0);
  assert.equal(pendingSignals.length, 1);
});

test("a program that is stopped and continued while it is being dumped runs on, one that is only stopped does not", async (t) => {
  const directory = temporaryDirectory(t);
  const script = 'import time; print("there", flush=True); time.sleep(600)';
  const program = start(t, "python3", ["-c", script], { stdio: ["ignore", "pipe", "inherit"], cwd: directory });
  const { pid } = program;
  let said = "";
  program.stdout?.on("data", (data: Buffer) => (said += data.toString()));
  await until("it is there", () => said.includes("there"));
  const state = (): string => /^State:\t(.)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "";
  for (const isContinued of [true, false]) {
    collectOnce(pid, directory, (context) => {
      process.kill(pid, "SIGSTOP");
      context.processes[0]?.injector().call("getuid");
      if (isContinued) process.kill(pid, "SIGCONT");
    });
    await until(isContinued ? "it runs on" : "it is stopped", () => state() === (isContinued ? "S" : "T"), 5);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(state(), isContinued ? "S" : "T");
  }
});

/** Access times change by being read. */
function strip(rows: readonly object[]): object[] {
  return rows.map((row) => ({ ...row, atimeNs: 0n, mtimeNs: 0n, size: 0n }));
}

test("a thread that cannot be seized leaves none of the others traced", async (t) => {
  const steady = await startSteady(t);
  FrozenTree.freeze(steady.pid).release();
  const before = outerState(steady.pid);
  let refused = 0;
  for (let nth = 1; nth <= 20 && refused < 3; nth++) {
    setFault(nth, 5);
    try {
      FrozenTree.freeze(steady.pid).release();
    } catch (error) {
      assert.ok(error instanceof CrimgError, `call ${nth}: ${String(error)}`);
      if (error.code === "dump.not-permitted") refused++;
    } finally {
      setFault(0, 0);
    }
    await steady.assertGoesOn(`after a failure of call ${nth}`);
    assert.deepEqual(outerState(steady.pid), before, `after a failure of call ${nth}`);
  }
  assert.equal(refused, 3, "threads were refused");
});

test("any native call may fail: the target goes on, nothing of crimg stays in it", { timeout: 300_000 }, async (t) => {
  const steady = await startSteady(t);
  collectOnce(steady.pid, steady.directory);
  const start = callCount();
  collectOnce(steady.pid, steady.directory);
  const calls = callCount() - start;
  const before = outerState(steady.pid);
  // A sample spread over the whole dump, and its end, when threads are let go; CRIMG_FAULT_STEP=1 tries every call.
  const step = Number(process.env["CRIMG_FAULT_STEP"] ?? Math.ceil(calls / 24));
  for (let nth = 1; nth <= calls; nth += nth < calls - 16 ? step : 1) {
    setFault(nth, 5);
    try {
      collectOnce(steady.pid, steady.directory);
    } catch (error) {
      assert.ok(error instanceof CrimgError, `call ${nth}: ${String(error)}`);
    } finally {
      setFault(0, 0);
    }
    await steady.assertGoesOn(`after a failure of call ${nth} of ${calls}`);
    assert.deepEqual(outerState(steady.pid), before, `after a failure of call ${nth} of ${calls}`);
  }
});

test("kill -9 of crimg at random moments: the target goes on, and no file is left", { timeout: 300_000 }, async (t) => {
  const steady = await startSteady(t, true);
  const image = join(steady.directory, "image.elf");
  const before = outerState(steady.pid);
  const names = readdirSync(steady.directory);
  const tries = Number(process.env["CRIMG_KILLS"] ?? 6);
  // The length of a whole dump bounds the moments.
  const began = performance.now();
  await ended(spawn(crimgCommand, ["dump", String(steady.pid), "-o", image, "--leave-running"], { stdio: "ignore" }));
  const length = performance.now() - began;
  assert.deepEqual(
    readdirSync(steady.directory).filter((name) => !names.includes(name)),
    ["image.elf"],
  );
  for (let index = 0; index < tries; index++) {
    const child = spawn(crimgCommand, ["dump", String(steady.pid), "-o", join(steady.directory, "other.elf"), "--leave-running"], {
      stdio: "ignore",
    });
    const end = ended(child); // it may come before the kill
    await new Promise((resume) => setTimeout(resume, length * (0.3 + 0.6 * Math.random())));
    child.kill("SIGKILL");
    await end;
    await steady.assertGoesOn(`kill ${index}`);
    const left = readdirSync(steady.directory).filter((name) => !names.includes(name) && name !== "image.elf");
    if (left.length === 0) continue;
    assert.deepEqual(left, ["other.elf"], "a whole image or none");
    rmSync(join(steady.directory, "other.elf"));
  }
  assert.deepEqual(outerState(steady.pid), before);
});

function ended(child: ReturnType<typeof spawn>): Promise<void> {
  return new Promise((resolve) => child.on("close", () => resolve()));
}

/** KiB of a process's pages that others have too; 0 in the moment in which it becomes another program, when it has none. */
function sharedKib(pid: number): number {
  try {
    return Number(/^Shared_Dirty: +(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

test("pages that processes share since a fork stay shared", async (t) => {
  const directory = temporaryDirectory(t);
  const script = "import os, time\nheld = b'x' * (64 << 20)\nos.fork()\ntime.sleep(600)";
  const { pid } = start(t, "python3", ["-c", script], { cwd: directory });
  const before = await until("it has forked", () => sharedKib(pid) >= 65536 && sharedKib(pid));
  const dumped = crimg("dump", String(pid), "-o", join(directory, "image.elf"), "--leave-running");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.ok(sharedKib(pid) > before - 4096, `${sharedKib(pid)} KiB are shared, ${before} were`);
});

test("Ctrl-C during the dump: the exit status says so, the target goes on, no file is left", async (t) => {
  const steady = await startSteady(t);
  const image = join(steady.directory, "image.elf");
  const names = readdirSync(steady.directory);
  const child = spawn(
    process.execPath,
    ["--import", join(projectRoot, "dist/test/support/interrupt-in-write.js"), crimgCommand, "dump", String(steady.pid), "-o", image],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let said = "";
  child.stderr.on("data", (data: Buffer) => (said += data.toString()));
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(status, 130, said);
  assert.match(said, /SIGINT/);
  await steady.assertGoesOn("after Ctrl-C");
  assert.deepEqual(readdirSync(steady.directory), names);
});
