// SPDX-License-Identifier: Apache-2.0
/** The table of small states: each row reads its own fields and no other, no field twice, and a fresh row needs no privilege. */
import assert from "node:assert/strict";
import test from "node:test";
import { mmRow, taskRow, threadRow } from "../../src/gen/tables.js";
import type { Asking } from "../../src/state/asking.js";
import type { AnyState } from "../../src/state/state.js";
import type { Setting } from "../../src/state/setting.js";
import { mmStates, statesOfMm, statesOfTask, statesOfThread, threadStates } from "../../src/state/states.js";

/** A kernel that knows nothing: every call fails with EINVAL, no file is there. */
const nothingKnown: Asking = {
  usesProtectionKeys: true,
  tid: 1,
  name: "process 1 (x)",
  // Of protection keys, there is none left.
  call: () => -22,
  callBig: () => -22n,
  preservingRegisters: (work) => work(),
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

/** Protection keys as the kernel hands them out: the lowest that is free. */
class KeyKernel {
  constructor(public keys: number) {}

  call(name: string, first: number): number {
    if (name === "pkey_free") {
      this.keys &= ~(1 << first);
      return 0;
    }
    assert.equal(name, "pkey_alloc");
    const key = Array.from({ length: 16 }, (_, number) => number).find((number) => (this.keys & (1 << number)) === 0);
    if (key === undefined) return -28;
    this.keys |= 1 << key;
    return key;
  }
}

test("protection keys: those allocated are found out, left as they were, and allocated again", () => {
  const { read, set } = mmStates.protectionKeys;
  for (const keys of [0b10, 0b1100, 0b1010_1010, 0xfffe]) {
    const kernel = new KeyKernel(keys | 1);
    let preserved = 0;
    const ask: Asking = {
      ...nothingKnown,
      call: (name, first) => kernel.call(name, first as number),
      preservingRegisters: (work) => {
        preserved++;
        return work();
      },
    };
    // A key is handed out lowest first: if 1 is free, none is taken for allocated without a mapping that has one.
    assert.equal(read(ask).pkeys, (keys & 2) === 0 ? 0 : keys, `${keys}`);
    assert.equal(kernel.keys, keys | 1);
    assert.equal(preserved, 1);
    const fresh = new KeyKernel(1);
    set(
      {
        taskName: "x",
        isLeader: true,
        call: (name, args) => void fresh.call(name, Number(args[0])),
        file: () => assert.fail(),
        changeFile: () => assert.fail(),
      },
      mmRow({ pkeys: keys }),
    );
    assert.equal(fresh.keys, keys | 1);
  }
});

test("speculation control: only what a program can set, and did, is set again", () => {
  const { set } = threadStates.speculation;
  const calls: unknown[] = [];
  const setting: Setting = {
    taskName: "x",
    isLeader: true,
    call: (_name, args) => void calls.push(args.slice(1, 3)),
    file: () => assert.fail(),
    changeFile: () => assert.fail(),
  };
  // PR_SPEC_PRCTL is 1; enabled 2 is what everybody has, of the cache it is disabled 4; 8 without 1 nobody can change.
  set(setting, threadRow({ specStoreBypass: 1 | 2, specIndirectBranch: 8, specL1dFlush: 1 | 4 }));
  assert.deepEqual(calls, []);
  set(setting, threadRow({ specStoreBypass: 1 | 4, specIndirectBranch: 1 | 8, specL1dFlush: 1 | 2 }));
  assert.deepEqual(calls, [
    [0, 4],
    [1, 8],
    [2, 2],
  ]);
});
