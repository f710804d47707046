// SPDX-License-Identifier: Apache-2.0
/** Sets whose pages are in compressed blocks, as CRIU writes them since 2026, and what is refused of them. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { PagemapEntrySchema } from "../../formats/criu/gen/memory_pb.js";
import { InventorySchema } from "../../formats/criu/gen/tree_pb.js";
import { readCriu } from "../../formats/criu/read.js";
import { decodeLz4Block } from "../../src/bytes/lz4-block.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { MappedFiles } from "../../src/pages/mapped-files.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { convert } from "../../src/ops/convert.js";
import { registry } from "../../formats/registry.js";
import { type BlockForm, compressSet, lz4BlockOf } from "../support/blocked-set.js";
import { copySet, messagesOf, writeImage } from "../support/old-criu-set.js";
import { temporaryDirectory } from "../support/processes.js";
import { fixtures } from "../support/project.js";

/** All memory of the first process, stored pages by address. */
async function pagesIn(path: string): Promise<Map<string, string>> {
  const checkpoint = await readCriu(path, {});
  try {
    const files = new MappedFiles(checkpoint.tables);
    const view = new MemoryView(checkpoint, 0, files);
    const found = new Map<string, string>();
    for (const { address, length } of checkpoint.extentsOf({ mm: 0 })) {
      for (let at = address; at < address + length; at += 4096n) {
        found.set(at.toString(16), Buffer.from(view.read(at, 4096)).toString("base64"));
      }
    }
    files.close();
    return found;
  } finally {
    checkpoint.close();
  }
}

function setOf(t: TestContext, fixture = "single"): string {
  const directory = join(temporaryDirectory(t), "set");
  copySet(join(fixtures, "criu", fixture), directory);
  return directory;
}

const forms: readonly BlockForm[] = [
  { form: "message", pagesPerBlock: 1, isAligned: false },
  { form: "message", pagesPerBlock: 16, isAligned: true },
  { form: "draft", pagesPerBlock: 1, isAligned: false },
  { form: "draft", pagesPerBlock: 7, isAligned: false },
];

for (const how of forms) {
  const name = `${how.form}, ${how.pagesPerBlock} pages a block${how.isAligned ? ", aligned" : ""}`;
  test(`blocks of LZ4 give the pages that were compressed: ${name}`, async (t) => {
    const directory = setOf(t);
    const wanted = await pagesIn(directory);
    const counts = compressSet(directory, how);
    assert.ok(counts.lz4 > 0 && counts.raw > 0, JSON.stringify(counts));
    assert.deepEqual(await pagesIn(directory), wanted);
  });
}

test("a set with blocks is written again with plain pages, and says so", async (t) => {
  const directory = setOf(t);
  const wanted = await pagesIn(directory);
  compressSet(directory, { form: "message", pagesPerBlock: 4, isAligned: false });
  const again = join(temporaryDirectory(t), "again");
  await convert(directory, again, { registry, to: "criu" });
  const inventory = fromBinary(InventorySchema, readFileSync(join(again, "inventory.img")).subarray(8));
  assert.equal(inventory.imgVersion, 2);
  assert.deepEqual(
    (inventory.$unknown ?? []).filter(({ no }) => no >= 15),
    [],
  );
  assert.deepEqual(await pagesIn(again), wanted);
});

test("the compressor of these tests and the decoder agree", () => {
  const run = Buffer.concat([Buffer.from("abc"), Buffer.alloc(5000, 7), Buffer.from("0123456789abcdef")]);
  const output = new Uint8Array(run.length);
  assert.equal(decodeLz4Block(lz4BlockOf(run), output), run.length);
  assert.deepEqual(Buffer.from(output), run);
});

/** Changes the first entry of the map of the process. */
function changeEntry(directory: string, change: (entry: ReturnType<typeof entryOf>) => void): void {
  const path = join(directory, "pagemap-504.img");
  const [head, first, ...others] = messagesOf(path) as [Buffer, Buffer, ...Buffer[]];
  const entry = entryOf(first);
  change(entry);
  writeImage(path, "pagemap", [head, toBinary(PagemapEntrySchema, entry), ...others]);
}

const entryOf = (bytes: Uint8Array) => fromBinary(PagemapEntrySchema, bytes);
const varint = (no: number, value: number) => ({ no, wireType: WireType.Varint, data: new BinaryWriter().uint32(value).finish() });

const refusals: readonly { name: string; change: Parameters<typeof changeEntry>[1]; code: string; says: RegExp }[] = [
  {
    name: "an unknown field of an entry",
    change: (entry) => void (entry.$unknown = [varint(9, 1)]),
    code: "criu.blocks",
    says: /field 9 of its entry is not known, and may change how its pages are read/,
  },
  {
    name: "an unknown flag",
    change: (entry) => void (entry.flags |= 64),
    code: "criu.pagemap",
    says: /flag 0x40 of its entry/,
  },
  {
    name: "too few blocks",
    change: (entry) => void (entry.$unknown = Array.from({ length: 9 }, () => varint(6, 100))),
    code: "criu.blocks",
    says: /9 blocks for \d+ pages/,
  },
  {
    name: "pages that stayed with the dump",
    change: (entry) => void (entry.flags = 2),
    code: "criu.lazy",
    says: /are not in the set: they stayed with the dump \(--lazy-pages\)/,
  },
];

for (const { name, change, code, says } of refusals) {
  test(`${name}: refused by name`, async (t) => {
    const directory = setOf(t);
    changeEntry(directory, (entry) => {
      entry.nrPages = entry.nrPages === 0n ? 3n : entry.nrPages;
      change(entry);
    });
    await assert.rejects(readCriu(directory, {}), (error: unknown) => {
      assert.ok(error instanceof CrimgError);
      assert.equal(error.code, code);
      assert.match(error.message, says);
      assert.match(error.source ?? "", /pagemap-504\.img$/);
      return true;
    });
  });
}

test("a damaged block is found where it is read", async (t) => {
  const directory = setOf(t);
  compressSet(directory, { form: "message", pagesPerBlock: 1, isAligned: false });
  // Tokens that ask for more literals than there are.
  for (const name of ["pages-1.img", "pages-2.img"]) writeFileSync(join(directory, name), readFileSync(join(directory, name)).fill(0xff));
  await assert.rejects(pagesIn(directory), (error: unknown) => {
    assert.ok(error instanceof CrimgError);
    assert.equal(error.code, "criu.block");
    return true;
  });
});
