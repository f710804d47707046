// SPDX-License-Identifier: Apache-2.0
/** Stored pages: nothing that is not zero is lost, nothing that is zero is stored, and each chunk has its checksum. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sumInFile } from "../../src/pages/checksum.js";
import test from "node:test";
import fc from "fast-check";
import { storedSum } from "../../src/bytes/crc32c.js";
import { crc32c } from "../../src/bytes/crc32c.js";
import { extentRow } from "../../src/gen/tables.js";
import type { PageSource } from "../../src/model/page-source.js";
import { StoredChunks } from "../../src/model/stored-chunks.js";
import { addressOf } from "../../src/native/index.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { CheckedPageSource } from "../../src/pages/checked-source.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { ProcessPageSource } from "../../src/pages/process-source.js";
import { lookAndSum, StoredRuns, type StoreRange, storePages } from "../../src/pages/store-pages.js";
import { streamPages } from "../../src/pages/stream-pages.js";
import { temporaryDirectory } from "../support/processes.js";

/** The checksums of chunks as a file has them. */
const sumsIn =
  (fd: number, chunks: StoredChunks) =>
  (index: number): number =>
    sumInFile(fd, chunks, index);

const page = 4096;
const pages = 300;
/** Where the first stored page goes. */
const start = 3 * page;
const bytes = Buffer.alloc(pages * page);
// A third is zero; of the others many differ from zero in their last byte only.
for (let index = 0; index < pages; index++) {
  const kind = (index * 2654435761) % 9;
  if (kind < 3) continue;
  bytes[index * page + page - 1] = kind;
  if (kind > 5) bytes.fill(index % 251 || 1, index * page, index * page + page);
}
/** As `bytes`, but every seventh page. */
const base = Buffer.from(bytes);
for (let index = 0; index < pages; index += 7) base.fill(0xee, index * page, (index + 1) * page);

const rangesArbitrary = fc.array(
  fc.record({
    first: fc.nat(pages - 1),
    count: fc.integer({ min: 1, max: 150 }),
    phase: fc.nat(70),
    cut: fc.nat(page - 1),
    keep: fc.constantFrom(0, 0, 1, 2 ** 32 - 1),
    hasBase: fc.boolean(),
  }),
  { maxLength: 12 },
);

function* pagesOf(range: Buffer): Generator<Buffer> {
  for (let at = 0; at < range.length; at += page) yield range.subarray(at, at + page);
}

for (const kind of ["file", "process", "buffer", "checked"] as const) {
  test(`pages of a ${kind} are stored once, without zeros and what the base has, with checksums`, async (t) => {
    const directory = temporaryDirectory(t);
    const [path, basePath, out] = ["pages", "base", "out"].map((name) => join(directory, name)) as [string, string, string];
    writeFileSync(path, bytes);
    writeFileSync(basePath, base);
    const baseFd = openSync(basePath, "r");
    t.after(() => closeSync(baseFd));
    const file = FilePageSource.open(path);
    t.after(() => file.close());
    const sums = StoredChunks.of([extentRow({ length: BigInt(bytes.length) })]);
    for (let index = 0; index < sums.count; index++) {
      const at = sums.offsets[index] ?? 0;
      sums.sums[index] = storedSum(crc32c(bytes.subarray(at, sums.endOf(index))));
    }
    const sources: Readonly<Record<typeof kind, () => PageSource>> = {
      file: () => file,
      process: () => new ProcessPageSource(process.pid),
      buffer: () => new BufferPageSource("bytes", bytes),
      checked: () => new CheckedPageSource(file, sumsIn(openSync(path, "r"), sums), sums),
    };
    const source = sources[kind]();
    const origin = kind === "process" ? addressOf(bytes) : 0n;
    await fc.assert(
      fc.asyncProperty(rangesArbitrary, async (picks) => {
        const ranges = picks.map(({ first, count, phase, cut, keep, hasBase }): StoreRange => {
          const length = Math.min(count * page, bytes.length - first * page) - cut;
          return {
            source,
            position: origin + BigInt(first * page),
            length: BigInt(length),
            address: BigInt((kind === "checked" ? first : phase) * page),
            keep,
            base: hasBase && cut === 0 ? { fd: baseFd, offset: BigInt(first * page), source: 1 } : undefined,
          };
        });
        const fd = openSync(out, "w+");
        try {
          const runs = await storePages(fd, start, ranges, {});
          const stored = readFileSync(out);
          const extents = [];
          let run = 0;
          for (const [index, range] of ranges.entries()) {
            const at = Number(range.position - origin);
            const wanted = Buffer.alloc(Math.ceil(Number(range.length) / page) * page);
            bytes.copy(wanted, 0, at, at + Number(range.length));
            const got = Buffer.alloc(wanted.length);
            let before = 0;
            for (; runs.range[run] === index; run++) {
              const [skip = 0, length = 0, offset = 0] = [runs.skip[run], runs.length[run], runs.offset[run]];
              assert.ok(skip >= before, "runs ascend");
              before = skip + length;
              if (offset < 0) {
                assert.ok(range.base !== undefined);
                base.copy(got, skip, at + skip, at + skip + length);
                continue;
              }
              stored.copy(got, skip, offset, offset + length);
              extents.push(extentRow({ address: range.address + BigInt(skip), length: BigInt(length), fileOffset: BigInt(offset) }));
              let number = skip / page;
              for (const one of pagesOf(stored.subarray(offset, offset + length))) {
                assert.ok(one.some((byte) => byte !== 0) || number < range.keep, "no page of zeros is stored");
                number++;
              }
            }
            assert.ok(got.equals(wanted), `range ${index}`);
          }
          assert.equal(run, runs.count);
          const chunks = StoredChunks.of(extents);
          const found = [...chunks.offsets].map((offset, index) => storedSum(crc32c(stored.subarray(offset, chunks.endOf(index)))));
          assert.deepEqual(runs.sums, found);
          assert.equal(runs.baseSums.length === 0, !runs.offset.some((offset) => offset < 0));
          assert.equal(runs.end, start + extents.reduce((sum, { length }) => sum + Number(length), 0));
        } finally {
          closeSync(fd);
        }
      }),
      { numRuns: 40 },
    );
  });
}

test("whole chunks of much memory begin at multiples of their length, with zeros before them that have a checksum", async (t) => {
  const chunk = 64 * page;
  const much = Buffer.alloc(100 * chunk, 7);
  // Left out, so that what follows is out of step: soon after the beginning, and far behind it.
  for (const zero of [3, 70 * 64 + 5]) much.fill(0, zero * page, (zero + 1) * page);
  const fd = openSync(join(temporaryDirectory(t), "out"), "w+");
  t.after(() => closeSync(fd));
  const source = new ProcessPageSource(process.pid);
  const origin = addressOf(much);
  const length = BigInt(much.length);
  const range = { source, position: origin, length, address: 5n * BigInt(page), keep: 0 };
  const little = { source, position: origin, length: BigInt(page), address: 0n, keep: 0 };
  const runs = await storePages(fd, start, [little, range], { mayMove: true });
  const stored = Buffer.alloc(runs.end);
  readSync(fd, stored, 0, runs.end, 0);
  const extents = [];
  for (let run = 0; run < runs.count; run++) {
    const [skip = 0, bytesOfRun = 0, offset = 0] = [runs.skip[run], runs.length[run], runs.offset[run]];
    assert.ok(stored.subarray(offset, offset + bytesOfRun).equals(much.subarray(skip, skip + bytesOfRun)), `run ${run}`);
    const address = run === 0 ? little.address : range.address;
    extents.push(extentRow({ address: address + BigInt(skip), length: BigInt(bytesOfRun), fileOffset: BigInt(offset) }));
  }
  assert.equal(
    extents.reduce((sum, { length: bytesOfRun }) => sum + Number(bytesOfRun), 0),
    much.length - page,
  );
  // Moved thrice: at the beginning, 8 MiB behind it, and behind the second page of zeros.
  assert.equal(runs.offset[1], 5 * page);
  assert.equal(runs.offset.filter((offset) => offset % chunk === 0).length, 2);
  const chunks = StoredChunks.of(extents);
  assert.deepEqual(
    runs.sums,
    [...chunks.offsets].map((offset, index) => storedSum(crc32c(stored.subarray(offset, chunks.endOf(index))))),
  );
  chunks.offsets.forEach((offset, index) => assert.equal(offset, index === 0 ? start : chunks.endOf(index - 1)));
  const [starts, lengths, offsets] = [
    runs.skip.map((skip, run) => (run === 0 ? 0 : Number(range.address)) + skip),
    runs.length,
    runs.offset,
  ].map((all) => Float64Array.from(all)) as [Float64Array, Float64Array, Float64Array];
  assert.deepEqual(StoredChunks.ofColumns({ mm: 0, source: 0, starts, lengths, offsets }), StoredChunks.of(extents));
  // As it is foreseen where no page is zero.
  for (const zero of [3, 70 * 64 + 5]) much.fill(7, zero * page, (zero + 1) * page);
  for (const first of [0, 1, 63]) {
    const whole = { ...range, address: BigInt(first * page), length: length - BigInt(page) };
    const guessed = new StoredRuns();
    guessed.end = guessed.aligned = start;
    guessed.addWhole(0, page, 0);
    guessed.addWhole(1, Number(whole.length), first * page);
    assert.ok((await storePages(fd, start, [little, whole], { mayMove: true })).isLike(guessed), `from page ${first} of a chunk on`);
  }
});

test("what differs from its checksum is not stored", async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "pages");
  writeFileSync(path, bytes);
  const fd = openSync(path, "r+");
  const chunks = StoredChunks.of([extentRow({ length: BigInt(bytes.length) })]);
  chunks.sums.fill(1);
  const source = new CheckedPageSource(FilePageSource.open(path), sumsIn(fd, chunks), chunks);
  const range = { source, position: 0n, length: BigInt(bytes.length), address: 0n, keep: 0 };
  await assert.rejects(storePages(openSync(join(directory, "out"), "w+"), 0, [range], {}), /damaged/);
});

/** More pieces than the threads have room for, in ranges that end in the middle of one. */
const manyRanges = (source: PageSource, origin: bigint): StoreRange[] =>
  Array.from({ length: 400 }, (_, index) => ({
    source,
    position: origin + BigInt(((index * 37) % (pages - 70)) * page),
    length: BigInt((1 + (index % 70)) * page),
    address: BigInt(index * 64 * page),
    keep: index % 3,
  }));

test("pages that are written in their order are those of a file", async (t) => {
  const directory = temporaryDirectory(t);
  const ranges = manyRanges(new ProcessPageSource(process.pid), addressOf(bytes));
  const fd = openSync(join(directory, "out"), "w+");
  t.after(() => closeSync(fd));
  const stored = await storePages(fd, start, ranges, {});
  const looked = await storePages(lookAndSum, start, ranges, {});
  assert.deepEqual({ ...looked }, { ...stored });
  const parts: Uint8Array[] = [];
  const sums = streamPages(
    (part) => parts.push(Buffer.from(part)),
    ranges,
    looked,
    () => undefined,
  );
  assert.deepEqual(sums, stored.sums);
  assert.ok(Buffer.concat(parts).equals(readFileSync(join(directory, "out")).subarray(start)));
});

test("who waits for a piece that cannot be read does not wait for ever", { timeout: 20_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  for (const at of [0, 1, 199, 399]) {
    const ranges = manyRanges(new ProcessPageSource(process.pid), addressOf(bytes));
    // Nothing is mapped there.
    ranges[at] = { ...(ranges[at] as StoreRange), position: 4096n };
    await assert.rejects(storePages(openSync(join(directory, "out"), "w+"), 0, ranges, {}), /Input\/output|I\/O error|0x1000/);
  }
});
