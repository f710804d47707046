// SPDX-License-Identifier: Apache-2.0
/** What is tried, each with fresh programs. */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { hostDevices } from "../../src/cuda/helper.js";
import { type Program, type Programs, closeLeaks, nextSteps, ticksOf } from "./programs.js";
import type { Result } from "./result.js";
import { crimg, crimgCommand, must, mustCrimg, run, until } from "./run.js";

interface Scenario {
  readonly name: string;
  run(programs: Programs): Promise<readonly Result[]>;
}

interface Report {
  readonly frozenMs: number;
  readonly totalMs: number;
  readonly gpu: { readonly lockMs: number; readonly checkpointMs: number; readonly giveBackMs?: number };
}

const image = "program.elf";

function claim(what: string, holds: boolean, seen = holds ? "yes" : "no"): Result {
  return { kind: "claim", what, holds, seen };
}

type Dumped = Result & { readonly kind: "dump"; readonly gpu: Report["gpu"] };

/** Dumps; without `--leave-…` waits until the old process is reaped, since its pid is wanted. */
async function dump(programs: Programs, program: Program, ...more: readonly string[]): Promise<Dumped> {
  const path = programs.file(image);
  const outcome = mustCrimg("dump", String(program.pid), "-o", path, "--json", "--force", ...more);
  const report = JSON.parse(outcome.stdout) as Report;
  if (more.length === 0) await until("the dumped process is reaped", () => !existsSync(`/proc/${program.pid}`));
  return {
    kind: "dump",
    program: program.name,
    imageBytes: statSync(path).size,
    lockMs: report.gpu.lockMs,
    checkpointMs: report.gpu.checkpointMs,
    frozenMs: report.frozenMs,
    commandMs: outcome.milliseconds,
    gpu: report.gpu,
  };
}

/** Executes the image with --detach; returns the time from there to the program's next step. */
async function resume(programs: Programs, program: Program, ...options: readonly string[]): Promise<number> {
  const pidfile = programs.file("pid");
  const since = Date.now();
  must(programs.file(image), ["--detach", "--pidfile", pidfile, ...options], { seconds: 60, stderrFile: programs.file("stderr") });
  programs.adopt(Number(readFileSync(pidfile, "utf8")));
  const next = await nextSteps(program);
  return next.atMs - since;
}

/** A snapshot while it runs on, then a dump that ends it, then a resume: all times that the page tells. */
async function cycle(programs: Programs, program: Program): Promise<Result[]> {
  const snapshot = await dump(programs, program, "--leave-running");
  await nextSteps(program);
  const { gpu: _gpu, ...dumped } = await dump(programs, program);
  const nextStepMs = await resume(programs, program);
  const driverMs = snapshot.gpu.giveBackMs ?? Number.NaN;
  await programs.end(program.pid);
  return [dumped, { kind: "resume", program: program.name, imageBytes: dumped.imageBytes, driverMs, nextStepMs }];
}

export const scenarios: readonly Scenario[] = [
  {
    name: "CUDA C++ counter, 256 MiB",
    run: async (programs) => cycle(programs, await programs.counter(256)),
  },
  {
    name: "PyTorch training",
    async run(programs) {
      const program = await programs.training();
      const results = await cycle(programs, program);
      // The same training without an interruption.
      const reference = await programs.training();
      const ticks = ticksOf(program.log);
      await until("the reference is as far", () => ticksOf(reference.log).length >= ticks.length, 60);
      const expected = ticksOf(reference.log);
      const differing = ticks.filter(({ value }, index) => value !== expected[index]?.value).length;
      await programs.end(reference.pid);
      return [
        ...results,
        claim(
          "the losses are those of a run without interruption, to the last bit",
          differing === 0,
          `${ticks.length} steps, ${differing} differ`,
        ),
      ];
    },
  },
  {
    name: "resume in a pid namespace",
    async run(programs) {
      const program = await programs.counter(64);
      await dump(programs, program);
      await resume(programs, program, "--pid", "namespace");
      return [claim("an image resumes in a new pid namespace (the driver is asked from inside)", true)];
    },
  },
  {
    name: "leave stopped",
    async run(programs) {
      const program = await programs.counter(64);
      await dump(programs, program, "--leave-stopped");
      const steps = ticksOf(program.log).length;
      await new Promise((wake) => setTimeout(wake, 200));
      const stood = ticksOf(program.log).length === steps;
      process.kill(program.pid, "SIGCONT");
      await nextSteps(program);
      return [claim("--leave-stopped: the program stands still with its GPU given back, and goes on at SIGCONT", stood)];
    },
  },
  {
    name: "--gpu-map to the same GPU",
    async run(programs) {
      const devices = hostDevices();
      if ("problem" in devices) throw new Error(devices.problem);
      const [gpu] = devices.gpus;
      if (gpu === undefined) throw new Error("no GPU");
      const program = await programs.counter(64);
      await dump(programs, program);
      const other = run(programs.file(image), ["--gpu-map", `${gpu.uuid}=GPU-00000000-0000-0000-0000-000000000001`]);
      await resume(programs, program, "--gpu-map", `${gpu.uuid}=${gpu.uuid}`);
      return [
        claim("--gpu-map takes the GPU that is there", true),
        claim("--gpu-map to a GPU that is not there: exit 125, the driver's word", other.status === 125, other.stderr.trim()),
      ];
    },
  },
  {
    name: "show, validate, explain",
    async run(programs) {
      const program = await programs.counter(64);
      await dump(programs, program);
      const path = programs.file(image);
      const shown = mustCrimg("show", path).stdout;
      const judged = mustCrimg("validate", "--profile", "host", path).stdout;
      const explained = mustCrimg("explain", path).stdout;
      return [
        claim("show names the GPU", /GPU-[0-9a-f]{8}-/.test(shown), /^.*GPU-.*$/m.exec(shown)?.[0] ?? "no"),
        claim("validate --profile host finds it here", true, judged.trim()),
        claim("explain shows the helper", explained.includes("execveat")),
      ];
    },
  },
  {
    name: "crimg killed in between",
    async run(programs) {
      const program = await programs.counter(1024);
      const child = spawn(process.execPath, [crimgCommand, "dump", String(program.pid), "-o", programs.file(image), "--force"], {
        stdio: "ignore",
      });
      // Checkpointed: no device is mapped any more.
      await until("the program is off the GPU", () => !readFileSync(`/proc/${program.pid}/maps`, "latin1").includes("/dev/nvidia"), 20);
      child.kill("SIGKILL");
      const since = Date.now();
      const next = await nextSteps(program);
      return [
        claim(
          "crimg killed after the checkpoint: the program goes on",
          true,
          `next step ${Math.round(next.atMs - since)} ms after the kill`,
        ),
      ];
    },
  },
  {
    name: "too little memory on the GPU",
    async run(programs) {
      const program = await programs.counter(4096);
      await dump(programs, program);
      const devices = hostDevices();
      const free = "problem" in devices ? undefined : devices.gpus[0]?.freeBytes;
      if (free === undefined) throw new Error("NVML tells no free memory");
      const hog = await programs.counter(Math.floor(Number(free >> 20n) - 2500));
      const refused = run(programs.file(image), ["--detach"], { seconds: 90 });
      await programs.end(hog.pid);
      await new Promise((wake) => setTimeout(wake, 1000));
      const left = run("pgrep", ["-x", "counter"]).stdout.trim();
      await resume(programs, program);
      return [
        claim(
          "too little memory: exit 125, the driver's word, nothing left running",
          refused.status === 125 && left === "",
          refused.stderr.trim(),
        ),
        claim("the same image resumes once there is room", true),
      ];
    },
  },
  {
    name: "processes",
    async run(programs) {
      const logs = ["a", "b"].map((name) => programs.file(`log.${name}`));
      const counter = programs.file("counter");
      const parent = spawn("bash", ["-c", `${closeLeaks}; ${counter} ${logs[0]} 64 & ${counter} ${logs[1]} 64 & wait`], {
        detached: true,
        stdio: ["ignore", "ignore", "ignore"],
        cwd: programs.directory,
      });
      const pid = parent.pid as number;
      programs.adopt(pid);
      await until("both count", () => logs.every((log) => ticksOf(log).length > 20));
      mustCrimg("dump", String(pid), "-o", programs.file(image), "--force");
      await until("the dumped process is reaped", () => !existsSync(`/proc/${pid}`));
      const before = logs.map((log) => ticksOf(log).length);
      must(programs.file(image), ["--detach"], { seconds: 60, stderrFile: programs.file("stderr") });
      await until("both count on", () => logs.every((log, index) => ticksOf(log).length > (before[index] ?? 0) + 20));
      const counters = run("pgrep", ["-x", "counter"]).stdout.trim().split("\n").map(Number);
      for (const one of counters) programs.adopt(one);
      programs.adopt(pid);
      return [claim("two processes on one GPU under a shell, in one image", true)];
    },
  },
  {
    name: "a library without a device",
    async run(programs) {
      const script = programs.file("idle.py");
      writeFileSync(
        script,
        "import ctypes, sys, time\nctypes.CDLL('libcuda.so.1')\nlog = open(sys.argv[1], 'w')\n" +
          "for step in range(1, 10**9):\n    print('tick', step, 0, time.time(), file=log, flush=True)\n    time.sleep(0.005)\n",
      );
      const program = await programs.start("idle", "python3", (log) => [script, log]);
      const dumped = crimg("dump", String(program.pid), "-o", programs.file(image), "--force");
      if (dumped.status !== 0) throw new Error(dumped.stderr);
      await until("the dumped process is reaped", () => !existsSync(`/proc/${program.pid}`));
      const pidfile = programs.file("pid");
      must(programs.file(image), ["--detach", "--pidfile", pidfile], { seconds: 60, stderrFile: programs.file("stderr") });
      programs.adopt(Number(readFileSync(pidfile, "utf8")));
      await nextSteps(program);
      return [claim("a program that has loaded libcuda and not used it is dumped like any other", true)];
    },
  },
  {
    name: "CUDA C++ counter, 2 GiB",
    run: async (programs) => cycle(programs, await programs.counter(2048)),
  },
];
