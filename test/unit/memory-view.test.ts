// SPDX-License-Identifier: Apache-2.0
/** Memory by address: stored, zero, the mapped file's, or refused with the reason. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { emptyTables, extentRow, mmRow, objectRow, vmaRow } from "../../src/gen/tables.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { MemoryPatch } from "../../src/pages/memory-patch.js";
import { MemoryView } from "../../src/pages/memory-view.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-memory-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));
const page = 4096n;

/** Anonymous memory at 0x10000 (4 pages, the second stored), a file at 0x20000 (3 pages of a file of 1.5), shared at 0x30000. */
function sample(name: string): { checkpoint: Checkpoint; path: string } {
  const path = join(directory, name);
  writeFileSync(path, Buffer.alloc(6000, "f"));
  const { size, mtimeNs } = statSync(path, { bigint: true });
  const tables = emptyTables();
  tables.mms.push(mmRow({}));
  tables.objects.push(objectRow({ kind: "file", path, size, mtimeNs }), objectRow({ kind: "shared_memory", size: 2n * page }));
  tables.vmas.push(
    vmaRow({ kind: "anon_private", start: 0x10000n, end: 0x14000n, prot: 3 }),
    vmaRow({ kind: "file_private", start: 0x20000n, end: 0x23000n, prot: 3, object: 0 }),
    vmaRow({ kind: "anon_shared", start: 0x30000n, end: 0x31000n, offset: page, prot: 3, object: 1 }),
    vmaRow({ kind: "vdso", start: 0x40000n, end: 0x42000n, prot: 5, name: "[vdso]" }),
  );
  tables.extents.push(
    extentRow({ ownerKind: "mm", owner: 0, address: 0x11000n, length: page, fileOffset: 0n }),
    extentRow({ ownerKind: "object", owner: 1, address: page, length: page, fileOffset: page }),
  );
  const bytes = Buffer.concat([Buffer.alloc(4096, "a"), Buffer.alloc(4096, "s")]);
  return { checkpoint: new Checkpoint({ tables, sources: [new BufferPageSource("test", bytes)] }), path };
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");

function refusal(read: () => unknown): CrimgError {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof CrimgError, String(error));
    return error;
  }
  return assert.fail("it was read");
}

test("reads go across what is zero and what is stored", () => {
  const memory = new MemoryView(sample("a").checkpoint, 0);
  assert.equal(text(memory.read(0x10ffen, 4)), "\0\0aa");
  assert.equal(text(memory.read(0x11ffen, 4)), "aa\0\0");
  assert.equal(text(memory.read(0x30000n, 2)), "ss");
  assert.deepEqual(
    [...memory.runs(0n, 1n << 64n)].map(({ address, length, origin }) => [address, length, origin.kind]),
    [
      [0x10000n, page, "zero"],
      [0x11000n, page, "stored"],
      [0x12000n, 2n * page, "zero"],
      [0x20000n, 2n * page, "file"],
      [0x22000n, page, "absent"],
      [0x30000n, page, "stored"],
      [0x40000n, 2n * page, "absent"],
    ],
  );
  memory.close();
});

test("clean pages are the file's, zero behind its end, and gone behind its last page", () => {
  const memory = new MemoryView(sample("b").checkpoint, 0);
  assert.equal(text(memory.read(0x20000n + 5998n, 4)), "ff\0\0");
  assert.match(refusal(() => memory.read(0x22000n, 1)).message, /behind the end of the mapped file/);
  memory.close();
});

test("a file that was changed or is gone is not taken for the mapped one", () => {
  const changed = sample("c");
  utimesSync(changed.path, 1, 1);
  assert.match(refusal(() => new MemoryView(changed.checkpoint, 0).read(0x20000n, 1)).message, /modified since/);
  const longer = sample("d");
  writeFileSync(longer.path, Buffer.alloc(6001));
  assert.match(refusal(() => new MemoryView(longer.checkpoint, 0).read(0x20000n, 1)).message, /6001 bytes now, 6000/);
  const gone = sample("e");
  rmSync(gone.path);
  const error = refusal(() => new MemoryView(gone.checkpoint, 0).read(0x20000n, 1));
  assert.equal(error.code, "memory.absent");
  assert.match(error.message, /ENOENT/);
});

test("what is not mapped, the kernel's, or too much is refused by name", () => {
  const memory = new MemoryView(sample("f").checkpoint, 0);
  assert.equal(refusal(() => memory.read(0x13fffn, 2)).code, "memory.unmapped");
  assert.match(refusal(() => memory.read(0x13fffn, 2)).message, /0x14000/);
  assert.match(refusal(() => memory.read(0x40000n, 1)).message, /kernel's \[vdso\]/);
  assert.equal(refusal(() => memory.read(0x10000n, 2 ** 31)).code, "memory.length");
  assert.equal(memory.read(0x10000n, 0).length, 0);
});

test("a patch changes its bytes and nothing else", () => {
  const { checkpoint } = sample("g");
  const before = new MemoryView(checkpoint, 0);
  const patch = new MemoryPatch(checkpoint, before);
  patch.write(0x10ffen, Buffer.from("wxyz"));
  const after = new MemoryView(patch.apply(0, { brk: 5n }), 0);
  const expected = Buffer.from(before.read(0x10000n, 0x4000));
  expected.write("wxyz", 0xffe);
  assert.equal(text(after.read(0x10000n, 0x4000)), expected.toString("latin1"));
  assert.equal(text(after.read(0x30000n, 4096)), text(before.read(0x30000n, 4096)));
  before.close();
  after.close();
});
