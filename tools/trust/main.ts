// SPDX-License-Identifier: Apache-2.0
/**
 * Makes docs/trust.md: node --expose-gc dist/tools/trust/main.js [--mutations N] [--kills N] [--step N] [--executed N]
 * [--seed S] [--fuzz FILE] [--print] (npm run trust). FILE is what `fuzz --json FILE` wrote: then nothing is mutated here.
 * With --step N only every N-th system call of a dump and op of a restore is made to fail. --executed N: so many damaged
 * images of each kind are executed (as root only, since they need namespaces).
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
import { type HostileResult, type Hostility, hostilities, runHostile } from "./hostile-images.js";
import { Jail } from "./jail.js";
import { type OpFaultResult, failEveryOp } from "./op-faults.js";
import { trustPage } from "./page.js";
import { makeResumable } from "./resumable.js";
import { Target } from "./target.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const { values } = parseArgs({
  options: {
    mutations: { type: "string", default: "100000" },
    kills: { type: "string", default: "300" },
    step: { type: "string", default: "1" },
    executed: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    print: { type: "boolean", default: false },
    fuzz: { type: "string" },
  },
});
/** EPERM, ENOMEM, EIO: not allowed, not enough, broken. */
const errnos = [1, 12, 5] as const;
const directory = mkdtempSync(join(tmpdir(), "crimg-trust-"));

function fuzz(): FuzzSummary | undefined {
  if (values.fuzz !== undefined) return JSON.parse(readFileSync(values.fuzz, "utf8")) as FuzzSummary;
  const json = join(directory, "fuzz.json");
  spawnSync(
    process.execPath,
    ["--expose-gc", join(root, "dist/tools/fuzz/main.js"), "--count", values.mutations, "--seed", values.seed, "--json", json],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  return existsSync(json) ? (JSON.parse(readFileSync(json, "utf8")) as FuzzSummary) : undefined;
}

function add(a: TrialResult, b: TrialResult): TrialResult {
  return {
    tried: a.tried + b.tried,
    harmed: [...a.harmed, ...b.harmed],
    bugs: [...a.bugs, ...b.bugs],
    left: [...a.left, ...b.left],
    interrupted: a.interrupted + b.interrupted,
  };
}

const none: TrialResult = { tried: 0, harmed: [], bugs: [], left: [], interrupted: 0 };
const say = (what: string, { tried, harmed, bugs, left }: TrialResult): void => {
  console.log(
    `trust: ${what}: ${tried} tried, ${harmed.length} targets harmed, ${bugs.length} unexpected exceptions, ${left.length} files left`,
  );
  for (const line of [...harmed, ...bugs, ...left].slice(0, 20)) console.log(`trust:   ${line}`);
};

/** Ops that fail, and damaged images, executed. */
async function resumes(): Promise<{ readonly ops: OpFaultResult; readonly hostile: Readonly<Record<Hostility, HostileResult>> }> {
  const jail = new Jail(join(root, "tools/trust/jail.c"), directory);
  const image = await makeResumable(join(root, "tools/trust/tree.c"), directory);
  const ops = await failEveryOp(image, jail, directory, errnos, Number(values.step));
  console.log(`trust: ops that fail: ${ops.tried} tried, ${ops.named} named, ${ops.resumed} resumed, ${ops.wrong.length} wrong`);
  for (const line of ops.wrong.slice(0, 20)) console.log(`trust:   ${line}`);
  const hostile: Partial<Record<Hostility, HostileResult>> = {};
  for (const kind of hostilities) {
    const result = await runHostile(image, jail, directory, kind, Number(values.executed), new Random(Number(values.seed)));
    console.log(
      `trust: ${kind}: ${result.tried} executed, ${JSON.stringify(result.endings)}, ${result.survivors} processes survived, ` +
        `${result.leftByKill} where the first was killed`,
    );
    for (const line of result.examples) console.log(`trust:   ${line}`);
    hostile[kind] = result;
  }
  return { ops, hostile: hostile as Record<Hostility, HostileResult> };
}

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
  const { ops, hostile } = await resumes();
  const page = trustPage({
    kernel: release(),
    mutations,
    calls,
    errnos: errnos.length,
    step: Number(values.step),
    faults,
    kills,
    ops,
    hostile,
  });
  if (values.print) console.log(page);
  else writeFileSync(join(root, "docs/trust.md"), page);
  const problems = [
    faults.harmed,
    faults.bugs,
    faults.left,
    kills.harmed,
    kills.left,
    ops.wrong,
    hostile.damage.examples,
    hostile.cut.examples,
  ];
  process.exitCode = problems.every((list) => list.length === 0) && hostile.program.survivors === 0 ? 0 : 1;
} finally {
  target?.end();
  rmSync(directory, { recursive: true, force: true });
}
