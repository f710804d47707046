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
import { buildCheckpoint, checkpointPlans, type HostFile } from "../support/checkpoint-arbitrary.js";
import { projections } from "../support/facet-projection.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-cycles-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));

function hostFile(name: string, bytes: Uint8Array): HostFile {
  const path = join(directory, name);
  writeFileSync(path, bytes);
  const { size, mtimeNs } = statSync(path, { bigint: true });
  return { path, size, mtimeNs };
}

const program = hostFile("program", Buffer.alloc(4096, 0x90));
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
    Object.entries(value).filter(([name]) => names.has(name)).map(([name, one]) => [name, /^[0-9]+$/.test(name) ? one : common(one, (other as Record<string, unknown>)[name])]),
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
  const { checkpoint } = await readCheckpoint({ path, name: path, close: () => undefined }, { registry, from, onLoss: (loss) => losses.push(loss) });
  try {
    return { facets: Object.fromEntries(Object.entries(projections).map(([name, tell]) => [name, tell(checkpoint)])), losses };
  } finally {
    checkpoint.close();
  }
}

for (const a of formats) {
  for (const b of formats) {
    test(`${a.id} → ${b.id} → ${a.id} loses what the reports say, and no more`, { timeout: 120_000 }, async (t) => {
      let cycles = 0;
      const refusals = new Set<string>();
      await fc.assert(
        fc.asyncProperty(checkpointPlans, async (plans) => {
          const checkpoint = buildCheckpoint(plans, program, data);
          const [first, second, third] = [fresh(), fresh(), fresh()];
          try {
            await writeCheckpoint(checkpoint, first, a, { registry });
            const there = await convert(first, second, { registry, from: a.id, to: b.id });
            const back = await convert(second, third, { registry, from: b.id, to: a.id });
            const before = await project(first, a.id);
            const after = await project(third, a.id);
            const lost = new Set([...there.losses, ...back.losses].map(({ facet }) => facet));
            for (const facet of Object.keys(projections) as FacetName[]) {
              if (!holds(a, facet) || !holds(b, facet) || lost.has(facet)) continue;
              // Of tasks and threads that were lost, nothing else can have stayed either: that is said once.
              const isWhole = holds(b, "tree") && holds(b, "threads") && !lost.has("tree") && !lost.has("threads");
              const expected = isWhole ? before.facets[facet] : common(before.facets[facet], after.facets[facet]);
              assert.deepEqual(after.facets[facet], expected, facet);
            }
            cycles++;
          } catch (error) {
            // A format may refuse what it cannot hold (several processes in one core of 2011), in words.
            if (!(error instanceof CrimgError)) throw error;
            refusals.add(`${error.code}: ${error.message}`);
          } finally {
            for (const path of [first, second, third, `${first}.pages`, `${second}.pages`, `${third}.pages`]) rmSync(path, { recursive: true, force: true });
          }
        }),
        { numRuns: runs },
      );
      for (const refusal of refusals) t.diagnostic(`refused: ${refusal}`);
      assert.ok(cycles > 0, `no cycle was possible: ${[...refusals].join("; ")}`);
    });
  }
}
