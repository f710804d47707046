// SPDX-License-Identifier: Apache-2.0
/** Messages: hostile ones are refused before they are decoded, differences are kept and put back. */
import assert from "node:assert/strict";
import test from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { CoreEntrySchema, X86FpRegsSchema } from "../../formats/criu/gen/core_pb.js";
import { FileEntrySchema } from "../../formats/criu/gen/files_pb.js";
import { MmEntrySchema, VmaEntrySchema } from "../../formats/criu/gen/memory_pb.js";
import { xstateFromWire, xstateToWire } from "../../formats/criu/map/map-xstate.js";
import { applyDelta, deltaOf } from "../../formats/criu/foreign/message-delta.js";
import { checkWire, maxValues } from "../../formats/criu/wire/wire-check.js";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

test("a nested length that leaves the message is located", () => {
  const core = toBinary(CoreEntrySchema, create(CoreEntrySchema, { mtype: 1, threadCore: { creds: { uid: 7, gid: 8 } } }));
  assert.equal(checkWire(CoreEntrySchema, core), undefined);
  // The length of creds, inside thread_core, one too large.
  const creds = core.indexOf(0x52);
  core[creds + 1] = (core[creds + 1] ?? 0) + 1;
  const fault = checkWire(CoreEntrySchema, core);
  assert.equal(fault?.path, "thread_core.creds");
  assert.equal(fault.offset, creds);
});

test("what an image never has is refused", () => {
  assert.match(checkWire(MmEntrySchema, bytes(0x0b))?.problem ?? "", /wire type 3/);
  assert.match(checkWire(MmEntrySchema, bytes(0x00, 0x00))?.problem ?? "", /field number 0/);
  assert.match(checkWire(MmEntrySchema, bytes(0x08))?.problem ?? "", /cut off/);
  assert.match(checkWire(MmEntrySchema, bytes(0x08, ...Array.from({ length: 11 }, () => 0x80)))?.problem ?? "", /too long/);
  assert.match(checkWire(VmaEntrySchema, bytes(0x99, 0x06, 1, 2, 3))?.problem ?? "", /cut off/);
});

test("a field of another wire type than described is refused", () => {
  assert.match(checkWire(CoreEntrySchema, bytes(0x10, 1))?.problem ?? "", /wire type 0 is not that of the field/);
  assert.equal(checkWire(CoreEntrySchema, bytes(0x10, 1))?.path, "thread_info");
});

test("two bytes for each of millions of objects are too many", () => {
  // vmas (field 14), empty, over and over.
  const many = new Uint8Array((maxValues + 2) * 2);
  for (let index = 0; index < many.length; index += 2) many[index] = 0x72;
  assert.match(checkWire(MmEntrySchema, many)?.problem ?? "", /more than/);
  // Packed integers count one by one.
  const packed = Buffer.concat([bytes(0x6a, 0x80, 0x89, 0x7a), new Uint8Array(2_000_000)]);
  assert.equal(checkWire(MmEntrySchema, packed), undefined);
});

test("arbitrary bytes never throw", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (message) => {
      const fault = checkWire(CoreEntrySchema, message);
      if (fault) assert.ok(fault.offset <= message.length);
      else fromBinary(CoreEntrySchema, message);
    }),
    { numRuns: 500 },
  );
});

const arbitraryFile = fc
  .record({
    type: fc.integer({ min: 0, max: 30 }),
    id: fc.nat(),
    flags: fc.option(fc.nat(), { nil: undefined }),
    pos: fc.option(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { nil: undefined }),
    name: fc.option(fc.uint8Array({ maxLength: 20 }), { nil: undefined }),
    buildId: fc.array(fc.nat(), { maxLength: 3 }),
    pid: fc.option(fc.nat(), { nil: undefined }),
  })
  .map(({ type, id, flags, pos, name, buildId, pid }) =>
    create(FileEntrySchema, { type, id, reg: { id, flags, pos, name, buildId, fown: pid === undefined ? undefined : { pid } } }),
  );

test("law: the rest put over the rebuilt message is the original", () => {
  fc.assert(
    fc.property(arbitraryFile, arbitraryFile, (original, rebuilt) => {
      const rest = deltaOf(FileEntrySchema, original, rebuilt);
      applyDelta(FileEntrySchema, rebuilt, rest.bytes, rest.absent);
      assert.deepEqual(toBinary(FileEntrySchema, rebuilt), toBinary(FileEntrySchema, original));
    }),
  );
});

test("nothing is kept of what is rebuilt alike, and unknown fields always are", () => {
  const entry = create(FileEntrySchema, { type: 1, id: 3, reg: { id: 3, flags: 2 } });
  assert.deepEqual(deltaOf(FileEntrySchema, entry, entry), { bytes: new Uint8Array(0), absent: [] });
  // Field 99 at the top, field 88 within reg.
  const unknown = fromBinary(FileEntrySchema, bytes(0x08, 1, 0x10, 3, 0x1a, 7, 0x08, 3, 0x10, 2, 0xc0, 0x05, 9, 0x98, 0x06, 1));
  const rest = deltaOf(FileEntrySchema, unknown, entry);
  const again = create(FileEntrySchema, { type: 1, id: 3, reg: { id: 3, flags: 2 } });
  applyDelta(FileEntrySchema, again, rest.bytes, rest.absent);
  assert.deepEqual(toBinary(FileEntrySchema, again), toBinary(FileEntrySchema, unknown));
});

test("law: an xstate area survives the way through fpregs and xsave", () => {
  const sizes = fc.constantFrom(576, 832, 1088, 1664, 2688, 2696);
  fc.assert(
    fc.property(sizes, fc.uint8Array({ minLength: 2696, maxLength: 2696 }), (size, content) => {
      const area = content.slice(0, size);
      const view = new DataView(area.buffer);
      // Reserved bytes of FXSAVE, the header and gaps between components have no field.
      area.fill(0, 416, 576);
      const bits =
        3n |
        (size >= 832 ? 4n : 0n) |
        (size >= 1088 ? 0x18n : 0n) |
        (size >= 1664 ? 0x60n : 0n) |
        (size >= 2688 ? 0x80n : 0n) |
        (size >= 2696 ? 0x200n : 0n);
      if (size > 832) area.fill(0, 832, Math.min(960, size));
      view.setBigUint64(464, bits, true);
      view.setBigUint64(512, bits, true);
      assert.deepEqual(xstateFromWire(xstateToWire(area)), area);
    }),
    { numRuns: 50 },
  );
});

test("a bare FXSAVE area, and none, become x87 and SSE state", () => {
  const fpregs = xstateToWire(new Uint8Array(512).fill(1, 0, 416));
  assert.equal(fpregs.cwd, 0x0101);
  assert.equal(fpregs.xsave?.xstateBv, 3n);
  assert.equal(xstateToWire(new Uint8Array(0)).xmmSpace.length, 64);
  assert.equal(xstateFromWire(create(X86FpRegsSchema, {})).length, 512);
});
