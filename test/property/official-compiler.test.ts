// SPDX-License-Identifier: Apache-2.0
/** Our writers against the official compiler's readers: every field of every record, 64-bit values exactly. */
import assert from "node:assert/strict";
import test from "node:test";
import { decodeText } from "../../src/bytes/text.js";
import { writeTables } from "../../src/elf/write-tables.js";
import { emptyTables, taskRow, threadRow } from "../../src/gen/tables.js";
import { loadSpecs } from "../../tools/gen/generate.js";
import type { Field, RecordType } from "../../tools/gen/ir.js";
import { countUsers } from "../../tools/gen/emit-types.js";
import { allCodecCases } from "../support/gen/all.js";
import { OfficialReaders, type OfficialValue } from "../support/official-compiler.js";
import { projectRoot } from "../support/project.js";
import type { Sample } from "../support/codec-laws.js";

const samplesPerRecord = 50;

for (const spec of loadSpecs(projectRoot)) {
  test(`${spec.id}: the official readers find what was written`, async () => {
    const official = await OfficialReaders.compile(spec.id);
    let compared = 0;
    for (const record of spec.records.filter(({ id }) => id !== "str_ref" && id !== "blob_ref")) {
      const codec = allCodecCases.find(({ name }) => name === `${spec.id}::${record.id}`);
      assert.ok(codec, `no case for ${record.id}`);
      for (const sample of codec.samples(samplesPerRecord)) {
        compareRecord(record, sample.row, official.read(record.typeId, sample.bytes), sample, record.id);
        compared++;
      }
    }
    assert.ok(compared > 0 || spec.records.length === 0);
  });
}

function compareRecord(
  record: RecordType,
  row: Readonly<Record<string, unknown>>,
  found: OfficialValue,
  sample: Sample,
  path: string,
): void {
  for (const field of record.fields) {
    const where = `${path}.${field.id}`;
    const value = found[field.name];
    const users = countUsers(record, field.id);
    if (field.isReserved || field.type.kind === "contents") continue;
    if (users[0]) {
      const counted = row[users[0].name];
      // The length of text is in bytes, which the official reader compared when it took them.
      if (typeof counted !== "string") assert.equal(Number(value), (counted as ArrayLike<unknown>).length, where);
    } else if (field.repeat) {
      const [ours, theirs] = [row[field.name] as readonly unknown[], value as readonly unknown[]];
      assert.equal(theirs.length, ours.length, where);
      ours.forEach((one, index) => compareOne(record, field, one, theirs[index], sample, `${where}[${index}]`));
    } else {
      compareOne(record, field, row[field.name], value, sample, where);
    }
  }
}

function compareOne(record: RecordType, field: Field, ours: unknown, theirs: unknown, sample: Sample, where: string): void {
  const { type } = field;
  switch (type.kind) {
    case "int": {
      const named = field.enum && record.table ? field.enum.values.find(({ id }) => id === ours)?.value : ours;
      assert.equal(theirs, named ?? 0xffff_ffff, where);
      break;
    }
    case "record":
      compareRecord(type.record, ours as Record<string, unknown>, theirs as OfficialValue, sample, where);
      break;
    case "str_ref": {
      const ofs = (theirs as { ofs: number }).ofs;
      assert.equal(decodeText(sample.strings.subarray(ofs, sample.strings.indexOf(0, ofs))), ours, where);
      break;
    }
    case "blob_ref": {
      const { ofs, len } = theirs as { ofs: bigint; len: bigint };
      assert.deepEqual([...sample.blobs.subarray(Number(ofs), Number(ofs + len))], [...(ours as Uint8Array)], where);
      break;
    }
    case "bytes":
      assert.deepEqual([...(theirs as Uint8Array)], [...(ours as Uint8Array)], where);
      break;
    case "str":
      // Theirs replaces what is not UTF-8.
      if (!/[\ud800-\udfff]/u.test(ours as string)) assert.equal(theirs, ours, where);
      break;
    case "contents":
      break;
  }
}

test("the official reader takes a whole tables segment", async () => {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ pid: 7 }), taskRow({ pid: 8, parent: 0 }));
  tables.threads.push(threadRow({ tid: 7, comm: "one" }));
  const bytes = writeTables(tables);
  const found = (await OfficialReaders.compile("ckpt_elf_v2")).readWhole(bytes);
  const header = found["header"] as OfficialValue;
  const directory = found["directory"] as readonly OfficialValue[];
  assert.equal(header["lenSegment"], BigInt(bytes.length));
  assert.deepEqual(
    directory.map(({ kind, lenRow, numRows }) => [kind, lenRow, numRows]),
    [
      [2, 104, 2n],
      [3, 472, 1n],
      [0xfffe, 1, 5n],
      [0xffff, 1, 0n],
    ],
  );
});
