// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run bench [-- [--rounds N] [--largest N] [--no-page] [KIND[:COUNT]…]]`: measures crimg beside CRIU (when CRIU_BIN names
 * one) in the same run, in turn, prints medians and ratios, and writes docs/performance.md with its charts.
 * Without words: every row and series. `--largest` leaves out loads of more than that.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { cpus, freemem, release, tmpdir, totalmem } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { crimgEngine, criuEngine, type Engine, type Figures, measure } from "./measure.js";
import { chartOf, pageOf, reached, type Result } from "./page.js";
import { isSize, type Kind, kinds, type Load, loadsOf, type Measure, measures, nameOf, targets } from "./rows.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const criu = process.env["CRIU_BIN"];
const engines: readonly Engine[] = [crimgEngine(join(root, "bin/crimg")), ...(criu === undefined ? [] : [criuEngine(criu)])];

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const commandOf = ({ kind, count }: Load, program: string): readonly [string, ...string[]] =>
  kind === "heap" ? ["python3", join(root, "tools/bench/heap.py"), String(count)] : [program, kind, String(count)];

/** The first turn warms caches and memory up and is not counted. */
async function measureLoad(load: Load, rounds: number, program: string, directory: string): Promise<Result> {
  const figures = new Map<string, Figures[]>(engines.map(({ name }) => [name, []]));
  for (let turn = 0; turn <= rounds; turn++) {
    for (const engine of engines) {
      const one = await measure(engine, load, commandOf(load, program), { loader: program, directory });
      if (turn > 0) figures.get(engine.name)?.push(one);
    }
  }
  const medians = new Map(
    [...figures].map(([name, all]) => [
      name,
      Object.fromEntries(measures.map((which) => [which, median(all.map((one) => one[which]))])) as Record<Measure, number>,
    ]),
  );
  return { load, medians, rounds };
}

function print({ load, medians }: Result): void {
  console.log(`\n${nameOf(load)}`);
  for (const which of measures) {
    const unit = isSize(which) ? "MiB" : "ms";
    const measured = [...medians].filter(([, of]) => !Number.isNaN(of[which]));
    if (measured.length === 0) continue;
    const [own, other] = ["crimg", "criu"].map((name) => new Map(measured).get(name)?.[which]);
    const ratio = own !== undefined && other !== undefined ? `, ratio ${(own / other).toFixed(2)}` : "";
    const each = measured.map(([name, of]) => `${name} ${of[which].toFixed(1)} ${unit}`);
    console.log(`  ${which.padEnd(11)} ${each.join(", ")}${ratio}`);
  }
}

/** Whether a load and its image (in the page cache, too) are far from filling this machine. */
function hasRoomFor({ kind, count }: Load): boolean {
  if (kind !== "pages" && kind !== "heap") return true;
  const { bavail, bsize } = statfsSync(tmpdir());
  const bytes = count * 2 ** 20;
  return bavail * bsize > 4 * bytes && freemem() > 3.5 * bytes;
}

/** Loads by the words of the command line: `threads`, `pages:1024`. */
function chosenLoads(words: readonly string[], largest: number): Load[] {
  const all = words.length === 0 ? loadsOf(kinds) : words.flatMap(loadsOfWord);
  return all.filter(({ count }) => count <= largest);
}

function loadsOfWord(word: string): Load[] {
  const [name = "", count] = word.split(":");
  const kind = kinds.find((one) => one === name);
  if (kind === undefined) throw new Error(`${name} is none of ${kinds.join(" ")}`);
  return count === undefined ? loadsOf([kind]) : [{ kind, count: Number(count) }];
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: "string", default: "5" }, largest: { type: "string" }, "no-page": { type: "boolean", default: false } },
  });
  const loads = chosenLoads(positionals, values.largest === undefined ? Number.POSITIVE_INFINITY : Number(values.largest));
  const rounds = Number(values.rounds);
  const directory = mkdtempSync(join(tmpdir(), "crimg-bench-"));
  try {
    const program = join(directory, "load");
    const built = spawnSync("cc", ["-O1", "-static", "-pthread", "-o", program, join(root, "tools/bench/load.c")], { stdio: "inherit" });
    if (built.status !== 0) throw new Error("cannot compile tools/bench/load.c");
    const results: Result[] = [];
    for (const load of loads) {
      if (!hasRoomFor(load)) {
        console.log(`\n${nameOf(load)}: left out, there is too little free memory or space in ${tmpdir()}`);
        continue;
      }
      const result = await measureLoad(load, rounds, program, directory);
      results.push(result);
      print(result);
    }
    if (criu === undefined) {
      console.log("\nCRIU_BIN is not set: crimg alone was measured, without a ratio, and no page is written");
      return;
    }
    for (const target of targets) {
      const value = reached(results, target);
      const { load, measure: which, atMost, to } = target;
      const compared = to === undefined ? "" : ` to ${to.engine}'s ${to.measure}`;
      if (value !== undefined)
        console.log(`${value <= atMost ? "met    " : "NOT MET"} ${nameOf(load)}: ${which}${compared} ${value.toFixed(3)} (${atMost})`);
    }
    if (!values["no-page"]) writePage(results, rounds);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function writePage(results: readonly Result[], rounds: number): void {
  const gib = Math.round(totalmem() / 2 ** 30);
  const node = `Node ${process.versions.node}`;
  const machine = `Linux ${release().split("-")[0]}, ${cpus().length} processors, ${gib} GiB of memory, ${node}; medians of ${rounds}.`;
  writeFileSync(join(root, "docs/performance.md"), pageOf(results, machine));
  const measured = new Set<Kind>(results.map(({ load }) => load.kind));
  for (const kind of measured) writeFileSync(join(root, `docs/performance-${kind}.svg`), chartOf(results, kind));
}

try {
  await main();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
