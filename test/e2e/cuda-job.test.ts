// SPDX-License-Identifier: Apache-2.0
/** `crimg run` with a job on a GPU: preempted, checkpointed, resumed; against a stand-in for the CUDA driver (test/support/cuda.ts). */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { cudaHelper, CudaHost, isOnDevice } from "../support/cuda.js";
import { assertUnbroken, moreTicks, ticks } from "../support/cycle.js";
import { closeLeaks, endTree, run, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const bounded = { timeout: 180_000 };
/** What a frozen job's line ends with. */
const frozen = 85;

interface Job {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly errors: () => string;
  readonly ended: Promise<number | null>;
}

/** One line that starts the job and resumes it: two processes that count on the device. */
function startJob(t: TestContext, host: CudaHost, env: NodeJS.ProcessEnv = {}, ...options: readonly string[]): Job {
  const words = [crimgCommand, "run", "--image", "job.elf", ...options, "--", host.counter, join(host.directory, "log"), "1", "1"];
  const child = spawn("bash", ["-c", `${closeLeaks}; exec "$@"`, "bash", ...words], {
    cwd: host.directory,
    env: { ...host.env, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const { pid } = child;
  assert.ok(pid !== undefined);
  t.after(() => endTree(pid));
  return { child, pid, errors: () => text, ended: new Promise((done) => child.once("close", (code) => done(code))) };
}

/** Both processes of the job, as seen from here. */
const programs = (job: Job): number[] => treeOf(job.pid).filter((pid) => readFileSync(`/proc/${pid}/comm`, "utf8") === "counter\n");

async function assertGoesOn(host: CudaHost, job: Job): Promise<void> {
  for (const name of ["log", "log.1", "log.host"]) {
    const path = join(host.directory, name);
    await moreTicks(path, 5).catch((error: unknown) => assert.fail(`${name}: ${String(error)}; ${job.errors()}`));
    assertUnbroken(path);
  }
  const members = programs(job);
  assert.equal(members.length, 2, job.errors());
  assert.ok(members.every(isOnDevice));
}

const started = (host: CudaHost): Promise<unknown> =>
  until("both processes count", () => ["log", "log.1"].every((name) => ticks(join(host.directory, name)).length > 3));

test("a GPU job is preempted twice, and the same line goes on with it on the device", bounded, async (t) => {
  const host = new CudaHost(t);
  for (let round = 0; round < 2; round++) {
    const job = startJob(t, host);
    await started(host);
    await assertGoesOn(host, job);
    job.child.kill("SIGTERM");
    assert.equal(await job.ended, frozen, job.errors());
    assert.match(job.errors(), /job\.elf: the job is frozen \(SIGTERM\)/);
    assert.ok(existsSync(join(host.directory, "job.elf")));
    const shown = host.crimg(["show", "job.elf"]).stdout;
    assert.match(shown, /GPU of \d+, \d+: Stand-in/);
  }
  const last = startJob(t, host);
  await assertGoesOn(host, last);
});

test("a GPU job that the driver does not let go continues, on its device, and the last image stays", bounded, async (t) => {
  const host = new CudaHost(t);
  const first = startJob(t, host);
  await started(host);
  first.child.kill("SIGTERM");
  assert.equal(await first.ended, frozen, first.errors());
  const before = readFileSync(join(host.directory, "job.elf"));
  // The driver that this line asks refuses the checkpoint.
  const job = startJob(t, host, { CUDA_STANDIN_FAIL: "Checkpoint=2" });
  await assertGoesOn(host, job);
  job.child.kill("SIGTERM");
  await until("it says why", () => /cuCheckpointProcessCheckpoint: CUDA_ERROR_OUT_OF_MEMORY/.test(job.errors()));
  await assertGoesOn(host, job);
  assert.ok(before.equals(readFileSync(join(host.directory, "job.elf"))));
  assert.deepEqual(
    readdirSync(host.directory).filter((name) => name.includes(".tmp")),
    [],
  );
});

test("images on the way: a GPU job is snapshotted and goes on with its device", bounded, async (t) => {
  const host = new CudaHost(t);
  const job = startJob(t, host, {}, "--every", "1s");
  await started(host);
  await until("an image is taken", () => existsSync(join(host.directory, "job.elf")));
  await assertGoesOn(host, job);
  process.kill(programs(job)[0] ?? 0, "SIGKILL");
  assert.equal(await job.ended, 137, job.errors());
  const again = startJob(t, host);
  await assertGoesOn(host, again);
});

test("crimg and its helper are both killed: `crimg-cuda give-back` heals what stays locked", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  const crimg = spawn(process.execPath, [crimgCommand, "dump", String(program.pid), "-o", host.image], {
    env: { ...host.env, CUDA_STANDIN_SLOW: "GetRestoreThreadId=2000,Checkpoint=2000" },
    stdio: "ignore",
  });
  t.after(() => crimg.kill("SIGKILL"));
  const helper = await until("the helper holds the lock", () => {
    const pid = treeOf(crimg.pid ?? 0).find((one) => readFileSync(`/proc/${one}/comm`, "utf8").startsWith("crimg-cuda"));
    const before = ticks(program.log).length;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
    return ticks(program.log).length === before && pid;
  });
  // The helper first, or it would heal it by itself.
  process.kill(helper, "SIGKILL");
  crimg.kill("SIGKILL");
  const before = ticks(program.log).length;
  await new Promise((wake) => setTimeout(wake, 300));
  assert.equal(ticks(program.log).length, before, "it stays in its CUDA call");
  const { status, stderr } = run(cudaHelper, ["give-back", String(program.pid)], { env: host.env });
  assert.equal(status, 0, stderr);
  await moreTicks(program.log, 5);
  assertUnbroken(program.log);
  assert.ok(isOnDevice(program.pid));
});
