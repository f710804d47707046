// SPDX-License-Identifier: Apache-2.0
/** ByteWriter: values that do not fit are errors, never cut. */
import assert from "node:assert/strict";
import test from "node:test";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { encodeText } from "../../src/bytes/text.js";

test("growth keeps what was written, whatever the first capacity", () => {
  for (const capacity of [0, 1, 3, 16]) {
    const writer = new ByteWriter(capacity);
    writer.u1(1);
    writer.u8(0x0102030405060708n);
    writer.bytes(Uint8Array.of(9, 9));
    writer.align(8);
    assert.deepEqual([...writer.finish()], [1, 8, 7, 6, 5, 4, 3, 2, 1, 9, 9, 0, 0, 0, 0, 0]);
  }
});

test("values out of range name field and bounds", () => {
  const writer = new ByteWriter();
  writer.enter("tasks", 3);
  const cases: readonly (readonly [() => void, string])[] = [
    [() => writer.u1(256, "x"), "x must be 0 to 255, found 256"],
    [() => writer.u2(-1, "x"), "x must be 0 to 65535, found -1"],
    [() => writer.u4(2 ** 32, "x"), "x must be 0 to 4294967295, found 4294967296"],
    [() => writer.u4(1.5, "x"), "x must be 0 to 4294967295, found 1.5"],
    [() => writer.s1(128, "x"), "x must be -128 to 127, found 128"],
    [() => writer.s2(-0x8001, "x"), "x must be -32768 to 32767, found -32769"],
    [() => writer.s4(2 ** 31, "x"), "x must be -2147483648 to 2147483647, found 2147483648"],
    [() => writer.u8(1n << 64n, "x"), "x must be 0 to 2^64 - 1, found 18446744073709551616"],
    [() => writer.u8(-1n, "x"), "x must be 0 to 2^64 - 1, found -1"],
    [() => writer.s8(1n << 63n, "x"), "x must be -2^63 to 2^63 - 1, found 9223372036854775808"],
    [() => writer.row(0xffff_ffff, "x"), "x must be 0 to 4294967294, found 4294967295"],
  ];
  for (const [write, message] of cases) {
    assert.throws(write, { name: "CrimgError", code: "bytes.range", path: "tasks[3].x", message });
  }
  assert.equal(writer.length, 0, "a refused value leaves nothing behind");
});

test("lengths of fixed fields are held", () => {
  const writer = new ByteWriter();
  assert.throws(() => writer.fixed(new Uint8Array(3), 4, "build_id"), { code: "bytes.length" });
  assert.throws(() => writer.text("äää", 5, "comm"), { code: "bytes.length", message: "comm must have at most 5 bytes, found 6" });
  assert.throws(() => writer.elements([1, 2], 3, "tls"), { code: "bytes.length" });
  writer.text("ab", 4, "comm");
  assert.deepEqual([...writer.finish()], [0x61, 0x62, 0, 0]);
});

test("names that an enum does not have are refused, also those of Object.prototype", () => {
  const writer = new ByteWriter();
  for (const name of ["three", "toString", "__proto__", ""]) {
    assert.throws(() => writer.number(name, { one: 1, two: 2 }, "kind"), { code: "bytes.enum" });
  }
  assert.equal(writer.number("two", { one: 1, two: 2 }, "kind"), 2);
});

test("texts with a NUL, and bytes once more, are what they are elsewhere", () => {
  for (const text of ["", "plain", "grün 🐚", "a\udc80b", "x".repeat(500)]) {
    const writer = new ByteWriter(3);
    writer.u1(7);
    const at = writer.terminated(text);
    const bytes = [...encodeText(text), 0];
    writer.u1(8);
    writer.again(bytes.length + 1);
    assert.equal(at, 1);
    assert.deepEqual([...writer.finish()], [7, ...bytes, 8, ...bytes, 8]);
  }
});
