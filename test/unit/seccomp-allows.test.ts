// SPDX-License-Identifier: Apache-2.0
/** What is said of a seccomp filter without running it. */
import assert from "node:assert/strict";
import test from "node:test";
import { allowsCall } from "../../src/lower/seccomp-allows.js";

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

function filter(...instructions: Instruction[]): Uint8Array {
  const bytes = Buffer.alloc(instructions.length * 8);
  instructions.forEach(([code, ifTrue, ifFalse, k], index) => {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(ifTrue, index * 8 + 2);
    bytes.writeUInt8(ifFalse, index * 8 + 3);
    bytes.writeUInt32LE(k, index * 8 + 4);
  });
  return bytes;
}

const [load, equals, atLeast, jump, returns] = [0x20, 0x15, 0x35, 0x05, 0x06];
const [allow, errno] = [0x7fff0000, 0x00050001];

test("a filter by numbers of calls", () => {
  const numbers = filter(
    [load, 0, 0, 4],
    [equals, 1, 0, 0xc000003e],
    [returns, 0, 0, 0],
    [load, 0, 0, 0],
    [atLeast, 2, 0, 200],
    [equals, 1, 0, 62],
    [returns, 0, 0, allow],
    [returns, 0, 0, errno],
  );
  assert.equal(allowsCall(numbers, 11), true);
  assert.equal(allowsCall(numbers, 62), false);
  assert.equal(allowsCall(numbers, 202), false);
});

test("where arguments decide, every way counts", () => {
  const first = filter([load, 0, 0, 16], [equals, 1, 0, 5], [returns, 0, 0, allow], [returns, 0, 0, errno]);
  assert.equal(allowsCall(first, 157), false);
  const both = filter([load, 0, 0, 16], [equals, 1, 0, 5], [returns, 0, 0, allow], [returns, 0, 0, 0x7ffc0000]);
  assert.equal(allowsCall(both, 157), true);
});

test("what does not end, or computes its answer, allows nothing", () => {
  assert.equal(allowsCall(filter([load, 0, 0, 0]), 1), false);
  assert.equal(allowsCall(filter([0x16, 0, 0, 0]), 1), false);
  assert.equal(allowsCall(filter([jump, 0, 0, 0xffffffff]), 1), false);
  assert.equal(allowsCall(new Uint8Array(0), 1), false);
});
