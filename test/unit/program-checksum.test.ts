// SPDX-License-Identifier: Apache-2.0
/** The checksum of restore programs: the native part and the script give the same. */
import assert from "node:assert/strict";
import test from "node:test";
import { sumInScript } from "../../src/lower/checksum.js";
import { addon } from "../../src/native/addon.js";

test("a program's checksum is the same by the addon and without", () => {
  const bytes = Uint8Array.from({ length: 4099 }, (_, index) => (index * 197 + (index >> 3)) & 255);
  for (const [from, to] of [
    [0, 0],
    [0, 4],
    [0, 4096],
    [1, 4098],
    [3, 4099],
    [5, 8],
  ]) {
    for (const before of [0, 1, 0xdeadbeef]) {
      const part = bytes.subarray(from, to);
      assert.equal(addon().programSum(part, before), sumInScript(part, before), `bytes ${from} to ${to} behind ${before}`);
    }
  }
  assert.notEqual(addon().programSum(bytes, 0), addon().programSum(bytes, 1));
});
