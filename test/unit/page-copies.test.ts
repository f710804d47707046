// SPDX-License-Identifier: Apache-2.0
/** Pages copied on other threads arrive whole, in any arrangement, and what goes wrong is said. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { ByteRange } from "../../src/model/page-source.js";
import { storeBufferLength as pieceLength } from "../../src/native/index.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { PageCopies } from "../../src/pages/page-copies.js";
import { ProcessPageSource } from "../../src/pages/process-source.js";
import { addressOf } from "../../src/native/index.js";
import { temporaryDirectory } from "../support/processes.js";

const page = 4096;
const bytes = Buffer.alloc(5 * pieceLength + 3 * page);
for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at);

async function copied(
  path: string,
  source: FilePageSource | ProcessPageSource,
  ranges: readonly ByteRange[],
  watch: { onProgress?: (done: bigint) => void; signal?: AbortSignal } = {},
): Promise<Buffer> {
  const fd = openSync(path, "w+");
  try {
    let target = 0n;
    const placed = ranges.map((range) => ({ ...range, source, target: (target += range.length) - range.length }));
    await new PageCopies(watch.onProgress, watch.signal).copy(fd, placed);
    return readFileSync(path);
  } finally {
    closeSync(fd);
  }
}

const rangesArbitrary = fc.array(fc.tuple(fc.nat(bytes.length / page - 1), fc.integer({ min: 1, max: 100 })), { maxLength: 200 });

test("what is copied is what is there, from a file and from a process", async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "pages");
  writeFileSync(path, bytes);
  const file = FilePageSource.open(path);
  t.after(() => file.close());
  const base = addressOf(bytes);
  const self = new ProcessPageSource(process.pid);
  await fc.assert(
    fc.asyncProperty(rangesArbitrary, async (picks) => {
      const ranges = picks.map(([first, count]) => ({
        position: BigInt(first * page),
        length: BigInt(Math.min(count * page, bytes.length - first * page)),
      }));
      const wanted = Buffer.concat(ranges.map(({ position, length }) => bytes.subarray(Number(position), Number(position + length))));
      assert.ok((await copied(join(directory, "out"), file, ranges)).equals(wanted));
      const inMemory = ranges.map(({ position, length }) => ({ position: base + position, length }));
      assert.ok((await copied(join(directory, "out"), self, inMemory)).equals(wanted));
    }),
    { numRuns: 30 },
  );
});

test("bytes that calls have borrowed are put over those in memory", async (t) => {
  const base = addressOf(bytes);
  const overlay = { start: base + 100_000n, end: base + 100_008n, bytes: Buffer.from("borrowed") };
  const source = new ProcessPageSource(process.pid, () => overlay);
  const result = await copied(join(temporaryDirectory(t), "out"), source, [{ position: base, length: BigInt(bytes.length) }]);
  const wanted = Buffer.from(bytes);
  overlay.bytes.copy(wanted, 100_000);
  assert.ok(result.equals(wanted));
});

test("a file that is cut off is named, and memory that is not there", async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "pages");
  writeFileSync(path, bytes);
  const file = FilePageSource.open(path);
  t.after(() => file.close());
  truncateSync(path, pieceLength + page);
  const whole = [{ position: 0n, length: BigInt(bytes.length) }];
  await assert.rejects(
    copied(join(directory, "out"), file, whole),
    (error) => error instanceof CrimgError && error.code === "pages.short" && error.message.includes("missing"),
  );
  const nowhere = new ProcessPageSource(process.pid);
  await assert.rejects(copied(join(directory, "out"), nowhere, [{ position: 0n, length: 4096n }]), CrimgError);
  nowhere.close();
});

test("whoever watches ends the copy with an error of his own, or without one", async (t) => {
  const directory = temporaryDirectory(t);
  const self = new ProcessPageSource(process.pid);
  const whole = [{ position: addressOf(bytes), length: BigInt(bytes.length) }];
  const onProgress = (): void => {
    throw new CrimgError("interrupted", "enough");
  };
  await assert.rejects(copied(join(directory, "out"), self, whole, { onProgress }), /enough/);
  const left = await copied(join(directory, "out"), self, whole, { signal: AbortSignal.abort() });
  assert.equal(left.length, 0);
  let last = 0n;
  await copied(join(directory, "out"), self, whole, { onProgress: (done) => (last = done) });
  assert.equal(last, BigInt(bytes.length));
});
