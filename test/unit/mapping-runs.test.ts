// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { emptyTables, type VmaRow, vmaRow, vmaVmFlagsBits as vm } from "../../src/gen/tables.js";
import { planSpace, type SpacePlan } from "../../src/lower/space-plan.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { columnsOf } from "../../src/model/space-columns.js";

const page = 4096n;
const base = 0x10000000n;

/** Pages side by side: each with its protection, and perhaps other fields. */
const rows = (...fields: readonly Partial<VmaRow>[]): VmaRow[] =>
  fields.map((one, index) => {
    const start = base + BigInt(index) * page;
    return vmaRow({ kind: "anon_private", start, end: start + page, object: null, vmFlags: vm.mr | vm.mw | vm.me, ...one });
  });
const accounted = vm.mr | vm.mw | vm.me | vm.ac;
const nowhere = { starts: Float64Array.of(Infinity), ends: Float64Array.of(Infinity) };
const everywhere = { starts: Float64Array.of(0, Infinity), ends: Float64Array.of(Number.MAX_SAFE_INTEGER, Infinity) };
const planOf = (vmas: readonly VmaRow[], stored = nowhere): SpacePlan =>
  planSpace(columnsOf(new Checkpoint({ tables: { ...emptyTables(), vmas }, sources: [] }), 0), stored);
const runsOf = (vmas: readonly VmaRow[]) => planOf(vmas).runs;
const lengths = (vmas: readonly VmaRow[]): number[] => runsOf(vmas).map(({ count }) => count);

test("mappings that touch and differ in protection only are made together", () => {
  const guards = rows(...[3, 0, 3, 0, 3].map((prot) => ({ prot, vmFlags: accounted })));
  assert.deepEqual(lengths(guards), [5]);
  assert.equal(runsOf(guards)[0]?.birth, 3, "all of it was writable once");
  const gap = guards.map((row, index) => (index < 2 ? row : { ...row, start: row.start + page, end: row.end + page }));
  assert.deepEqual(lengths(gap), [2, 3]);
});

test("what is not accounted never becomes writable: where some is not, the others do later", () => {
  const [run] = runsOf(rows({ prot: 0 }, { prot: 3, vmFlags: accounted }, { prot: 1 }));
  assert.equal(run?.count, 3);
  assert.equal(run?.birth, 0);
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
  assert.deepEqual(planOf(vmas).touched, [vmas[1]]);
  assert.deepEqual(planOf(vmas, everywhere).touched, [], "it gets pages anyway");
});

test("what has no pages and is made as one with what has some is protected soon, all else later", () => {
  const one = fc.record({ prot: fc.constantFrom(0, 0, 1, 3, 3), isAccounted: fc.boolean(), hasPage: fc.boolean(), gap: fc.boolean() });
  const pages = (words: readonly number[]): number[] => {
    const found: number[] = [];
    for (let at = 0; at < words.length; at += 2) {
      assert.ok(
        (words[at] as number) < (words[at + 1] as number) && (at === 0 || (words[at - 1] as number) <= (words[at] as number)),
        "they ascend",
      );
      for (let page = words[at] as number; page < (words[at + 1] as number); page += 4096) found.push(page);
    }
    return found;
  };
  let soonest = 0;
  fc.assert(
    fc.property(fc.array(one, { maxLength: 40 }), (ones) => {
      let at = Number(base);
      const places = ones.map(({ gap }) => (at += gap ? 8192 : 4096));
      const vmas = ones.map(({ prot, isAccounted }, index) => {
        const start = BigInt(places[index] as number);
        return vmaRow({
          kind: "anon_private",
          object: null,
          start,
          end: start + page,
          prot,
          vmFlags: isAccounted ? accounted : vm.mr | vm.mw | vm.me,
        });
      });
      const starts = places.filter((_, index) => ones[index]?.hasPage);
      const stored = {
        starts: Float64Array.of(...starts, Infinity),
        ends: Float64Array.of(...starts.map((start) => start + 4096), Infinity),
      };
      const { soon, later, loadProts, runs, touched } = planOf(vmas, stored);
      const [early, late] = [pages(soon.words), [0, 1, 3].map((prot) => pages(later.of(prot)))];
      soonest = Math.max(soonest, early.length);
      for (const [index, { prot, hasPage }] of ones.entries()) {
        const place = places[index] as number;
        assert.equal(
          early.filter((page) => page === place).length + late.flat().filter((page) => page === place).length,
          loadProts[index] === prot ? 0 : 1,
        );
        for (const [which, other] of [0, 1, 3].entries()) if (other !== prot) assert.ok(late[which]?.includes(place) === false);
        if (!early.includes(place)) continue;
        assert.ok(prot === 0 && !hasPage && !touched.some(({ start }) => Number(start) === place));
        // The page that is made first is in the same mapping, which nothing cuts until then.
        const run = runs.find(({ from, count }) => index >= from && index < from + count) ?? assert.fail("no run");
        const isOne = (a: number, b: number): boolean => {
          for (let between = Math.min(a, b); between <= Math.max(a, b); between++)
            if (between < run.from || between >= run.from + run.count || loadProts[between] !== loadProts[index]) return false;
          return true;
        };
        assert.ok(soon.pages.some((page) => starts.includes(page) && isOne(places.indexOf(page), index)));
      }
    }),
  );
  assert.ok(soonest > 0, "there are such");
});

test("stored pages are found in the mappings where they are, in whatever order these come", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(5), fc.integer({ min: 1, max: 5 })), { maxLength: 20 }),
      fc.array(fc.tuple(fc.nat(120), fc.integer({ min: 1, max: 5 }), fc.boolean()), { maxLength: 30 }),
      (gaps, places) => {
        let end = 0;
        const extents = gaps.map(([gap, length]) => ({ start: end + gap, end: (end += gap + length) }));
        const stored = {
          starts: Float64Array.from([...extents.map(({ start }) => start * 8192), Infinity]),
          ends: Float64Array.from([...extents.map((one) => one.end * 8192 - 4096), Infinity]),
        };
        // None touches another, or it would have to be kept apart from that.
        const vmas = places.map(([at, length, isNamed]) => {
          const [start, end] = [BigInt(2 * at) * page, BigInt(2 * (at + length) - 1) * page];
          return vmaRow({ start, end, vmFlags: vm.mr, name: isNamed ? "a name" : "" });
        });
        const { loadProts } = planOf(vmas, stored);
        places.forEach(([at, length], index) => {
          const hasPages = extents.some((one) => one.start < at + length && at < one.end);
          assert.equal(loadProts[index] !== 0, hasPages);
        });
      },
    ),
  );
});
