// SPDX-License-Identifier: Apache-2.0
/** Every state of test/probes is kept, refused or lost just as its list, and so docs/limits.md, says. */
import assert from "node:assert/strict";
import test from "node:test";
import { families } from "../probes/families.js";
import { groupsOf } from "../probes/probe.js";
import { inOwnWorld } from "../support/own-world.js";
import { type Result, runProbes } from "../support/probe-run.js";

// System V objects outlive the programs that made them.
inOwnWorld(import.meta.url);
const isRoot = process.getuid?.() === 0;

for (const family of families) {
  for (const group of groupsOf(family)) {
    const title = group.length === 1 ? group[0]?.state : `${group.length} states that are kept`;
    test(`${family.title}: ${title}`, { skip: !isRoot && "needs root", timeout: 120_000 }, async (t) => {
      const results = new Map<string, Result>();
      await runProbes(family, group, ({ name }, result) => void results.set(name, result));
      assert.deepEqual([...results.keys()].sort(), group.map(({ name }) => name).sort(), "every probe has a result");
      for (const [name, result] of results) {
        if (result.kind === "unavailable") t.diagnostic(`${name}: not on this machine (${result.why})`);
      }
      const wrong = [...results].flatMap(([name, result]) => (result.kind === "wrong" ? [`${name}: ${result.what}`] : []));
      assert.deepEqual(wrong, []);
    });
  }
}
