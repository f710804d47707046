// SPDX-License-Identifier: Apache-2.0
/** Pages that a child has from its parent: found in extents, and what is left of a child's own. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { type ExtentRow, extentRow, taskRow } from "../../src/gen/tables.js";
import { rowsWithOwnBytes, sharedRanges, withoutRanges } from "../../src/model/shared-pages.js";

const page = 4096n;

/** Pages of an address space by number: 0 none, else whose bytes. A run of equal ones is an extent. */
function extentsOf(owner: number, pages: readonly number[]): ExtentRow[] {
  const rows: ExtentRow[] = [];
  pages.forEach((source, index) => {
    if (source === 0) return;
    const last = rows.at(-1);
    const address = BigInt(index) * page;
    if (last !== undefined && last.source === source && last.address + last.length === address)
      rows[rows.length - 1] = { ...last, length: last.length + page };
    else rows.push(extentRow({ ownerKind: "mm", owner, address, length: page, fileOffset: address, source }));
  });
  return rows;
}

/** Each page of rows as its address and the place of its bytes. */
const pagesOf = (rows: readonly ExtentRow[]): string[] =>
  rows.flatMap(({ address, length, fileOffset, source }) =>
    Array.from(
      { length: Number(length / page) },
      (_, index) => `${address / page + BigInt(index)} ${source} ${fileOffset / page + BigInt(index)}`,
    ),
  );

test("shared ranges are the pages that both have from the same place, and the rest is the child's own", () => {
  const pages = fc.array(fc.constantFrom(0, 1, 2), { minLength: 20, maxLength: 20 });
  fc.assert(
    fc.property(pages, pages, (first, second) => {
      const [child, parent] = [extentsOf(1, first), extentsOf(0, second)];
      const ranges = sharedRanges(child, parent);
      const shared = ranges.flatMap(({ start, end }) =>
        Array.from({ length: Number((end - start) / page) }, (_, index) => Number(start / page) + index),
      );
      assert.deepEqual(
        shared,
        first.flatMap((source, index) => (source !== 0 && source === second[index] ? [index] : [])),
      );
      assert.deepEqual(
        pagesOf(withoutRanges(child, ranges)),
        pagesOf(child).filter((text) => !shared.includes(Number(text.split(" ")[0]))),
      );
    }),
  );
});

test("bytes are an extent's own, its parent's at the same address, or all of them part of an earlier extent", () => {
  const tasks = [
    taskRow({ mm: 0, parent: null }),
    taskRow({ mm: 1, parent: 0 }),
    taskRow({ mm: 2, parent: 1 }),
    taskRow({ mm: 3, parent: 0 }),
  ];
  const row = (owner: number, address: bigint, fileOffset: bigint) =>
    extentRow({ ownerKind: "mm", owner, address: address * page, length: page, fileOffset: fileOffset * page, source: 0 });
  const extents = [row(0, 5n, 9n), row(1, 5n, 9n), row(2, 5n, 9n), row(3, 6n, 9n), row(3, 7n, 9n)];
  assert.deepEqual(rowsWithOwnBytes({ tasks, extents }), [0]);
  const overlapping = extentRow({ ...row(3, 8n, 8n), length: 2n * page });
  assert.deepEqual(rowsWithOwnBytes({ tasks, extents: [...extents, overlapping] }), [0, 5], "more than a part");
  const object = extentRow({ ...row(0, 8n, 9n), ownerKind: "object" });
  assert.deepEqual(rowsWithOwnBytes({ tasks, extents: [...extents, object] }), [0, 5], "of objects nothing is shared");
});
