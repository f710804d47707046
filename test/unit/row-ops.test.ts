// SPDX-License-Identifier: Apache-2.0
/** Ops for many: those of one shape are in the program once, and unrolled they are what they would have been. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { type Op, opKindNames, readOp } from "../../src/gen/restore-program.js";
import { firstLocalSlot, rowId } from "../../src/lower/operands.js";
import { ProgramBuilder } from "../../src/lower/program-builder.js";
import { type Step, unrolled, wrongRows } from "../../src/lower/unroll.js";

/** Where a linked program would have its parts. */
const layout = { zeroedOffset: 0x1000, numCounters: 3, numLastingPids: 9, holeSize: 0x10000 };

function finished(b: ProgramBuilder): { readonly ops: readonly Op[]; readonly data: Uint8Array } {
  const data = b.data.finish();
  const bytes = Buffer.concat(b.ops.finish(layout, new DataView(data.buffer, data.byteOffset, data.byteLength)));
  const reader = new ByteReader(bytes, { source: "test", path: "ops" });
  return { ops: Array.from({ length: b.ops.length }, () => readOp(reader)), data };
}

function textOf(data: Uint8Array, offset: number, id: number | undefined): string {
  const text = Buffer.from(data.subarray(offset, data.indexOf(0, offset))).toString("utf8");
  return id === undefined ? text : text.replaceAll(rowId, String(id));
}

interface Item {
  readonly id: number;
  readonly value: bigint;
  readonly text: string;
  readonly isLong: boolean;
}
const itemArbitrary = fc.record({
  id: fc.integer({ min: 1, max: 0xffff_ffff }),
  value: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  text: fc.constantFrom("same", "same", "other"),
  isLong: fc.boolean(),
});

test("each item has its ops with its values, whatever its neighbours have", () => {
  fc.assert(
    fc.property(fc.array(itemArbitrary, { minLength: 1, maxLength: 20 }), fc.nat({ max: 8200 }), (items, before) => {
      const b = new ProgramBuilder();
      // Where the ops lie in the parts of the store makes no difference.
      for (let index = 0; index < before; index++) b.print("before");
      const outside = b.label("behind all of them");
      const rooms = items.map(() => b.buffer(16));
      b.forEach(
        [...items.keys()],
        (index) => items[index]?.id ?? 0,
        (index) => {
          const { value, text, isLong } = items[index] as Item;
          const [own, done] = [b.slot("own"), b.label("done")];
          b.syscall("read", [value, rooms[index] ?? 0, 7, own.plus(-1)], { store: own, message: `${text} ${rowId}`, orElse: outside });
          b.jumpIf(own, "eq", value, done);
          if (isLong) b.store8(rooms[index] ?? 0, b.bytes(new Uint8Array(8)));
          b.place(done);
        },
      );
      b.place(outside);
      b.print("behind");
      const { ops, data } = finished(b);
      assert.equal(wrongRows(ops, data), undefined);
      const steps = [...unrolled(ops, data)];
      const kinds = (wanted: string): Step[] => steps.filter(({ op }) => opKindNames.get(op.kind) === wanted);
      const calls = kinds("syscall");
      assert.deepEqual(
        calls.map(({ op, id }) => [id, op.args[0], op.args[1], op.args[2], op.args[3], op.store, textOf(data, op.message, id)]),
        items.map(({ id, value, text }, index) => {
          const room = BigInt((rooms[index]?.offset ?? 0) + layout.zeroedOffset);
          const own = BigInt(firstLocalSlot) | (0xffff_ffffn << 32n);
          return [id, value, room, 7n, own, firstLocalSlot, `${text} ${id}`];
        }),
      );
      for (const { op } of calls) assert.equal(op.target, ops.length - 1);
      // A jump over what only some have.
      for (const { index, op } of kinds("jump"))
        assert.equal(op.target - index, opKindNames.get(ops[index + 1]?.kind ?? 0) === "store8" ? 2 : 1);
      const changes = items.filter(({ isLong }, index) => index === 0 || isLong !== items[index - 1]?.isLong).length;
      assert.equal(kinds("each").length, changes);
      assert.equal(kinds("next").length, changes);
      assert.equal(kinds("store8").length, items.filter(({ isLong }) => isLong).length);
    }),
    { numRuns: 60 },
  );
});

test("threads that are alike take a row each, and no op", () => {
  const programOf = (count: number): ProgramBuilder => {
    const b = new ProgramBuilder();
    b.forEach(
      Array.from({ length: count }).keys(),
      (index) => index + 1,
      (index) => {
        b.syscall("kill", [index + 100, b.bytes(new Uint8Array(24))], { message: `kill ${rowId}` });
        b.syscall("kill", [index + 100, 9], { message: `kill ${rowId} again` });
      },
    );
    return b;
  };
  const [few, many] = [programOf(10), programOf(1010)];
  assert.equal(many.ops.length, few.ops.length);
  // An id, and the one value that is twice in the ops.
  assert.equal(many.data.length - few.data.length, 1000 * 8);
});

test("rows that lack what an op names are found", () => {
  const b = new ProgramBuilder();
  b.forEach(
    [1, 2],
    (id) => id,
    (id) => b.syscall("kill", [id + 7, 9]),
  );
  const { ops, data } = finished(b);
  const short = ops.map((op) => (opKindNames.get(op.kind) === "each" ? { ...op, args: [op.args[0] ?? 0n, 2n, 4n, 0n, 0n, 0n] } : op));
  assert.match(wrongRows(short, data)?.message ?? "", /takes 4 bytes at 4 of a row of 4 bytes/);
  assert.match(wrongRows(ops, data.subarray(0, 20))?.message ?? "", /do not lie in the data/);
});

test("a small program cannot keep its reader busy, nor have rows that the interpreter refuses", () => {
  const b = new ProgramBuilder();
  b.forEach(
    Array.from({ length: 4096 }).keys(),
    (index) => index + 1,
    () => {
      for (let op = 0; op < 300; op++) b.syscall("getpid", []);
    },
  );
  const { ops, data } = finished(b);
  assert.match(wrongRows(ops, data)?.message ?? "", /is run for more rows/);
  assert.throws(() => [...unrolled(ops, data)].length, /is run for more rows/);
  const eachWith = (count: bigint, stride: bigint): Op[] =>
    ops.map((op) => (opKindNames.get(op.kind) === "each" ? { ...op, args: [op.args[0] ?? 0n, count, stride, 0n, 0n, 0n] } : op));
  assert.equal(wrongRows(eachWith(2n, 4096n), data), undefined);
  assert.match(wrongRows(eachWith(2n, 4100n), data)?.message ?? "", /have more than 4096 bytes/);
});

test("rows that do not end, or begin among others, are found", () => {
  const b = new ProgramBuilder();
  b.forEach(
    [1, 2],
    (id) => id,
    (id) => b.syscall("kill", [id + 7, 9]),
  );
  const { ops, data } = finished(b);
  const isNext = ({ kind }: Op): boolean => opKindNames.get(kind) === "next";
  const unended = ops.filter((op) => !isNext(op));
  assert.match(wrongRows(unended, data)?.message ?? "", /do not end/);
  assert.match(wrongRows([...unended, ...ops], data)?.message ?? "", /begins rows before those of op \d+ end/);
});
