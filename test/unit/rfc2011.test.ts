// SPDX-License-Identifier: Apache-2.0
/** The parts that both formats of 2011 share, each by itself. */
import assert from "node:assert/strict";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { MemoryBytes } from "../../src/bytes/random-bytes.js";
import { vmaEntry, vmaEntryStatusBits as status } from "../../src/gen/ckpt-elf-v1.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { classifyAreas } from "../../src/rfc2011/classify.js";
import { InterleavedPages, countPages, pageListBytes, readPageList, writePageList } from "../../src/rfc2011/page-list.js";
import { decodePersonality, encodePersonality } from "../../src/rfc2011/personality.js";
import { RangeSet } from "../../src/rfc2011/range-set.js";

const page = 4096n;

test("a page list that is written is read again: addresses, runs, and bytes at any position", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "crimg-pages-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const runs = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 600 })), { maxLength: 4 });
  let serial = 0;
  fc.assert(
    fc.property(runs, fc.nat(), (shape, seed) => {
      const path = join(folder, String(serial++ % 4));
      const pages = shape.reduce((sum, [, length]) => sum + length, 0);
      const content = Uint8Array.from({ length: pages * 4096 }, (_none, index) => (index * 31 + (index >> 12) + seed) & 255);
      const source = new BufferPageSource("content", content);
      let va = 0x10000n;
      let position = 0n;
      const stored = shape.map(([gap, length]) => {
        va += BigInt(gap) * page;
        const run = { va, length: BigInt(length) * page, source, position };
        va += run.length;
        position += run.length;
        return run;
      });
      const fd = openSync(path, "w+");
      const end = writePageList(fd, 4n, stored);
      assert.equal(end, 4n + pageListBytes(pages));
      const bytes = new MemoryBytes(readFileSync(path), path);
      const list = readPageList({ bytes, offset: 4n, limit: bytes.size, format: "crtools", path: "pages" });
      assert.equal(list.count, pages);
      assert.equal(countPages(list.runs), pages);
      assert.equal(list.endOffset, end);
      const again = new InterleavedPages(new FilePageSource(path, fd), 4n);
      for (const run of list.runs) {
        const odd = run.length / 3n;
        const part = new Uint8Array(Number(run.length - odd));
        again.read(run.position + odd, part);
        assert.ok(Buffer.from(part).equals(content.subarray(Number(run.position + odd), Number(run.position + run.length))));
      }
      again.close();
    }),
    { numRuns: 25 },
  );
});

test("ranges are told apart from what was there, whatever their order", () => {
  const range = fc.record({ start: fc.integer({ min: 0, max: 60 }), length: fc.integer({ min: 1, max: 20 }) });
  fc.assert(
    fc.property(fc.array(range, { maxLength: 30 }), (ranges) => {
      const set = new RangeSet();
      const seen = new Set<number>();
      for (const { start, length } of ranges) {
        const found = set
          .add(BigInt(start), BigInt(length))
          .flatMap((gap) => Array.from({ length: Number(gap.length) }, (_none, index) => Number(gap.start) + index));
        const expected = Array.from({ length }, (_none, index) => start + index).filter((one) => !seen.has(one));
        assert.deepEqual(found, expected);
        for (const one of expected) seen.add(one);
      }
    }),
  );
});

test("personality goes through atoi() of hexadecimal text, and back", () => {
  assert.equal(encodePersonality(0x40000), 40000);
  assert.equal(decodePersonality(40000), 0x40000);
  assert.equal(encodePersonality(0x0040_0000), 400000);
  assert.equal(encodePersonality(0x000c_0000), 0, "atoi stops at the first letter");
  for (const value of [0, 0x0004_0000, 0x0002_0000, 0x0800_0000, 0x0120_0008])
    assert.equal(decodePersonality(encodePersonality(value)), value);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (stored) => {
      const personality = decodePersonality(stored);
      assert.ok(personality === 0 || encodePersonality(personality) === stored);
    }),
  );
});

test("an area becomes memory of its own where its file is not needed", () => {
  const area = (start: bigint, bits: number) =>
    vmaEntry({ start, end: start + 2n * page, prot: 1, flags: 2, status: bits | status.regular, fd: -1n });
  const entries = [
    area(0x10000n, status.file_private),
    area(0x20000n, status.file_private),
    area(0x30000n, status.file_shared),
    area(0x40000n, status.anon_private),
  ];
  const place = { source: "image", format: "crtools" };
  const all = entries.map(({ start }) => ({ va: start, length: 2n * page }));
  const kinds = (pages: typeof all, path: (start: bigint) => string | undefined) =>
    classifyAreas(entries, pages, ({ start }) => path(start), place).map(({ kind }) => kind);
  assert.deepEqual(
    kinds([], () => undefined),
    ["file_private", "file_private", "file_shared", "anon_private"],
    "nothing stored",
  );
  assert.deepEqual(
    kinds(all, () => undefined),
    ["anon_private", "anon_private", "anon_shared", "anon_private"],
    "all stored, no name",
  );
  assert.deepEqual(
    kinds(all, (start) => (start === 0x10000n ? "/a" : "/b (deleted)")),
    ["file_private", "anon_private", "anon_shared", "anon_private"],
  );
  assert.throws(() => kinds([{ va: 0x30000n, length: page }], () => "/a"), /all pages or none/);
});
