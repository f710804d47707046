// SPDX-License-Identifier: Apache-2.0
/** CRC-32C in its three forms (the instruction, the table, a batch on another thread), and what chunks are. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { crc32c } from "../../src/bytes/crc32c.js";
import { chunksOf, StoredChunks } from "../../src/model/stored-chunks.js";
import { addon } from "../../src/native/addon.js";
import { CallBatch } from "../../src/native/index.js";
import { extentRow } from "../../src/gen/tables.js";

test("known sums (RFC 3720, B.4)", () => {
  for (const crc of [crc32c, (bytes: Uint8Array) => addon().checksum(bytes)]) {
    assert.equal(crc(Buffer.from("123456789")), 0xe3069283);
    assert.equal(crc(new Uint8Array(32)), 0x8a9136aa);
    assert.equal(crc(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
    assert.equal(crc(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e);
    assert.equal(crc(new Uint8Array(0)), 0);
  }
});

test("all forms agree, whole and in parts", () => {
  const bytes = Uint8Array.from({ length: 80_000 }, (_, index) => (index * 2654435761) >>> 13);
  fc.assert(
    fc.property(fc.nat(7), fc.nat(79_990), fc.double({ min: 0, max: 1, noNaN: true }), (start, length, share) => {
      const part = bytes.subarray(start, Math.min(start + length, bytes.length));
      const cut = Math.floor(part.length * share);
      const whole = crc32c(part);
      assert.equal(addon().checksum(part), whole);
      assert.equal(addon().checksum(part.subarray(cut), addon().checksum(part.subarray(0, cut))), whole);
      assert.equal(crc32c(part.subarray(cut), crc32c(part.subarray(0, cut))), whole);
    }),
    { numRuns: 60 },
  );
});

test("a batch sums what its calls have read", async () => {
  const bytes = new Uint8Array(65536 + 4096).map((_, index) => index % 251);
  const [lengths, sums] = [Uint32Array.of(65536, 4096), new Uint32Array(2)];
  const batch = new CallBatch(1);
  batch.addChecksums(batch.address(bytes), 2, batch.address(lengths), batch.address(sums));
  await batch.run();
  assert.equal(batch.done, 1);
  assert.deepEqual([...sums], [crc32c(bytes.subarray(0, 65536)), crc32c(bytes.subarray(65536))]);
});

test("chunks cover an extent in whole pages, cut at multiples of 256 KiB", () => {
  const [pages, start] = [fc.integer({ min: 1, max: 100 }), fc.nat(100)];
  fc.assert(
    fc.property(fc.array(fc.tuple(start, pages, fc.boolean()), { maxLength: 12 }), (parts) => {
      let fileOffset = 0x5000n;
      const extents = parts.map(([first, count, isShort]) => {
        const extent = extentRow({ address: BigInt(first) << 12n, length: (BigInt(count) << 12n) - (isShort ? 5n : 0n), fileOffset });
        fileOffset += BigInt(count) << 12n;
        return extent;
      });
      const chunks = StoredChunks.of(extents);
      let next = 0x5000;
      for (let index = 0; index < chunks.count; index++) {
        assert.equal(chunks.offsets[index], next);
        next = chunks.endOf(index);
        assert.equal(chunks.firstBehind(next - 1), index);
      }
      assert.equal(BigInt(next), fileOffset);
      for (const extent of extents)
        for (const { address, length } of chunksOf(extent)) {
          assert.ok(length > 0 && length % 4096 === 0);
          assert.equal(address >> 18n, (address + BigInt(length) - 1n) >> 18n);
        }
    }),
  );
});
