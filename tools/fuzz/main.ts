// SPDX-License-Identifier: Apache-2.0
/**
 * Mutates images and reads them:
 * node dist/tools/fuzz/main.js [--count N] [--seed S] [--only INDEX] [--workers N] [--seconds N] [--json FILE] [--where]
 * Every case must end in a model or a located error, within two seconds and 64 MB. Case N of seed S is the same with any
 * number of workers: they are processes, so that the memory of each can be measured, and share the cases by turns.
 * --where lists the fields that changed where nothing was noticed.
 */
import { type ChildProcess, fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { runCases } from "./run-cases.js";
import { FuzzTally, type TallyState } from "./tally.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const { values } = parseArgs({
  options: {
    count: { type: "string", default: "20000" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    seconds: { type: "string" },
    json: { type: "string" },
    workers: { type: "string", default: String(availableParallelism()) },
    where: { type: "boolean", default: false },
    /** Of a worker: which one it is. */
    part: { type: "string" },
  },
});

/** What a worker tells. */
type PartMessage =
  | { readonly kind: "say"; readonly text: string }
  | { readonly kind: "progress"; readonly cases: number }
  | { readonly kind: "done"; readonly state: TallyState };

const fixtures = join(root, "test/fixtures");
const seedNumber = Number(values.seed);
const count = values.only === undefined ? Number(values.count) : 1;
const first = Number(values.only ?? 0);
const workers = Math.max(1, Math.min(count, Number(values.workers)));
const everySeconds = 60;

/** Runs the cases of one worker. */
function runPart(part: number, tell: (message: PartMessage) => void): Promise<FuzzTally> {
  return runCases({
    fixtures: fixtures,
    seedNumber,
    first: first + part,
    end: first + count,
    step: workers,
    where: values.where,
    deadline: values.seconds === undefined ? Infinity : performance.now() + 1000 * Number(values.seconds),
    say: (text) => tell({ kind: "say", text }),
    onProgress: (cases) => tell({ kind: "progress", cases }),
  });
}

/** Starts a worker and adds what it counted. A worker that ends without a word counts as a death. */
function startPart(part: number, tally: FuzzTally, progress: number[]): Promise<void> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), [
    ...process.argv.slice(2),
    "--workers",
    String(workers),
    "--part",
    String(part),
  ]);
  let isDone = false;
  child.on("message", (message: PartMessage) => {
    if (message.kind === "say") {
      if (part === 0) console.log(`fuzz: ${message.text}`);
    } else if (message.kind === "progress") progress[part] = message.cases;
    else {
      isDone = true;
      tally.merge(message.state);
    }
  });
  return new Promise((done) => {
    child.on("close", (status, signal) => {
      if (!isDone)
        tally.death(first + part + workers * (progress[part] ?? 0), `worker ${part} ended (${signal ?? status}) in about this case`);
      done();
    });
  });
}

async function runAll(): Promise<void> {
  const tally = new FuzzTally(seedNumber);
  const progress: number[] = [];
  console.log(`fuzz: seed ${seedNumber}, ${count} cases, ${workers} workers`);
  const start = performance.now();
  const watch = setInterval(() => {
    const cases = progress.reduce((sum, one) => sum + one, 0);
    console.log(`fuzz: ${cases} of ${count}, ${(cases / ((performance.now() - start) / 1000)).toFixed(0)} a second`);
  }, 1000 * everySeconds);
  await Promise.all(Array.from({ length: workers }, (_, part) => startPart(part, tally, progress)));
  clearInterval(watch);
  console.log(tally.text());
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(tally.summary(), null, 2)}\n`);
  process.exitCode = tally.isClean ? 0 : 1;
}

if (values.part === undefined) await runAll();
else {
  const tell = (message: PartMessage): void => void process.send?.(message);
  const tally = await runPart(Number(values.part), tell);
  tell({ kind: "done", state: tally.state });
  process.disconnect();
}
