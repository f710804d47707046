// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run gpu`: crimg on a machine with an NVIDIA GPU, nvcc and PyTorch. Builds a CUDA C++ counter, runs it and a PyTorch
 * training, dumps and resumes both in every way that there is, holds what they log against what they must, times each
 * step, and writes docs/gpu.md. Nothing is installed; each step has a bound, and all of it takes some three minutes.
 *
 * Environment: GPU_REPORT names another file for the page; crimg and node may be files that were carried there.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Machine } from "./machine.js";
import { Programs } from "./programs.js";
import { renderPage } from "./page.js";
import { root } from "./run.js";
import { scenarios } from "./scenarios.js";
import type { Result } from "./result.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-gpu-"));
const results: Result[] = [];
let isGood = true;
try {
  const machine = Machine.look(directory);
  const programs = new Programs(directory);
  programs.build();
  const page = process.env["GPU_REPORT"] ?? join(root, "docs/gpu.md");
  for (const { name, run } of scenarios) {
    const since = performance.now();
    try {
      const found = await run(programs);
      for (const result of found) console.log(`${name}: ${JSON.stringify(result)}`);
      results.push(...found);
    } catch (error) {
      isGood = false;
      const text = error instanceof Error ? error.message : String(error);
      console.log(`${name}: FAILED: ${text}`);
      results.push({ kind: "claim", what: name, holds: false, seen: text });
    } finally {
      programs.endAll();
      console.log(`${name}: ${Math.round(performance.now() - since)} ms`);
    }
    // After each: a machine that is lent for minutes may go before the end.
    writeFileSync(page, renderPage(machine, results));
  }
  console.log(`written: ${page}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
if (!isGood || results.some((result) => result.kind === "claim" && !result.holds)) process.exitCode = 1;
