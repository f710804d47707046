// SPDX-License-Identifier: Apache-2.0
/**
 * Model equality over every cycle A → B → A: what both formats claim to hold exactly, and the loss reports do not
 * mention, comes back as it was. The claims are those that `crimg formats` prints.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { registry } from "../../formats/registry.js";
import type { FacetName, FormatAdapter, Loss } from "../../src/adapter/format.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { convert, readCheckpoint, writeCheckpoint } from "../../src/ops/convert.js";
import { buildCheckpoint, checkpointPlans, type CheckpointPlan, type HostFile } from "../support/checkpoint-arbitrary.js";
import { projections } from "../support/facet-projection.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-cycles-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));

function hostFile(name: string, bytes: Uint8Array): HostFile {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  const { size, mtimeNs } = statSync(path, { bigint: true });
  return { path, size, mtimeNs };
}

/** nop, and a system call where threads that are in one stand behind it: readers of cores look. */
const text = Buffer.alloc(4096, 0x90);
text.set([0x0f, 0x05], 0x1fe);
const program = hostFile("program", text);
const data = hostFile("data", Buffer.alloc(16 * 4096, "clean bytes of a mapped file. "));

const formats = (await Promise.all(registry.ids.map((id) => registry.load(id)))).filter(({ read, write }) => read && write);
const runs = 6;

/** Facets that a format claims to hold exactly. */
const holds = (format: FormatAdapter, facet: FacetName) => format.facets[facet] === "exact";

/** Of an object by pid or tid, the members that another has too. */
function common(value: unknown, other: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const names = new Set(Object.keys(other as object));
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => names.has(name))
      .map(([name, one]) => [name, /^[0-9]+$/.test(name) ? one : common(one, (other as Record<string, unknown>)[name])]),
  );
}

let serial = 0;
const fresh = () => join(directory, `image-${serial++}`);

interface Read {
  readonly facets: Readonly<Record<string, unknown>>;
  readonly losses: readonly Loss[];
}

async function project(path: string, from: string): Promise<Read> {
  const losses: Loss[] = [];
  const { checkpoint } = await readCheckpoint(
    { path, name: path, close: () => undefined },
    { registry, from, onLoss: (loss) => losses.push(loss) },
  );
  try {
    return { facets: Object.fromEntries(Object.entries(projections).map(([name, tell]) => [name, tell(checkpoint)])), losses };
  } finally {
    checkpoint.close();
  }
}

/** One cycle. @returns a refusal in words, or undefined if it was gone through */
async function cycle(plans: CheckpointPlan, a: FormatAdapter, b: FormatAdapter): Promise<string | undefined> {
  const [first, second, third] = [fresh(), fresh(), fresh()];
  try {
    await writeCheckpoint(buildCheckpoint(plans, program, data), first, a, { registry });
    const there = await convert(first, second, { registry, from: a.id, to: b.id });
    const back = await convert(second, third, { registry, from: b.id, to: a.id });
    const before = await project(first, a.id);
    const after = await project(third, a.id);
    const lost = new Set([...there.losses, ...back.losses].map(({ facet }) => facet));
    // Of tasks and threads that were lost, nothing else can have stayed either: that is said once.
    const isWhole = holds(b, "tree") && holds(b, "threads") && !lost.has("tree") && !lost.has("threads");
    for (const facet of Object.keys(projections) as FacetName[]) {
      if (!holds(a, facet) || !holds(b, facet) || lost.has(facet)) continue;
      const expected = isWhole ? before.facets[facet] : common(before.facets[facet], after.facets[facet]);
      assert.deepEqual(after.facets[facet], expected, facet);
    }
    return undefined;
  } catch (error) {
    // A format may refuse what it cannot hold at all (several processes in one core of 2011), in words.
    if (!(error instanceof CrimgError)) throw error;
    return `${error.code}: ${error.message}`;
  } finally {
    for (const path of [first, second, third]) {
      for (const name of [path, `${path}.pages`]) rmSync(name, { recursive: true, force: true });
    }
  }
}

for (const a of formats) {
  for (const b of formats) {
    test(`${a.id} → ${b.id} → ${a.id} loses what the reports say, and no more`, { timeout: 120_000 }, async (t) => {
      let cycles = 0;
      const refusals = new Set<string>();
      const attempt = async (plans: CheckpointPlan): Promise<boolean> => {
        const refusal = await cycle(plans, a, b);
        if (refusal === undefined) cycles++;
        else refusals.add(refusal);
        return refusal === undefined;
      };
      const law = fc.asyncProperty(checkpointPlans, async (plans) => {
        // What refuses a tree may take its first process.
        if (!(await attempt(plans)) && plans.length > 1) await attempt(plans.slice(0, 1));
      });
      await fc.assert(law, { numRuns: runs });
      for (const refusal of refusals) t.diagnostic(`refused: ${refusal}`);
      assert.ok(cycles > 0, `no cycle was possible: ${[...refusals].join("; ")}`);
    });
  }
}
