// SPDX-License-Identifier: Apache-2.0
/** Runs cases in a thread of its own, so that one that hangs can be ended. */
import { parentPort, workerData } from "node:worker_threads";
import { registry } from "../../formats/registry.js";
import type { FormatAdapter } from "../../src/adapter/format.js";
import { makeCorpus } from "./corpus.js";
import { type Baseline, type CaseResult, baselineOf, peakMemory, resetPeakMemory, runCase } from "./run-case.js";

export interface WorkerOptions {
  readonly fixtures: string;
  readonly work: string;
  readonly seedNumber: number;
  readonly first: number;
  /** No case from here on. */
  readonly end: number;
  readonly step: number;
  /** Say what changed where nothing was noticed. */
  readonly where: boolean;
  /** The case that runs, plus one; 0 for none. */
  readonly clock: SharedArrayBuffer;
}

export type WorkerMessage =
  | { readonly kind: "ready"; readonly seeds: number; readonly files: number }
  | { readonly kind: "say"; readonly text: string }
  | { readonly kind: "case"; readonly index: number; readonly result: CaseResult; readonly ms: number; readonly bytes: number };

/** A case that seems to need more than this is run again after a collection, to tell garbage from need. */
const suspiciousBytes = 48 << 20;
const collectGarbage = (globalThis as { gc?: () => void }).gc;

const options = workerData as WorkerOptions;
const port = parentPort;
if (port === null) throw new Error("worker.js is run by main.js");
const post = (message: WorkerMessage): void => port.postMessage(message);

const clock = new Int32Array(options.clock);
const seeds = await makeCorpus(options.fixtures, options.work, registry, (text) => post({ kind: "say", text }));
const writers: FormatAdapter[] = [];
for (const id of registry.ids) writers.push(await registry.load(id));
const baselines = new Map<string, Baseline>();
for (const seed of seeds) baselines.set(seed.name, await baselineOf(seed, writers));
post({ kind: "ready", seeds: seeds.length, files: seeds.reduce((sum, seed) => sum + seed.files.length, 0) });

const measure = async (index: number): Promise<{ result: CaseResult; ms: number; bytes: number }> => {
  resetPeakMemory();
  const before = peakMemory();
  const start = process.cpuUsage();
  const result = await runCase(seeds, baselines, writers, options.seedNumber, index, options.where);
  const { user, system } = process.cpuUsage(start);
  return { result, ms: (user + system) / 1000, bytes: peakMemory() - before };
};

for (let index = options.first; index < options.end; index += options.step) {
  Atomics.store(clock, 0, index + 1);
  let measured = await measure(index);
  if (measured.bytes > suspiciousBytes) {
    collectGarbage?.();
    measured = await measure(index);
  }
  post({ kind: "case", index, ...measured });
}
Atomics.store(clock, 0, 0);
