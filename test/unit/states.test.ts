// SPDX-License-Identifier: Apache-2.0
/** The table of small states: each row reads its own fields and no other, no field twice, and a fresh row needs no privilege. */
import assert from "node:assert/strict";
import test from "node:test";
import { mmRow, taskRow, threadRow } from "../../src/gen/tables.js";
import type { Asking } from "../../src/state/asking.js";
import type { AnyState } from "../../src/state/state.js";
import { statesOfMm, statesOfTask, statesOfThread } from "../../src/state/states.js";

/** A kernel that knows nothing: every call fails with EINVAL, no file is there. */
const nothingKnown: Asking = {
  tid: 1,
  name: "process 1 (x)",
  call: () => -22,
  outside: () => -22,
  file: () => undefined,
  status: () => undefined,
  stat: () => 0n,
};

function lawsOf<Row extends object>(table: string, states: Readonly<Record<string, AnyState<Row>>>, fresh: Row): void {
  test(`${table}: a row reads its fields, and they are nobody else's`, () => {
    const owners = new Map<PropertyKey, string>();
    for (const [name, state] of Object.entries(states)) {
      assert.deepEqual(Object.keys(state.read(nothingKnown)).sort(), [...state.fields].sort(), name);
      for (const field of state.fields) {
        assert.ok(field in fresh, `${name}: ${table} have no field ${String(field)}`);
        assert.equal(owners.get(field), undefined, `${String(field)} is of ${owners.get(field)} and ${name}`);
        owners.set(field, name);
      }
    }
  });

  test(`${table}: what an old image does not have is no wrong value`, () => {
    for (const [name, state] of Object.entries(states)) assert.equal(state.check(fresh), undefined, name);
  });
}

lawsOf("tasks", statesOfTask, taskRow());
lawsOf("threads", statesOfThread, threadRow());
lawsOf("mms", statesOfMm, mmRow());
