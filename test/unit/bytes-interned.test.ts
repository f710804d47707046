// SPDX-License-Identifier: Apache-2.0
/** Equal bytes are kept once: in memory, and in the heap of blobs. */
import assert from "node:assert/strict";
import test from "node:test";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { HeapReader, HeapWriter } from "../../src/bytes/heaps.js";
import { areEqual, InternedBytes } from "../../src/bytes/interned.js";

const filled = (length: number, last: number): Uint8Array => {
  const bytes = new Uint8Array(length).fill(7);
  bytes[length - 1] = last;
  return bytes;
};

test("equal bytes are the same, others are not, wherever they lie", () => {
  const known = new InternedBytes();
  const first = known.of(filled(601, 1));
  const shifted = new Uint8Array(602);
  shifted.set(filled(601, 1), 1);
  assert.equal(known.of(shifted.subarray(1)), first);
  assert.notEqual(known.of(filled(601, 2)), first);
  assert.notEqual(known.of(filled(600, 7)), first);
  assert.ok(!areEqual(filled(9, 1), filled(9, 2)));
});

function heapOf(...blobs: readonly Uint8Array[]): { readonly refs: Uint8Array; readonly heap: Uint8Array } {
  const writer = new ByteWriter();
  const heaps = new HeapWriter();
  for (const blob of blobs) heaps.blob(writer, blob, "blob");
  return { refs: writer.finish().slice(), heap: heaps.blobs.finish().slice() };
}

test("a heap has blobs of 512 to 16,384 bytes once, and gives the same view of them", () => {
  const blobs = [filled(600, 1), filled(600, 2), filled(600, 1), filled(511, 1), filled(511, 1), filled(16385, 1), filled(16385, 1)];
  const { refs, heap } = heapOf(...blobs);
  const reader = new ByteReader(refs, { source: "test", path: "blobs" });
  const read = new HeapReader(Uint8Array.of(0), heap);
  const found = blobs.map(() => read.blob(reader, "blob"));
  for (const [index, blob] of blobs.entries()) assert.deepEqual(found[index], blob);
  assert.equal(found[2], found[0]);
  assert.equal(heap.length, 600 + 600 + 2 * 512 + 16392 + 16385);
});

test("references that overlap otherwise are refused", () => {
  const { heap } = heapOf(filled(600, 1));
  const read = (...refs: readonly (readonly [number, number])[]): void => {
    const writer = new ByteWriter();
    for (const [ofs, length] of refs) {
      writer.u8(BigInt(ofs));
      writer.u8(BigInt(length));
    }
    const reader = new ByteReader(writer.finish(), { source: "test", path: "blobs" });
    const heaps = new HeapReader(Uint8Array.of(0), heap);
    for (const _ of refs) heaps.blob(reader, "blob");
  };
  read([0, 600], [0, 600], [0, 600]);
  assert.throws(() => read([0, 600], [0, 599]), /bytes that another reference has/);
  assert.throws(() => read([0, 511], [0, 511]), /bytes that another reference has/);
});
