// SPDX-License-Identifier: Apache-2.0
/** XSAVE areas of other makers: the same components, elsewhere. */
import assert from "node:assert/strict";
import test from "node:test";
import { xstateForDebuggers } from "../../formats/core/xstate.js";
import { xstateFromWire, xstateToWire } from "../../formats/criu/map/map-xstate.js";
import { amdAvxLayout, amdLayout, intelLayout, xstateLayout, type XstateLayout } from "../../src/model/xstate-layout.js";

const avx512 = 0x2e7n;

/** An area in which each component in use is filled with its number. */
function area(layout: XstateLayout, xcr0: bigint, inUse: bigint, length: number): Uint8Array {
  const bytes = Buffer.alloc(length);
  bytes.writeUInt32LE(0x1f80, 24);
  bytes.writeBigUInt64LE(xcr0, 464);
  bytes.writeBigUInt64LE(inUse, 512);
  for (const [number, { offset, size }] of layout)
    if (((inUse >> BigInt(number)) & 1n) !== 0n) bytes.fill(0x10 + number, offset, offset + size);
  return bytes;
}

test("an area tells its layout", () => {
  assert.equal(xstateLayout(area(intelLayout, avx512, avx512, 2696)), intelLayout);
  assert.equal(xstateLayout(area(intelLayout, 0x2ffn, 0x2ffn, 2696)), intelLayout);
  assert.equal(xstateLayout(area(intelLayout, 0x602ffn, 0x2e7n, 11008)), intelLayout);
  assert.equal(xstateLayout(area(intelLayout, avx512, 0x27n, 1152)), intelLayout);
  assert.equal(xstateLayout(area(amdLayout, avx512, avx512, 2440)), amdLayout);
  assert.equal(xstateLayout(area(amdLayout, avx512, 0x67n, 1408)), amdLayout);
  assert.equal(xstateLayout(area(amdLayout, avx512, 0x207n, 2440)), amdLayout);
  assert.equal(xstateLayout(area(amdAvxLayout, 0x207n, 0x207n, 840)), amdAvxLayout);
  assert.equal(xstateLayout(area(intelLayout, avx512, 7n, 832)), intelLayout);
});

test("the components of either layout are the same in a CRIU image", () => {
  const intel = xstateToWire(area(intelLayout, avx512, avx512, 2696)).xsave;
  const amd = xstateToWire(area(amdLayout, avx512, avx512, 2440)).xsave;
  assert.deepEqual(amd, intel);
  assert.equal(amd?.hi16Zmm[0], 0x1717171717171717n);
  assert.deepEqual(amd?.pkru, [0x19191919, 0x19191919]);
  // Read again, they are where Intel has them.
  const back = xstateFromWire(xstateToWire(area(amdLayout, avx512, avx512, 2440)));
  assert.equal(xstateLayout(back), intelLayout);
  assert.deepEqual(Buffer.from(back.subarray(576)), Buffer.from(area(intelLayout, avx512, avx512, 2696).subarray(576)));
});

test("the area in a core has the length that tells a debugger its layout", () => {
  const amd = area(amdLayout, avx512, avx512, 2440);
  assert.deepEqual(Buffer.from(xstateForDebuggers(amd, 0n) ?? []), Buffer.from(amd));
  // Shortened by the dumper: the length comes back.
  assert.equal(xstateForDebuggers(amd.subarray(0, 1408), 0n)?.length, 2440);
  assert.equal(xstateForDebuggers(area(intelLayout, avx512, avx512, 2696), 0n)?.length, 2696);
  assert.equal(xstateForDebuggers(area(amdAvxLayout, 0x207n, 0x207n, 840), 0n)?.length, 840);
});
