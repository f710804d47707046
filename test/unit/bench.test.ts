// SPDX-License-Identifier: Apache-2.0
/** The pages that `npm run bench` writes. */
import assert from "node:assert/strict";
import test from "node:test";
import { frozenOf } from "../../tools/bench/criu-stats.js";
import { chartOf, pageOf, reached, type Result } from "../../tools/bench/page.js";
import { loadsOf, targets } from "../../tools/bench/rows.js";

const none = Number.NaN;
const figures = (frozen: number, dump: number) => ({
  ...{ frozen, smooth: none, dump, cpu: dump, killing: none, resume: 10, lazy: none, peak: 100, image: 1, packed: none, packedImage: none },
});
const results: Result[] = [250, 1000].map((count) => ({
  load: { kind: "threads", count },
  medians: new Map([
    ["crimg", figures(count / 10, count)],
    ["criu", figures(count / 4, count / 2)],
  ]),
  rounds: 5,
}));

test("the time that CRIU tells is read", () => {
  // stats_entry { dump { freezing_time: 5, frozen_time: 300000, memdump_time: 7 } }
  const message = [0x0a, 8, 0x08, 5, 0x10, 0xe0, 0xa7, 0x12, 0x18, 7];
  assert.equal(frozenOf(Uint8Array.from([...new Array<number>(12).fill(0), ...message])), 300);
  assert.throws(() => frozenOf(new Uint8Array(12)), /no frozen_time/);
});

test("rows are judged, and what was not measured is not called met", () => {
  const page = pageOf(results, "a machine");
  assert.match(page, /\| 1,000 threads: frozen \| 100 ms \| 250 ms \| 0\.40 × \| 0\.5 × \| met \|/);
  assert.match(page, /\| 1,000 threads: whole dump \| 1000 ms \| 500 ms \| 2\.00 × \| 1 × \| \*\*not met\*\* \|/);
  assert.match(page, /\| 10 MiB of pages: frozen \| – \| – \| – \| 0\.5 × \| not measured \|/);
  assert.match(page, /!\[.*\]\(performance-threads\.svg\)/);
  assert.doesNotMatch(page, /performance-pages\.svg/);
  const peak = targets.find(({ isAbsolute }) => isAbsolute);
  assert.ok(peak !== undefined && reached(results, peak) === undefined);
});

test("a chart has a point a size on every line", () => {
  const svg = chartOf(results, "threads");
  assert.equal(svg.match(/stroke-width="2"(?: stroke-dasharray="5 4")?\/>/g)?.length, 8, "four lines, and four in the legend");
  assert.ok(!svg.includes("NaN"));
});

test("every row of the page is among what is measured", () => {
  for (const { load } of targets) assert.ok(loadsOf([load.kind]).some(({ count }) => count === load.count));
});
