// SPDX-License-Identifier: Apache-2.0
/** The generator on .ksy files that are wrong: an error that names file and field, and no injection into what it prints. */
import assert from "node:assert/strict";
import test from "node:test";
import { emitCHeader } from "../../tools/gen/emit-c.js";
import { emitRecords, modulesOf } from "../../tools/gen/emit-records.js";
import { tablesOf } from "../../tools/gen/emit-tables.js";
import { SpecLoader } from "../../tools/gen/load.js";

function load(body: string, root = "") {
  const text = `meta: { id: a, endian: le }\n${root}\ntypes:\n  t:\n    seq:\n${body}`;
  const spec = new SpecLoader(new Map([["a.ksy", text]])).load()[0];
  assert.ok(spec);
  return spec;
}

function refuses(body: string, message: RegExp, root = ""): void {
  assert.throws(() => tablesOf(load(body, root)), { name: "SpecError", message });
}

test("fields", () => {
  refuses("      - { id: x, type: u3 }", /a\.ksy: types\/t\/seq\/0 \(x\): no type a::u3/);
  refuses("      - { id: 'x; process.exit()', type: u4 }", /is not an identifier/);
  refuses("      - { id: __proto__, type: u4 }", /is not an identifier/);
  refuses("      - { id: x, type: u4 }\n      - { id: x, type: u4 }", /"x" stands twice/);
  refuses("      - { id: x, type: u4, if: y }", /"if" is not supported/);
  refuses("      - { id: x, type: u4, repeat: until }", /repeat: until is not supported/);
  refuses("      - { id: x, type: u4, repeat: expr, repeat-expr: 1000000000 }", /out of range/);
  refuses("      - { id: x, type: u4, repeat: expr, repeat-expr: y }", /"y" is not an integer field before it/);
  refuses("      - { id: x, size: 99999999999 }", /out of range/);
  refuses("      - { id: x, size: -1 }", /out of range/);
  refuses("      - { id: x }", /needs a type, contents or a size/);
  refuses("      - { id: x, contents: [256] }", /contents are bytes/);
  refuses("      - { id: x, size: 0, repeat: eos }", /repeats something that may have no bytes/);
  refuses("      - { id: x, type: str_ref }", /str_ref outside a table record/);
  refuses("      - { id: x, type: u8, -crimg-ref: t }", /a row reference is a u4/);
  refuses("      - { id: x, type: t }", /a::t contains itself/);
  refuses("      - { id: x, type: 'b::t' }", /no spec "b"/);
  refuses("      - { id: x, type: u4, enum: e }", /enum e: expected a mapping/);
  refuses("      - { id: x, type: u4, valid: { expr: _ } }", /valid: \{expr\} is not supported/);
  refuses("      - { id: x, type: u4, -crimg-format: pretty }", /is not known/);
  refuses("      - { id: x, type: u4, -crimg-flags: { a: 32 } }", /bit 32 of flag "a" does not fit/);
  refuses("      - { id: x, type: u4, -crimg-flags: { a: 1, b: 1 } }", /two flags share a bit/);
});

test("tables", () => {
  const table = "    -crimg-table: 1\n    -crimg-name: ts\n";
  const root = (body: string) => `meta: { id: a, endian: le }\ntypes:\n  t:\n${table}    seq:\n${body}`;
  const loadTable = (body: string) => tablesOf(new SpecLoader(new Map([["a.ksy", root(body)]])).load()[0] ?? assert.fail());
  assert.throws(() => loadTable("      - { id: x, type: u4 }"), /4 bytes are not a multiple of 8/);
  assert.throws(
    () => loadTable("      - { id: x, type: u4 }\n      - { id: y, type: u8 }\n      - { id: z, type: u4 }"),
    /y at 4 is not aligned to 8/,
  );
  assert.throws(() => loadTable("      - { id: n, type: u8 }\n      - { id: x, size: n }"), /has a fixed size/);
  assert.throws(
    () => loadTable("      - { id: x, type: u4, -crimg-ref: us }\n      - { id: y, type: u4 }"),
    /refers to an unknown table "us"/,
  );
  assert.throws(() => loadTable("      - { id: x, size: 8 }"), /not in a table record/);
});

test("files", () => {
  const one = (name: string, text: string) => () => new SpecLoader(new Map([[name, text]])).load();
  assert.throws(one("a.ksy", "meta: ["), /a\.ksy: /);
  assert.throws(one("a.ksy", "[]"), /a\.ksy: expected a mapping/);
  assert.throws(one("a.ksy", "meta: { id: b, endian: le }"), /must be called b\.ksy/);
  assert.throws(one("a.ksy", "meta: { id: ../a, endian: le }"), /is not an identifier/);
  assert.throws(one("a.ksy", "meta: { id: a, endian: be }"), /must be le/);
  assert.throws(one("a.ksy", "meta: { id: a, endian: le, imports: [b] }"), /no spec "b"/);
  assert.throws(one("a.ksy", "meta: &m { id: a, endian: le }\nx: *m"), /a\.ksy: /);
});

test("docs cannot end a comment or a string", () => {
  const spec = load(`      - { id: x, type: u4, doc: "*/ process.exit(); /* \\u2028 \\" ' \`" }`, "-crimg-c-prefix: p");
  const modules = modulesOf([spec]);
  for (const text of [emitRecords(spec, modules), emitCHeader(spec)]) {
    assert.ok(!text.includes("*/ process.exit()"), text);
    assert.ok(text.includes("* / process.exit()"), text);
  }
});

test("counts are not fields; what they count is", () => {
  const spec = load("      - { id: n, type: u1 }\n      - { id: x, size: n }\n      - { id: rest, type: u2, repeat: eos }");
  const text = emitRecords(spec, modulesOf([spec]));
  assert.match(text, /export interface T \{\n {2}readonly x: Uint8Array;\n {2}readonly rest: readonly number\[\];\n\}/);
  assert.match(text, /const x = reader\.bytes\(reader\.count\(n, 1, "x"\)\);/);
  assert.match(text, /writer\.u1\(row\.x\.length, "n"\);/);
});
