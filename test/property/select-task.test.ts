// SPDX-License-Identifier: Apache-2.0
/** One process out of a tree: it is as it was, and nothing of the others is left. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { checkReferences } from "../../src/model/references.js";
import { selectTask } from "../../src/model/select-task.js";
import { buildCheckpoint, checkpointPlans } from "../support/checkpoint-arbitrary.js";
import { projections } from "../support/facet-projection.js";
import { tablesArbitrary } from "../support/tables-arbitrary.js";
import { Checkpoint } from "../../src/model/checkpoint.js";

const file = (path: string) => ({ path, size: 65536n, mtimeNs: 1n });

test("every facet of the process is what it was in the tree", () => {
  fc.assert(
    fc.property(checkpointPlans, fc.nat(2), (plans, choice) => {
      const tree = buildCheckpoint(plans, file("/nowhere/program"), file("/nowhere/data"));
      const { pid } = tree.tables.tasks[choice % tree.tables.tasks.length] ?? { pid: 0 };
      const one = selectTask(tree, pid);
      assert.deepEqual(
        one.tables.tasks.map((task) => task.pid),
        [pid],
      );
      assert.deepEqual([...checkReferences(one.tables)], []);
      for (const [facet, project] of Object.entries(projections)) {
        if (facet === "tree") continue;
        const [expected, found] = [project(tree), project(one)] as [Record<string, unknown>, Record<string, unknown>];
        for (const [name, value] of Object.entries(found)) {
          if (facet === "signals") assert.deepEqual(Object.keys(value as object).length > 0, true);
          else assert.deepEqual(value, expected[name], facet);
        }
      }
      assert.ok(one.tables.vmas.every(({ mm }) => mm === 0));
      assert.equal(one.tables.descriptors.length, tree.descriptorsOf(tree.taskIndexOf(pid) ?? -1).length);
    }),
    { numRuns: 40 },
  );
});

test("whatever the tables are, no reference dangles", () => {
  fc.assert(
    fc.property(tablesArbitrary(), fc.nat(), (tables, choice) => {
      const { pid } = tables.tasks[choice % tables.tasks.length] ?? { pid: 0 };
      assert.deepEqual([...checkReferences(selectTask(new Checkpoint({ tables, sources: [] }), pid).tables)], []);
    }),
    { numRuns: 60 },
  );
});
