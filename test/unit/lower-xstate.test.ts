// SPDX-License-Identifier: Apache-2.0
/** Areas of extended state in a restore program: whole, marked, and with room for another processor's layout. */
import assert from "node:assert/strict";
import test from "node:test";
import { checkpointRow, emptyTables, threadRow } from "../../src/gen/tables.js";
import { ProgramBuilder } from "../../src/lower/program-builder.js";
import { Xstates } from "../../src/lower/xstate.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { amdLayout, endOf, intelLayout } from "../../src/model/xstate-layout.js";

const magic2 = 0x46505845;
const avx512 = 0xe7n;

/** An area of AMD's layout that uses AVX-512, its trailing zeros cut off as a dump does. */
function shortened(length: number): Buffer {
  const area = Buffer.alloc(length);
  area.writeBigUInt64LE(avx512, 464);
  area.writeBigUInt64LE(avx512, 512);
  area.fill(0x55, 576, length);
  return area;
}

function place(...areas: readonly Uint8Array[]): { xstates: Xstates; builder: ProgramBuilder; at: (row: number) => Buffer } {
  const tables = emptyTables();
  tables.checkpoint.push(checkpointRow({ xfeatures: avx512 }));
  for (const xstate of areas) tables.threads.push(threadRow({ task: 0, tid: 7, xstate }));
  const builder = new ProgramBuilder();
  const xstates = new Xstates(builder, new Checkpoint({ tables, sources: [] }));
  const data = Buffer.from(builder.data.finish());
  return {
    xstates,
    builder,
    at: (row) => data.subarray(xstates.of(row)?.offset ?? assert.fail("no area"), (xstates.of(row)?.offset ?? 0) + xstates.room),
  };
}

test("what a shortened area lacks of components in use is zero, and the mark comes behind it", () => {
  const { at } = place(shortened(1200), shortened(1408));
  for (const [row, length] of [
    [0, 1200],
    [1, 1408],
  ] as const) {
    const size = endOf(amdLayout, avx512);
    const area = at(row);
    assert.equal(area.readUInt32LE(480), size);
    assert.equal(area.readUInt32LE(468), size + 4);
    assert.equal(area.readUInt32LE(size), magic2);
    assert.ok(area.subarray(576, length).every((byte) => byte === 0x55));
    assert.ok(area.subarray(length, size).every((byte) => byte === 0));
  }
});

test("an area has room for the longest layout, and one that only FXSAVE filled is x87 and SSE", () => {
  const { xstates, at } = place(shortened(1408), Buffer.alloc(512));
  assert.ok(xstates.room >= endOf(intelLayout, avx512) + 4);
  assert.equal(at(1).readBigUInt64LE(512), 3n);
  assert.equal(at(1).readUInt32LE(576), magic2);
});

test("components that are in the same place everywhere need no look at the processor", () => {
  const area = Buffer.alloc(832);
  area.writeBigUInt64LE(7n, 512);
  const { xstates, builder } = place(area);
  xstates.fitProcessor(builder);
  assert.equal(builder.ops.length, 0);
  assert.equal(xstates.of(1), undefined);
});
