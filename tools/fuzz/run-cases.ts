// SPDX-License-Identifier: Apache-2.0
/** Runs cases in a worker thread, and goes on with another one when a case hangs or ends it. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { FuzzTally } from "./tally.js";
import type { WorkerMessage, WorkerOptions } from "./worker.js";

const hangMs = 2000;
const blockedMs = 60_000;

export interface RunOptions {
  readonly fixtures: string;
  readonly seedNumber: number;
  readonly first: number;
  /** No case from here on. */
  readonly end: number;
  readonly step: number;
  readonly where: boolean;
  /** No case begins after this, milliseconds of performance.now(). */
  readonly deadline: number;
  readonly say: (text: string) => void;
  /** Called about every second with the number of cases done. */
  readonly onProgress: (cases: number) => void;
}

export async function runCases(options: RunOptions): Promise<FuzzTally> {
  const tally = new FuzzTally(options.seedNumber);
  let next = options.first;
  while (next < options.end && performance.now() < options.deadline) next = await runWorker(next, tally, options);
  return tally;
}

/** Runs cases from `from` on until the end, or until one hangs. Returns the index to go on with. */
function runWorker(
  from: number,
  tally: FuzzTally,
  { fixtures, seedNumber, first, end, step, where, deadline, say, onProgress }: RunOptions,
): Promise<number> {
  const work = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "crimg-fuzz-"));
  const clock = new SharedArrayBuffer(4);
  const ticks = new Int32Array(clock);
  const data: WorkerOptions = { fixtures, work, seedNumber, first: from, end, step, where, clock };
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: 1024 },
  });
  return new Promise<number>((done) => {
    let next = from;
    const finish = (index: number): void => {
      clearInterval(watch);
      rmSync(work, { recursive: true, force: true });
      done(index);
    };
    // Processor time, not the clock: on a busy machine a case that waits its turn does not hang. One that blocks does.
    let watched = 0;
    let cpuBefore = process.cpuUsage();
    let wallBefore = performance.now();
    let told = wallBefore;
    const watch = setInterval(() => {
      const running = Atomics.load(ticks, 0);
      const { user, system } = process.cpuUsage(cpuBefore);
      const isStuck = (user + system) / 1000 > hangMs || performance.now() - wallBefore > blockedMs;
      if (performance.now() - told > 1000) {
        told = performance.now();
        onProgress((next - first) / step);
      }
      if (running === 0 || running !== watched) {
        watched = running;
        cpuBefore = process.cpuUsage();
        wallBefore = performance.now();
      } else if (isStuck) {
        clearInterval(watch);
        tally.hang(running - 1);
        void worker.terminate().then(() => finish(running - 1 + step));
      }
    }, 100);
    worker.on("message", (message: WorkerMessage) => {
      if (message.kind === "say") say(message.text);
      else if (message.kind === "ready") {
        if (from === first) say(`cases over ${message.seeds} images with ${message.files} files`);
      } else {
        next = message.index + step;
        tally.add(message);
        if (performance.now() > deadline) void worker.terminate();
      }
    });
    worker.on("error", (error) => {
      const running = Math.max(Atomics.load(ticks, 0) - 1, next);
      tally.death(running, error.message);
      finish(running + step);
    });
    worker.on("exit", () => {
      if (next >= end || performance.now() > deadline) finish(next);
    });
  });
}
