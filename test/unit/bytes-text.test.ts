// SPDX-License-Identifier: Apache-2.0
/** Text of any bytes survives decoding and encoding. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { decodeText, encodeText } from "../../src/bytes/text.js";

test("bytes survive", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => assert.deepEqual([...encodeText(decodeText(bytes))], [...bytes])));
});

test("well-formed text survives", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => assert.equal(decodeText(encodeText(text)), text)));
});

test("what is not UTF-8 is escaped byte by byte", () => {
  assert.equal(decodeText(Uint8Array.of(0x61, 0xff, 0xc3, 0xa9, 0xc3)), "a\udcffé\udcc3");
  // A surrogate in UTF-8, an overlong form, and a code point that is too large are not UTF-8.
  assert.equal(decodeText(Uint8Array.of(0xed, 0xb2, 0x80)), "\udced\udcb2\udc80");
  assert.equal(decodeText(Uint8Array.of(0xc0, 0x80)), "\udcc0\udc80");
  assert.equal(decodeText(Uint8Array.of(0xf4, 0x90, 0x80, 0x80)), "\udcf4\udc90\udc80\udc80");
});

test("a byte order mark is text", () => {
  assert.equal(decodeText(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)), "\ufeffa");
});

test("JSON carries it", () => {
  const text = decodeText(Uint8Array.of(0x2f, 0x80, 0xfe));
  assert.equal(JSON.parse(JSON.stringify(text)), text);
});

test("a lone surrogate that stands for no byte is refused", () => {
  assert.throws(() => encodeText("a\ud800"), { code: "text.surrogate", message: "expected text, found the lone surrogate U+D800" });
});
