// SPDX-License-Identifier: Apache-2.0
/** A blob that the dumper shortened by its zero tail loses nothing on the way through a CRIU image. */
import assert from "node:assert/strict";
import test from "node:test";
import { xstateFromWire, xstateToWire } from "../../formats/criu/map/map-xstate.js";

test("components cut within are whole again in a CRIU image", () => {
  const full = Buffer.alloc(2696);
  full.writeUInt32LE(0x1f80, 24);
  full.writeBigUInt64LE(0x2e7n, 464);
  full.writeBigUInt64LE(0xa2n, 512);
  full.fill(0x5a, 1664, 1700); // zmm16 and a part of zmm17
  for (const length of [2696, 1728, 1700]) {
    const wire = xstateToWire(full.subarray(0, length));
    assert.equal(wire.xsave?.hi16Zmm.length, 128);
    assert.equal(wire.xsave?.hi16Zmm[0], 0x5a5a5a5a5a5a5a5an);
    const back = Buffer.from(xstateFromWire(wire));
    assert.equal(back.readBigUInt64LE(512), 0xa2n);
    assert.equal(back.readBigUInt64LE(464) & 0xe7n, 0xe7n);
    assert.ok(back.subarray(576, 2696).equals(full.subarray(576, 2696)), String(length));
  }
});

test("the legacy area alone has no extended arrays", () => {
  const wire = xstateToWire(new Uint8Array(512));
  assert.equal(wire.xsave?.hi16Zmm.length ?? 0, 0);
});
