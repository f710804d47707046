// SPDX-License-Identifier: Apache-2.0
/** Whole tables segments: laws over random tables, and over damaged bytes. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { readTables } from "../../src/elf/read-tables.js";
import { trailingBytesOf } from "../../src/elf/trailing-bytes.js";
import { writeTables } from "../../src/elf/write-tables.js";
import { tablesVersionMinor } from "../../src/gen/tables.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { checkReferences } from "../../src/model/references.js";
import { plain } from "../support/codec-laws.js";
import { newerSegment } from "../support/newer-segment.js";
import { tablesArbitrary } from "../support/tables-arbitrary.js";

const place = { source: "image", base: 0x3000n };

test("reading what was written gives the tables, and nothing unknown", () => {
  fc.assert(
    fc.property(tablesArbitrary(), (tables) => {
      const { tables: found, unknownTables, versionMinor } = readTables(writeTables(tables), place);
      assert.deepEqual(plain(found), plain(tables));
      assert.deepEqual(unknownTables, []);
      assert.equal(versionMinor, tablesVersionMinor);
      assert.deepEqual([...checkReferences(found)], []);
    }),
    { numRuns: 60 },
  );
});

test("writing what was read gives the bytes", () => {
  fc.assert(
    fc.property(tablesArbitrary(), (tables) => {
      const bytes = writeTables(tables);
      assert.deepEqual(Buffer.from(writeTables(readTables(bytes, place).tables)), Buffer.from(bytes));
    }),
    { numRuns: 60 },
  );
});

test("what a newer version added stays, byte for byte", () => {
  fc.assert(
    fc.property(tablesArbitrary(), fc.uint8Array({ minLength: 8, maxLength: 8 }), (tables, extra) => {
      const bytes = newerSegment(writeTables(tables), extra);
      const { tables: found, unknownTables } = readTables(bytes, place);
      assert.deepEqual(plain(found), plain(tables));
      for (const task of found.tasks) assert.deepEqual([...(trailingBytesOf(task) ?? [])], [...extra]);
      assert.deepEqual(unknownTables.map(({ kind }) => kind).sort(), [200, 0xfffe, 0xffff]);
      const again = readTables(writeTables(found, unknownTables), place);
      assert.deepEqual(plain(again), plain({ tables: found, unknownTables, versionMinor: tablesVersionMinor }));
      for (const task of again.tables.tasks) assert.deepEqual([...(trailingBytesOf(task) ?? [])], [...extra]);
    }),
    { numRuns: 40 },
  );
});

test("damaged segments give a located error or tables that can be written", () => {
  const change = fc.record({ at: fc.nat(), value: fc.nat(255) });
  fc.assert(
    fc.property(tablesArbitrary(2), fc.array(change, { minLength: 1, maxLength: 6 }), fc.option(fc.nat()), (tables, changes, cut) => {
      let bytes = writeTables(tables).slice();
      for (const { at, value } of changes) bytes[at % bytes.length] = value;
      if (cut !== null) bytes = bytes.subarray(0, cut % bytes.length);
      try {
        const { tables: found, unknownTables } = readTables(bytes, place);
        writeTables(found, unknownTables);
      } catch (error) {
        assert.ok(error instanceof CrimgError, String(error));
        const { source, offset } = error;
        // Errors of the writer (a heap that is none) have no place; those of the reader do.
        if (source !== undefined) assert.ok(offset !== undefined && offset >= 0x3000n && offset <= 0x3000n + BigInt(bytes.length));
      }
    }),
    { numRuns: 400 },
  );
});

test("a row that is there several times as one object is written like equal ones", () => {
  fc.assert(
    fc.property(tablesArbitrary(), (tables) => {
      const twice = <Row extends object>(rows: readonly Row[], copy: (row: Row) => Row): Row[] => rows.flatMap((row) => [row, copy(row)]);
      const written = (copy: <Row extends object>(row: Row) => Row): Buffer =>
        Buffer.from(
          writeTables({ ...tables, files: twice(tables.files, copy), vmas: twice(tables.vmas, copy), xattrs: twice(tables.xattrs, copy) }),
        );
      assert.deepEqual(
        written((row) => row),
        written((row) => ({ ...row })),
      );
    }),
    { numRuns: 30 },
  );
});
