// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import test from "node:test";
import { lazyRows } from "../../src/model/lazy-rows.js";

const squares = (count: number) => {
  const made: number[] = [];
  const rows = lazyRows(count, (index) => {
    made.push(index);
    return { square: index * index };
  });
  return { made, rows };
};
const plain = (count: number) => Array.from({ length: count }, (_, index) => ({ square: index * index }));

test("elements are made when somebody looks at them, once", () => {
  const { made, rows } = squares(1000);
  assert.equal(rows.length, 1000);
  assert.equal(rows[7]?.square, 49);
  assert.equal(rows.at(-1)?.square, 999 * 999);
  assert.equal(rows[7], rows[7]);
  assert.equal(rows[1000], undefined);
  assert.deepEqual(made, [7, 999]);
  assert.ok(Array.isArray(rows));
});

test("whatever is done to an array can be done to them", () => {
  const uses: ((rows: { square: number }[]) => unknown)[] = [
    (rows) => [...rows],
    (rows) => rows.map(({ square }) => square),
    (rows) => rows.filter(({ square }) => square % 2 === 1),
    (rows) => rows.some(({ square }) => square === 16),
    (rows) => rows.reduce((sum, { square }) => sum + square, 0),
    (rows) => [rows.findIndex(({ square }) => square === 9), 3 in rows, 7 in rows],
    (rows) => [...rows.entries()],
    (rows) => Object.keys(rows),
    (rows) => JSON.stringify(rows),
    (rows) => rows.concat(rows),
    (rows) => [rows.push({ square: -1 }), [...rows]],
    (rows) => [rows.splice(1, 2), rows.length, [...rows], rows[4]],
    (rows) => [rows.splice(0), rows.length, rows[0], rows.push({ square: -2 }), [...rows], rows[1]],
    (rows) => [...rows.sort((a, b) => b.square - a.square)],
    (rows) => {
      rows[2] = { square: -3 };
      return [...rows];
    },
  ];
  for (const use of uses) assert.deepEqual(use(squares(5).rows), use(plain(5)), use.toString());
  assert.deepEqual(squares(5).rows, plain(5));
});
