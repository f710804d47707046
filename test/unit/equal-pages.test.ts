// SPDX-License-Identifier: Apache-2.0
/** Equal pages are named by one place, and every address keeps its bytes. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { emptyTables, type ExtentRow, extentRow, mmRow, taskRow } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { mostEqual, rowsWithOwnBytes } from "../../src/model/shared-pages.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { withEqualPagesOnce } from "../../src/pages/equal-pages.js";

const page = 4096;

/** Two processes; a number is the content of a page, 0 that of zeros, undefined a gap. */
const contents = fc.array(fc.option(fc.nat(5), { nil: undefined }), { maxLength: 60 });

function extentsOf(pages: readonly (number | undefined)[], owner: number): { extents: ExtentRow[]; bytes: Buffer } {
  const bytes = Buffer.concat(pages.filter((content) => content !== undefined).map((content) => Buffer.alloc(page, content)));
  const extents: ExtentRow[] = [];
  let offset = 0n;
  for (const [index, content] of pages.entries()) {
    if (content === undefined) continue;
    const address = BigInt((index + 1) * page);
    const last = extents.at(-1);
    if (last !== undefined && last.address + last.length === address)
      extents[extents.length - 1] = { ...last, length: last.length + 4096n };
    else extents.push(extentRow({ ownerKind: "mm", owner, source: owner, address, length: 4096n, fileOffset: offset }));
    offset += 4096n;
  }
  return { extents, bytes };
}

/** By address space and address: the byte that fills the page there, and where it is. */
function pagesIn({ tables, sources }: Checkpoint): Map<string, { content: number; place: string }> {
  const found = new Map<string, { content: number; place: string }>();
  for (const { owner, address, length, source, fileOffset } of tables.extents) {
    for (let at = 0n; at < length; at += 4096n) {
      const into = Buffer.alloc(page);
      sources[source]?.read(fileOffset + at, into);
      assert.ok(into.every((byte) => byte === into[0]));
      found.set(`${owner} ${address + at}`, { content: into[0] ?? 0, place: `${source} ${fileOffset + at}` });
    }
  }
  return found;
}

test("every address keeps its bytes, and no content but zeros has two places", async () => {
  await fc.assert(
    fc.asyncProperty(contents, contents, async (one, other) => {
      const parts = [extentsOf(one, 0), extentsOf(other, 1)];
      const tables = {
        ...emptyTables(),
        mms: [mmRow(), mmRow()],
        tasks: [taskRow({ mm: 0, parent: null }), taskRow({ mm: 1, parent: 0 })],
        extents: parts.flatMap(({ extents }) => extents),
      };
      const sources = parts.map(({ bytes }) => new BufferPageSource("memory", bytes));
      const before = new Checkpoint({ tables, sources });
      const after = await withEqualPagesOnce(before, {});
      const [old, now] = [pagesIn(before), pagesIn(after)];
      assert.deepEqual([...now.keys()], [...old.keys()]);
      const placeOf = new Map<number, string>();
      for (const [key, { content, place }] of now) {
        assert.equal(content, old.get(key)?.content);
        if (content === 0) continue;
        if (!placeOf.has(content)) placeOf.set(content, place);
        assert.equal(place, placeOf.get(content));
      }
      const own = new Set(rowsWithOwnBytes(after.tables));
      for (const [row, { length }] of after.tables.extents.entries()) assert.ok(own.has(row) || length <= mostEqual);
    }),
  );
});

test("bytes that are in an image once are no page each of a long extent that repeats another", () => {
  const long = extentRow({ ownerKind: "mm", owner: 0, source: 0, address: 4096n, length: mostEqual * 2n, fileOffset: 0n });
  const again = (length: bigint): ExtentRow => ({ ...long, address: 1n << 20n, length });
  const ownOf = (...extents: ExtentRow[]): readonly number[] => rowsWithOwnBytes({ tasks: [taskRow({ mm: 0, parent: null })], extents });
  assert.deepEqual(ownOf(long, again(mostEqual)), [0]);
  assert.deepEqual(ownOf(long, again(mostEqual + 4096n)), [0, 1]);
  assert.deepEqual(ownOf(long, { ...again(8192n), fileOffset: long.length - 4096n }), [0, 1]);
});
