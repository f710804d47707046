// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import test from "node:test";
import { type VmaRow, vmaRow, vmaVmFlagsBits as vm } from "../../src/gen/tables.js";
import { protAtBirth, runsOfPlans } from "../../src/lower/mapping-runs.js";
import { planVmas } from "../../src/lower/vma-plan.js";

const page = 4096n;
const base = 0x10000000n;

/** Pages side by side: each with its protection, and perhaps other fields. */
const rows = (...fields: readonly Partial<VmaRow>[]): VmaRow[] =>
  fields.map((one, index) => {
    const start = base + BigInt(index) * page;
    return vmaRow({ kind: "anon_private", start, end: start + page, object: null, vmFlags: vm.mr | vm.mw | vm.me, ...one });
  });
const accounted = vm.mr | vm.mw | vm.me | vm.ac;
const runsOf = (vmas: readonly VmaRow[]) =>
  runsOfPlans(
    planVmas(vmas, () => false),
    () => false,
  );
const lengths = (vmas: readonly VmaRow[]): number[] => runsOf(vmas).map((run) => run.length);

test("mappings that touch and differ in protection only are made together", () => {
  const guards = rows(...[3, 0, 3, 0, 3].map((prot) => ({ prot, vmFlags: accounted })));
  assert.deepEqual(lengths(guards), [5]);
  assert.equal(protAtBirth(runsOf(guards)[0] ?? assert.fail()), 3, "all of it was writable once");
  const gap = guards.map((row, index) => (index < 2 ? row : { ...row, start: row.start + page, end: row.end + page }));
  assert.deepEqual(lengths(gap), [2, 3]);
});

test("what is not accounted never becomes writable: where some is not, the others do later", () => {
  const [run] = runsOf(rows({ prot: 0 }, { prot: 3, vmFlags: accounted }, { prot: 1 }));
  assert.equal(run?.length, 3);
  assert.equal(protAtBirth(run ?? assert.fail()), 0);
});

test("what differs in more than protection is made alone", () => {
  const other: readonly Partial<VmaRow>[] = [
    { vmFlags: accounted | vm.nr },
    { vmFlags: accounted | vm.gd },
    { vmFlags: accounted | vm.nh },
    { vmFlags: accounted | vm.dd },
    { name: "arena" },
    { kind: "file_private", object: 0 },
    { kind: "anon_shared", object: 0 },
    { hugeShift: 21, vmFlags: accounted | vm.ht },
  ];
  for (const one of other)
    assert.deepEqual(lengths(rows({ prot: 3, vmFlags: accounted }, { prot: 1, vmFlags: accounted, ...one })), [1, 1]);
  const equal = { prot: 3, vmFlags: accounted };
  assert.deepEqual(lengths(rows(equal, equal)), [1, 1], "two that were apart although they are equal");
  assert.deepEqual(lengths(rows({ ...equal, name: "arena" }, { ...equal, prot: 1, name: "arena" })), [2], "alike in what else they have");
});

test("what differs from its neighbour only in being accounted, and cannot be written, has to have had a page", () => {
  const vmas = rows({ prot: 5 }, { prot: 5, vmFlags: accounted }, { prot: 0, vmFlags: accounted }, { prot: 3, vmFlags: accounted });
  const hadPage = (hasPages: boolean) => planVmas(vmas, () => hasPages).map(({ mustHaveHadPage }) => mustHaveHadPage);
  assert.deepEqual(hadPage(false), [false, true, false, false]);
  assert.deepEqual(hadPage(true), [false, false, false, false], "it gets pages anyway");
});
