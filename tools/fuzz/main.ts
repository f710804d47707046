/**
 * Mutates images and reads them: node dist/tools/fuzz/main.js [--count N] [--seed S] [--only INDEX] [--seconds N] [--json FILE]
 * Every case must end in a model or a located error, within two seconds and 64 MB.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { existsSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { FuzzTally } from "./tally.js";
import type { WorkerMessage, WorkerOptions } from "./worker.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const hangMs = 2000;
const blockedMs = 60_000;
const { values } = parseArgs({
  options: { count: { type: "string", default: "20000" }, seed: { type: "string", default: "1" }, only: { type: "string" }, seconds: { type: "string" }, json: { type: "string" } },
});
const fixtures = [process.env["CRIMG_FIXTURES"], resolve(root, "../shared/fixtures")].find((path) => path !== undefined && existsSync(path));
if (fixtures === undefined) {
  console.log("fuzz: no fixtures (../shared/fixtures is absent): nothing to mutate");
  process.exit(0);
}

const seedNumber = Number(values.seed);
const first = values.only === undefined ? 0 : Number(values.only);
const count = values.only === undefined ? Number(values.count) : 1;
const tally = new FuzzTally(seedNumber);
/** No case begins after this, on the clock of performance.now(). */
const deadline = values.seconds === undefined ? Infinity : performance.now() + 1000 * Number(values.seconds);
const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** Runs cases from `from` on until the end, or until one hangs. Returns the index to go on with. */
function runWorker(from: number): Promise<number> {
  const work = mkdtempSync(join(base, "crimg-fuzz-"));
  const clock = new SharedArrayBuffer(4);
  const ticks = new Int32Array(clock);
  const data: WorkerOptions = { fixtures: fixtures ?? "", work, seedNumber, first: from, count: first + count - from, clock };
  const worker = new Worker(new URL("./worker.js", import.meta.url), { workerData: data, resourceLimits: { maxOldGenerationSizeMb: 1024 } });
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
    const watch = setInterval(() => {
      const running = Atomics.load(ticks, 0);
      const { user, system } = process.cpuUsage(cpuBefore);
      const isStuck = (user + system) / 1000 > hangMs || performance.now() - wallBefore > blockedMs;
      if (running === 0 || running !== watched) {
        watched = running;
        cpuBefore = process.cpuUsage();
        wallBefore = performance.now();
      } else if (isStuck) {
        clearInterval(watch);
        tally.hang(running - 1);
        void worker.terminate().then(() => finish(running));
      }
    }, 100);
    worker.on("message", (message: WorkerMessage) => {
      if (message.kind === "say") console.log(`fuzz: ${message.text}`);
      else if (message.kind === "ready") {
        if (from === first) console.log(`fuzz: seed ${seedNumber}, ${count} cases over ${message.seeds} images with ${message.files} files`);
      } else {
        next = message.index + 1;
        tally.add(message);
        if (performance.now() > deadline) void worker.terminate();
      }
    });
    worker.on("error", (error) => {
      tally.death(Math.max(Atomics.load(ticks, 0) - 1, next), error.message);
      finish(Math.max(Atomics.load(ticks, 0), next + 1));
    });
    worker.on("exit", () => {
      if (next >= first + count || performance.now() > deadline) finish(next);
    });
  });
}

let next = first;
while (next < first + count && performance.now() < deadline) next = await runWorker(next);
console.log(tally.text());
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(tally.summary(), null, 2)}\n`);
process.exitCode = tally.isClean ? 0 : 1;
