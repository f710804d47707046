// SPDX-License-Identifier: Apache-2.0
/** ByteReader on hostile input: exact errors, no reads past the end, no allocation before a check. */
import assert from "node:assert/strict";
import test from "node:test";
import { ByteReader } from "../../src/bytes/byte-reader.js";

function readerOf(bytes: readonly number[]): ByteReader {
  const reader = new ByteReader(Uint8Array.from(bytes), { source: "core-1.img", base: 100n, format: "crtools" });
  reader.enter("entries", 3);
  return reader;
}

test("64-bit values are exact", () => {
  const reader = readerOf([1, 0, 0, 0, 0, 0, 0x20, 0, ...Array<number>(8).fill(0xff), ...Array<number>(8).fill(0xff)]);
  assert.equal(reader.u8(), 0x20_0000_0000_0001n);
  assert.equal(reader.u8(), 0xffff_ffff_ffff_ffffn);
  assert.equal(reader.s8(), -1n);
  assert.equal(reader.remaining, 0);
});

test("a read past the end says where and in what", () => {
  const reader = readerOf([1, 2, 3]);
  reader.u1();
  for (const read of [() => reader.u4(), () => reader.u8(), () => reader.s8(), () => reader.bytes(3), () => reader.skip(3)]) {
    assert.throws(read, {
      name: "CrimgError",
      code: "bytes.short",
      source: "core-1.img",
      format: "crtools",
      offset: 101n,
      path: "entries[3]",
      actual: "2",
    });
  }
  assert.equal(reader.pos, 1, "a failed read does not move");
});

test("Kaitai's own reads fail with a place too", () => {
  assert.throws(() => readerOf([1]).readU4be(), { code: "bytes.short", offset: 100n });
});

test("negative, fractional and absurd lengths are refused", () => {
  for (const length of [-1, Number.NaN, 2 ** 40, Number.POSITIVE_INFINITY]) {
    assert.throws(() => readerOf([1, 2]).bytes(length), { code: "bytes.short" });
  }
});

test("a count that the rest cannot hold is refused before anything is made", () => {
  const reader = readerOf([0, 0, 0, 0]);
  assert.equal(reader.count(2, 2, "num"), 2);
  for (const [count, least] of [
    [3, 2],
    [0xffff_ffff, 1],
    [0xffff_ffff_ffff_ffffn, 1],
    [-1, 1],
    [-1n, 8],
  ] as const) {
    assert.throws(() => reader.count(count, least, "num"), { code: "bytes.count", path: "entries[3].num" });
  }
});

test("contents and enums name what was expected and found", () => {
  assert.throws(() => readerOf([1, 2]).contents([1, 3], "magic"), {
    code: "bytes.contents",
    message: "magic must be 01 03, found 01 02",
    path: "entries[3].magic",
    offset: 100n,
  });
  const reader = readerOf([9]);
  assert.throws(
    () =>
      reader.name(
        reader.u1(),
        1,
        new Map([
          [1, "one"],
          [2, "two"],
        ]),
        "kind",
      ),
    {
      code: "bytes.enum",
      message: "kind must be one of 1, 2, found 9",
      offset: 100n,
    },
  );
});

test("views do not reach outside a part of a buffer", () => {
  const whole = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const reader = new ByteReader(whole.subarray(2, 6));
  assert.deepEqual([...reader.bytes(4)], [3, 4, 5, 6]);
  assert.throws(() => reader.u1(), { code: "bytes.short" });
});

test("bytes in shared memory are copied", () => {
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  const reader = new ByteReader(shared);
  shared[0] = 7;
  assert.equal(reader.u4(), 0);
});

test("text ends at NUL where it is terminated", () => {
  const bytes = [0x61, 0x62, 0, 0x63];
  assert.equal(readerOf(bytes).text(4, true), "ab");
  assert.equal(readerOf(bytes).text(4, false), "ab\0c");
  assert.equal(readerOf([0x61, 0x62]).text(2, true), "ab");
});
