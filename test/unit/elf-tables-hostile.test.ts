// SPDX-License-Identifier: Apache-2.0
/** Tables segments that lie: each is refused where it does, before anything is allocated for it. */
import assert from "node:assert/strict";
import test from "node:test";
import { readTables } from "../../src/elf/read-tables.js";
import { writeTables } from "../../src/elf/write-tables.js";
import { emptyTables, foreignRow, lossRow, signalfdRow, tableSpecs, taskRow } from "../../src/gen/tables.js";
import { assertReferences } from "../../src/model/references.js";

const place = { source: "image.elf", base: 0x1000n, format: "ckpt-elf" };

function segment(): Uint8Array<ArrayBuffer> {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ pid: 5 }), taskRow({ pid: 6, parent: 0 }));
  tables.foreign.push(foreignRow({ format: "criu", key: "k", value: Uint8Array.of(1, 2, 3) }));
  return new Uint8Array(writeTables(tables));
}

const taskSize = tableSpecs.find((spec) => spec.table === "tasks")?.size ?? 0;

/** Where things are in `segment()`: header 32, then directory entries of 32: tasks, foreign, strings, blobs. */
const at = { tasks: 32, foreign: 64, strings: 96, blobs: 128, firstRow: 160 };

function refused(change: (view: DataView, bytes: Uint8Array) => void, expected: object): void {
  const bytes = segment();
  change(new DataView(bytes.buffer), bytes);
  assert.throws(() => readTables(bytes, place), { name: "CrimgError", source: "image.elf", format: "ckpt-elf", ...expected });
}

test("the sample itself is read", () => {
  const { tables } = readTables(segment(), place);
  assert.equal(tables.tasks[1]?.pid, 6);
  assert.deepEqual([...(tables.foreign[0]?.value ?? [])], [1, 2, 3]);
});

test("header", () => {
  refused((_view, bytes) => bytes.set([0], 0), { code: "bytes.contents", offset: 0x1000n, path: "tables_header.magic" });
  refused((view) => view.setUint16(8, 3, true), { code: "bytes.invalid", offset: 0x1008n, message: "version_major must be 2, found 3" });
  refused((view) => view.setBigUint64(16, 1n << 60n, true), { code: "tables.length", offset: 0x1010n });
  refused((view) => view.setUint32(12, 0xffff_ffff, true), { code: "bytes.count", path: "tables_header.num_tables" });
  assert.throws(() => readTables(new Uint8Array(31), place), { code: "bytes.short" });
  assert.throws(() => readTables(new Uint8Array(0), place), { code: "bytes.short" });
});

test("directory", () => {
  const code = "tables.directory";
  refused((view) => view.setUint32(at.foreign, 2, true), { code, path: "directory[1].kind" });
  for (const length of [0, 7, 12, 0xffff_fff8]) {
    refused((view) => view.setUint32(at.tasks + 4, length, true), { code, path: "directory[0].len_row", offset: 0x1024n });
  }
  refused((view) => view.setUint32(at.strings + 4, 8, true), { code, path: "directory[2].len_row" });
  for (const rows of [3n, 1n << 32n, (1n << 64n) - 1n]) {
    refused((view) => view.setBigUint64(at.blobs + 8, rows + 100n, true), { code, path: "directory[3].num_rows" });
  }
  for (const offset of [0n, 32n, 161n, 1n << 40n, (1n << 64n) - 8n]) {
    refused((view) => view.setBigUint64(at.tasks + 16, offset, true), { code });
  }
  refused((view) => view.setBigUint64(at.foreign + 16, BigInt(at.firstRow), true), {
    code,
    message: "table foreign overlaps the one before it",
  });
});

test("rows", () => {
  const second = at.firstRow + taskSize;
  refused((view) => view.setUint32(second + 20, 77, true), {
    code: "bytes.enum",
    path: "tasks[1].state",
    offset: BigInt(0x1000 + second + 20),
    message: "state must be one of 1, 2, 3, found 77",
  });
});

test("strings", () => {
  const row = at.firstRow + 2 * taskSize;
  const code = "tables.string";
  refused((view) => view.setUint32(row, 0xffff, true), { code, path: "foreign[0].format", offset: BigInt(0x1000 + row) });
  refused((view) => view.setUint32(row, 2, true), { code, message: "format refers to string 2, which is inside another string" });
  refused(
    (view, bytes) => {
      const strings = Number(view.getBigUint64(at.strings + 16, true));
      bytes.fill(0x61, strings + 1, strings + Number(view.getBigUint64(at.strings + 8, true)));
    },
    { code, message: "format refers to string 1, which does not end" },
  );
});

test("blobs", () => {
  const ref = at.firstRow + 2 * taskSize + 16;
  const code = "tables.blob";
  refused((view) => view.setBigUint64(ref + 8, 4n, true), { code, path: "foreign[0].value", offset: BigInt(0x1000 + ref) });
  refused((view) => view.setBigUint64(ref, (1n << 64n) - 1n, true), { code });
  const tables = emptyTables();
  tables.foreign.push(foreignRow({ value: new Uint8Array(64) }), foreignRow({ value: new Uint8Array(64) }));
  const bytes = new Uint8Array(writeTables(tables));
  const view = new DataView(bytes.buffer);
  const rows = Number(view.getBigUint64(32 + 16, true));
  // Both rows claim all of the heap: a small file must not describe a large checkpoint.
  for (const row of [rows, rows + 32]) {
    view.setBigUint64(row + 16, 0n, true);
    view.setBigUint64(row + 24, 128n, true);
  }
  assert.throws(() => readTables(bytes, place), { code, path: "foreign[1].value" });
});

test("shorter records read as zero and none", () => {
  const bytes = segment();
  const view = new DataView(bytes.buffer);
  // Two tasks of 88 bytes become eleven pieces of which the first three make a record of 24 bytes.
  view.setUint32(at.tasks + 4, 24, true);
  view.setBigUint64(at.tasks + 8, 1n, true);
  const [task] = readTables(bytes, place).tables.tasks;
  assert.deepEqual(task, { ...taskRow({ pid: 5, state: "running" }) });
  assert.equal(task?.mm, null);
});

test("the writer refuses what no reader takes", () => {
  const tables = emptyTables();
  tables.losses.push(lossRow({ code: "a\0b" }));
  assert.throws(() => writeTables(tables), { code: "tables.string", path: "losses[0].code" });
  tables.losses[0] = lossRow({ text: "x".repeat(70000) });
  assert.throws(() => writeTables(tables), { code: "tables.string", path: "losses[0].text" });
  tables.losses.length = 0;
  tables.signalfds.push(signalfdRow({ mask: -1n }));
  assert.throws(() => writeTables(tables), { code: "bytes.range", path: "signalfds[0].mask" });
  tables.signalfds.length = 0;
  for (const raw of [
    { kind: 200, rowLength: 8, bytes: new Uint8Array(7) },
    { kind: 200, rowLength: 0, bytes: new Uint8Array(0) },
    { kind: 2, rowLength: 8, bytes: new Uint8Array(8) },
  ]) {
    assert.throws(() => writeTables(tables, [raw]), { code: "tables.unknown" });
  }
  assert.throws(() => writeTables(tables, [{ kind: 0xfffe, rowLength: 1, bytes: Uint8Array.of(1, 0) }]), { code: "tables.string" });
});

test("references that name no row are found", () => {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ parent: 3 }));
  assert.throws(() => assertReferences(tables, { source: "x" }), {
    code: "model.reference",
    source: "x",
    path: "tasks[0].parent",
    message: "tasks[0].parent must be a row of tasks (1 rows), found 3",
  });
});

test("a blob that two rows show as a view of a kept heap is stored twice", () => {
  const tables = emptyTables();
  const heap = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  tables.foreign.push(foreignRow({ value: heap }), foreignRow({ value: heap.subarray(2, 5) }), foreignRow({ value: heap }));
  const bytes = writeTables(tables, [
    { kind: 200, rowLength: 8, bytes: new Uint8Array(8) },
    { kind: 0xffff, rowLength: 1, bytes: heap },
  ]);
  const found = readTables(bytes, place);
  assert.deepEqual(
    found.tables.foreign.map(({ value }) => [...value]),
    [
      [1, 2, 3, 4, 5, 6, 7, 8],
      [3, 4, 5],
      [1, 2, 3, 4, 5, 6, 7, 8],
    ],
  );
  assert.deepEqual([...(found.unknownTables.find(({ kind }) => kind === 0xffff)?.bytes.subarray(0, 8) ?? [])], [...heap]);
});
