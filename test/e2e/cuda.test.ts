// SPDX-License-Identifier: Apache-2.0
/**
 * Programs on GPUs, against a stand-in for the CUDA driver (test/support/cuda.ts): what succeeds, and every way to fail.
 * The real driver: `npm run gpu`.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { waitNow, waitOption } from "../../src/native/index.js";
import { CudaHost, type GpuProgram, device, firstGpu, isGone, isOnDevice, secondGpu } from "../support/cuda.js";
import { assertUnbroken, moreTicks, ticks } from "../support/cycle.js";
import { isAlive, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const bounded = { timeout: 180_000 };

/** The program counts on, on the device and beside it, and has lost nothing. */
async function assertGoesOn({ log, hostLog }: GpuProgram): Promise<void> {
  await Promise.all([moreTicks(log, 5), moreTicks(hostLog, 5)]);
  assertUnbroken(log);
  assertUnbroken(hostLog);
}

async function dumped(host: CudaHost, program: GpuProgram, ...options: readonly string[]): Promise<void> {
  const { status, stderr } = host.crimg(["dump", String(program.pid), "-o", host.image, ...options]);
  assert.equal(status, 0, stderr);
  await until("the dumped program is gone", () => isGone(program.pid));
}

test("a program on a GPU is dumped and resumed by one command each", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start({}, "4");
  assert.ok(isOnDevice(program.pid));
  await dumped(host, program);
  assert.equal(host.resume(), program.pid);
  await assertGoesOn(program);
  assert.ok(isOnDevice(program.pid));
  // The helper is gone, and no descriptor of the restore is left.
  const links = readdirSync(`/proc/${program.pid}/fd`);
  assert.ok(links.length <= 6, links.join(" "));
  // Once more, from what was resumed.
  const { status, stderr } = host.crimg(["dump", String(program.pid), "-o", join(host.directory, "again.elf")]);
  assert.equal(status, 0, stderr);
});

test("snapshots: the program goes on, or stays stopped, with its GPU", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  const running = host.crimg(["dump", String(program.pid), "-o", host.image, "--leave-running", "--json"]);
  assert.equal(running.status, 0, running.stderr);
  const report = JSON.parse(running.stdout) as { gpu?: { processes: number; giveBackMs?: number } };
  assert.equal(report.gpu?.processes, 1);
  assert.ok(report.gpu.giveBackMs !== undefined);
  await assertGoesOn(program);
  const stopped = host.crimg(["dump", String(program.pid), "-o", host.image, "--force", "--leave-stopped"]);
  assert.equal(stopped.status, 0, stopped.stderr);
  const before = [ticks(program.log).length, ticks(program.hostLog).length];
  assert.ok(isOnDevice(program.pid));
  assert.match(readFileSync(`/proc/${program.pid}/status`, "utf8"), /^State:\tT/m);
  await new Promise((wake) => setTimeout(wake, 200));
  assert.deepEqual([ticks(program.log).length, ticks(program.hostLog).length], before);
  process.kill(program.pid, "SIGCONT");
  await assertGoesOn(program);
});

test("in a pid namespace it keeps its pid; with another it is refused", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  await dumped(host, program);
  const { status, stderr } = host.execute(["--pid", "any"]);
  assert.equal(status, 125, stderr);
  assert.match(stderr, /--pid any: a program that used a GPU needs its old process ids/);
  const init = host.resume(["--pid", "namespace"]);
  assert.notEqual(init, program.pid);
  await assertGoesOn(program);
});

test("several processes of a tree, each with its device memory", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start({}, "1", "2");
  const logs = [program.log, `${program.log}.1`, `${program.log}.2`];
  await until("all count", () => logs.every((log) => ticks(log).length > 3));
  await dumped(host, program);
  host.resume();
  for (const log of logs) {
    await moreTicks(log, 5);
    assertUnbroken(log);
  }
  const tree = treeOf(program.pid);
  assert.equal(tree.length, 3);
  assert.ok(tree.every(isOnDevice));
});

test("--no-cuda refuses it by name like any other device", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  const { status, stderr } = host.crimg(["dump", String(program.pid), "-o", host.image, "--no-cuda"]);
  assert.equal(status, 4, stderr);
  assert.match(
    stderr,
    host.env["CUDA_STANDIN_DEVICE"] === undefined ? /System V shared memory/ : /fd \d+ of \d+ \(counter\): the device \/dev\//,
  );
  await assertGoesOn(program);
});

test("a library that was loaded and never used is no GPU program", bounded, async (t) => {
  const host = new CudaHost(t);
  const idle = spawn(
    "/usr/bin/python3",
    ["-c", "import ctypes, time; ctypes.CDLL('libcuda.so.1'); print('ready', flush=True); time.sleep(60)"],
    {
      env: host.env,
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    },
  );
  t.after(() => idle.kill("SIGKILL"));
  await new Promise((ready) => idle.stdout.once("data", ready));
  const { status, stderr } = host.crimg(["dump", String(idle.pid), "-o", host.image, "--ignore", "pipe"]);
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(host.crimg(["show", host.image]).stdout, /GPU/);
  const mapped = host.execute(["--gpu-map", `${firstGpu}=${secondGpu}`]);
  assert.equal(mapped.status, 125);
  assert.match(mapped.stderr, /--gpu-map: this program used no GPU/);
});

/** Dumps that fail: the program goes on, on its device, and no image appears. */
async function assertRefused(
  host: CudaHost,
  program: GpuProgram,
  outcome: { status: number | null; stderr: string },
  says: RegExp,
): Promise<void> {
  assert.equal(outcome.status, 4, outcome.stderr);
  assert.match(outcome.stderr, says);
  assert.equal(existsSync(host.image), false);
  await assertGoesOn(program);
  assert.ok(isOnDevice(program.pid));
}

test("work on the GPU that does not end within the limit: refused, and the program goes on", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start({ CUDA_STANDIN_SLOW: "Memcpy=700" });
  const outcome = host.crimg(["dump", String(program.pid), "-o", host.image, "--gpu-timeout", "0.1"]);
  await assertRefused(
    host,
    program,
    outcome,
    /did not come to a halt: cuCheckpointProcessLock: CUDA_ERROR_NOT_READY \(600\)[\s\S]*--gpu-timeout/,
  );
});

test("a checkpoint that the driver refuses, of the second process of two", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start({}, "1", "1");
  for (const failing of ["Checkpoint=2", "GetRestoreThreadId=1", "GetState=3", "Lock=401"]) {
    const outcome = host.crimg(["dump", String(program.pid), "-o", host.image], { CUDA_STANDIN_FAIL: failing });
    if (failing === "GetState=3") {
      // To the driver it is none of its processes: then the device that it holds is what refuses.
      assert.equal(outcome.status, 4, outcome.stderr);
      assert.match(outcome.stderr, /the device|System V/);
    } else {
      const call = /^[A-Za-z]+/.exec(failing)?.[0] ?? "";
      await assertRefused(host, program, outcome, new RegExp(`cuCheckpointProcess${call}: CUDA_ERROR_\\w+ \\(\\d+\\): \\w`));
    }
    await moreTicks(`${program.log}.1`, 3);
  }
});

test("a dump that fails after the checkpoint gives the GPU back", bounded, async (t) => {
  const host = new CudaHost(t);
  if (device === undefined) return t.skip("no device here that this user may open and that cannot be dumped");
  // A device of its own: the driver knows nothing of it.
  const program = await host.start({ COUNTER_HOLDS: device });
  const outcome = host.crimg(["dump", String(program.pid), "-o", host.image]);
  await assertRefused(host, program, outcome, new RegExp(`fd \\d+ of ${program.pid} \\(counter\\): the device ${device}`));
});

for (const when of ["locked", "checkpointed"] as const) {
  test(`crimg is killed when a process is ${when}: its helper gives all back`, bounded, async (t) => {
    const host = new CudaHost(t);
    const program = await host.start({}, "1", "1");
    const child = `${program.log}.1`;
    await until("both count", () => ticks(child).length > 3);
    // Each checkpoint begins late: there is time to kill crimg before the first, or between the two.
    const crimg = spawn(process.execPath, [crimgCommand, "dump", String(program.pid), "-o", host.image], {
      env: { ...host.env, CUDA_STANDIN_SLOW: "Checkpoint=1000" },
      stdio: "ignore",
    });
    t.after(() => crimg.kill("SIGKILL"));
    if (when === "locked") {
      await until("the program stands in its CUDA call", () => {
        const before = ticks(program.log).length;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
        return ticks(program.log).length === before;
      });
    } else {
      await until("the first process is off the device", () => !isOnDevice(program.pid));
    }
    crimg.kill("SIGKILL");
    await assertGoesOn(program);
    await moreTicks(child, 5);
    assertUnbroken(child);
    assert.ok(treeOf(program.pid).every(isOnDevice));
    assert.equal(existsSync(host.image), false);
  });
}

test("interrupted by SIGINT while the driver works: the GPU is given back", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  const crimg = spawn(process.execPath, [crimgCommand, "dump", String(program.pid), "-o", host.image], {
    env: { ...host.env, CUDA_STANDIN_SLOW: "Checkpoint=800" },
    stdio: "ignore",
  });
  await until("the program stands in its CUDA call", () => {
    const before = ticks(program.log).length;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
    return ticks(program.log).length === before;
  });
  crimg.kill("SIGINT");
  const status = await new Promise((resolve) => crimg.once("exit", resolve));
  assert.equal(status, 130);
  await assertGoesOn(program);
});

test("a resume that the driver refuses: status 125, its own word, and nothing is left", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start({}, "4");
  await dumped(host, program);
  const none = { ...host.env, LD_LIBRARY_PATH: "" };
  const cases: readonly (readonly [string, NodeJS.ProcessEnv, RegExp])[] = [
    ["no driver", none, /the program used a GPU: there is no CUDA driver here \(libcuda\.so\.1/],
    ["no GPU", { CUDA_STANDIN_GPUS: "" }, /the program used a GPU: cuInit: CUDA_ERROR_NO_DEVICE \(100\)/],
    [
      "too little memory",
      { CUDA_STANDIN_GPUS: `${firstGpu}:One:2` },
      /process \d+ \(counter\): .*cuCheckpointProcessRestore: CUDA_ERROR_OUT_OF_MEMORY \(2\): out of memory/,
    ],
    [
      "another driver",
      { CUDA_STANDIN_FAIL: "Restore=1", CUDA_STANDIN_DRIVER: "570.1" },
      /CUDA_ERROR_INVALID_VALUE[\s\S]*dumped under driver 580\.0; this is 570\.1/,
    ],
    [
      "another GPU",
      { CUDA_STANDIN_GPUS: `${secondGpu}:One:64` },
      new RegExp(`CUDA_ERROR_INVALID_DEVICE[\\s\\S]*${firstGpu}, which is not here; --gpu-map`),
    ],
    ["unlock", { CUDA_STANDIN_FAIL: "Unlock=401" }, /cuCheckpointProcessUnlock: CUDA_ERROR_ILLEGAL_STATE/],
  ];
  const steps = [ticks(program.log).length, ticks(program.hostLog).length];
  for (const [name, env, says] of cases) {
    const { status, stderr } = host.execute([], env);
    assert.equal(status, 125, `${name}: ${stderr}`);
    assert.match(stderr, says, name);
    assert.match(stderr, /the GPU state does not come back/, name);
    assert.ok(isGone(program.pid), name);
  }
  // Nothing of it has run meanwhile: not even the thread that needs no GPU.
  assert.deepEqual([ticks(program.log).length, ticks(program.hostLog).length], steps);
  host.resume();
  await assertGoesOn(program);
});

test("--gpu-map: another GPU takes the place of the old one", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  await dumped(host, program);
  const elsewhere = { CUDA_STANDIN_GPUS: `${secondGpu}:One:64` };
  for (const [map, says] of [
    ["GPU-1=GPU-2", /--gpu-map takes OLD=NEW/],
    [`${secondGpu}=${firstGpu}`, /the program had no GPU-ffeeddcc\S+; it had GPU-00112233/],
  ] as const) {
    const { status, stderr } = host.execute(["--gpu-map", map], elsewhere);
    assert.equal(status, 125, stderr);
    assert.match(stderr, says);
  }
  host.resume(["--gpu-map", `${firstGpu}=${secondGpu}`], elsewhere);
  await assertGoesOn(program);
  // crimg exec passes it on, and through another format, too.
  assert.equal(host.crimg(["dump", String(program.pid), "-o", join(host.directory, "set.json"), "--to", "json"], elsewhere).status, 0);
  await until("the program is gone", () => {
    // It was resumed with --detach, and is an orphan: whoever of us has become its parent waits for it.
    waitNow(program.pid, waitOption.WALL);
    return isGone(program.pid);
  });
  const words = `${crimgCommand} exec --detach --gpu-map ${secondGpu}=${firstGpu} set.json </dev/null >exec.out 2>&1`;
  const child = spawn("bash", ["-c", words], { cwd: host.directory, env: host.env, stdio: "ignore" });
  const status = await new Promise((resolve) => child.once("exit", resolve));
  assert.equal(status, 0, readFileSync(join(host.directory, "exec.out"), "utf8"));
  t.after(() => process.kill(program.pid, "SIGKILL"));
  await assertGoesOn(program);
});

test("other formats hold it, or say that they do not", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start();
  await dumped(host, program);
  const json = join(host.directory, "set.json");
  assert.equal(host.crimg(["convert", host.image, json, "--to", "json"]).status, 0);
  assert.match(readFileSync(json, "utf8"), /"cuda_processes"/);
  for (const format of ["criu", "crtools", "ckpt-elf-v1"]) {
    const { stderr } = host.crimg(["convert", host.image, join(host.directory, format), "--to", format]);
    assert.match(stderr, /nobody will have the CUDA driver bring GPU state back .*\[tree, gpu\.restore\]/, format);
  }
  const core = host.crimg(["convert", host.image, join(host.directory, "core"), "--to", "core"]);
  assert.match(core.stderr, /the CUDA driver has to bring GPU state back is not in a core/);
});

test("show, explain, validate and check tell what an image needs", bounded, async (t) => {
  const host = new CudaHost(t);
  const program = await host.start({}, "8");
  await dumped(host, program);
  const shown = host.crimg(["show", host.image]).stdout;
  assert.match(shown, new RegExp(`GPU of ${program.pid}: Stand-in, 1(\\.0+)? GiB, 8(\\.0+)? MiB in use, driver 580\\.0 \\(${firstGpu}\\)`));
  const explained = host.crimg(["explain", host.image]).stdout;
  assert.match(explained, /GPU helper:[\s\S]*sendfile[\s\S]*execveat/);
  assert.match(explained, /wait4\(\$pid of the GPU helper/);
  const judged = host.crimg(["validate", host.image]);
  assert.equal(judged.status, 0, judged.stdout);
  assert.equal(host.crimg(["validate", "--profile", "host", host.image]).status, 0);
  const elsewhere = host.crimg(["validate", "--profile", "host", host.image], {
    CUDA_STANDIN_GPUS: `${secondGpu}:Stand-in:4`,
    CUDA_STANDIN_DRIVER: "570.1",
  });
  assert.equal(elsewhere.status, 1);
  assert.match(elsewhere.stdout, new RegExp(`host\\.gpu[\\s\\S]*--gpu-map ${firstGpu}=${secondGpu}`));
  assert.match(elsewhere.stdout, /host\.gpu-driver/);
  assert.match(host.crimg(["check"]).stdout, /ok The CUDA driver is there/);
  assert.match(host.crimg(["check"], { LD_LIBRARY_PATH: "" }).stdout, /can be neither dumped nor resumed here: there is no CUDA driver/);
  assert.ok(!isAlive(program.pid));
});
