/**
 * Makes docs/trust.md: node --expose-gc dist/tools/trust/main.js [--mutations N] [--kills N] [--step N] [--print]
 * [--fuzz FILE] (npm run trust). FILE is what `fuzz --json FILE` wrote: then nothing is mutated here. With --step N only every N-th system call is made to fail.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { FuzzSummary } from "../fuzz/tally.js";
import { Random } from "../fuzz/random.js";
import { type TrialResult, countCalls, failEveryCall, killAtRandom } from "./faults.js";
import { trustPage } from "./page.js";
import { Target } from "./target.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const { values } = parseArgs({
  options: {
    mutations: { type: "string", default: "100000" }, kills: { type: "string", default: "300" }, step: { type: "string", default: "1" },
    seed: { type: "string", default: "1" }, print: { type: "boolean", default: false }, fuzz: { type: "string" },
  },
});
/** EPERM, ENOMEM, EIO: not allowed, not enough, broken. */
const errnos = [1, 12, 5] as const;
const directory = mkdtempSync(join(tmpdir(), "crimg-trust-"));

function fuzz(): FuzzSummary | undefined {
  if (values.fuzz !== undefined) return JSON.parse(readFileSync(values.fuzz, "utf8")) as FuzzSummary;
  const json = join(directory, "fuzz.json");
  spawnSync(process.execPath, ["--expose-gc", join(root, "dist/tools/fuzz/main.js"), "--count", values.mutations, "--seed", values.seed, "--json", json], { stdio: ["ignore", "inherit", "inherit"] });
  return existsSync(json) ? (JSON.parse(readFileSync(json, "utf8")) as FuzzSummary) : undefined;
}

function add(a: TrialResult, b: TrialResult): TrialResult {
  return { tried: a.tried + b.tried, harmed: [...a.harmed, ...b.harmed], bugs: [...a.bugs, ...b.bugs], left: [...a.left, ...b.left], interrupted: a.interrupted + b.interrupted };
}

const none: TrialResult = { tried: 0, harmed: [], bugs: [], left: [], interrupted: 0 };
const say = (what: string, { tried, harmed, bugs, left }: TrialResult): void => {
  console.log(`trust: ${what}: ${tried} tried, ${harmed.length} targets harmed, ${bugs.length} unexpected exceptions, ${left.length} files left`);
  for (const line of [...harmed, ...bugs, ...left].slice(0, 20)) console.log(`trust:   ${line}`);
};

let target: Target | undefined;
try {
  const mutations = values.fuzz !== undefined || Number(values.mutations) > 0 ? fuzz() : undefined;
  target = await Target.start(join(root, "tools/trust/target.c"), directory);
  const calls = await countCalls(target, directory);
  let faults = none;
  for (const errno of errnos) {
    faults = add(faults, await failEveryCall(target, directory, calls, errno, Number(values.step)));
    if (faults.harmed.length > 0) {
      target.end();
      target = await Target.start(join(root, "tools/trust/target.c"), directory);
    }
  }
  say(`${calls} system calls, ${errnos.length} errors`, faults);
  const random = new Random(Number(values.seed));
  const kills = await killAtRandom(target, directory, Number(values.kills), () => random.bits() / 2 ** 32);
  say("crimg killed", kills);
  const page = trustPage({ kernel: release(), mutations, calls, errnos: errnos.length, step: Number(values.step), faults, kills });
  if (values.print) console.log(page);
  else writeFileSync(join(root, "docs/trust.md"), page);
  const isClean = faults.harmed.length + faults.bugs.length + faults.left.length + kills.harmed.length + kills.left.length === 0;
  process.exitCode = isClean ? 0 : 1;
} finally {
  target?.end();
  rmSync(directory, { recursive: true, force: true });
}
