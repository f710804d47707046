// SPDX-License-Identifier: Apache-2.0
/** The JSON document: rows survive it, edits take effect, and what is wrong is named with its place. */
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { decodeRow, encodeRow, type JsonValue } from "../../formats/json/row-codec.js";
import { findSyntaxError } from "../../formats/json/syntax.js";
import { tableSpecs } from "../../src/gen/tables.js";
import { convert, CrimgError, open } from "../../src/index.js";
import { plain } from "../support/codec-laws.js";
import { rowArbitraries } from "../support/gen/ckpt-elf-v2.js";
import { fixtures } from "../support/project.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-json-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));
const core = join(fixtures, "core/gcore-single/core.739");

for (const spec of tableSpecs) {
  test(`rows of ${spec.tableId} survive the document`, () => {
    fc.assert(
      fc.property(rowArbitraries[spec.table] as fc.Arbitrary<object>, (row) => {
        const text = JSON.stringify(encodeRow(spec, row as Readonly<Record<string, unknown>>));
        const found = decodeRow(spec, JSON.parse(text) as { readonly [key: string]: JsonValue }, spec.tableId);
        assert.deepEqual(plain(found), plain(row));
      }),
      { numRuns: 40 },
    );
  });
}

test("the place of a syntax error is the first character that is wrong", () => {
  const cases: readonly (readonly [text: string, at: number])[] = [
    ["{} x", 3],
    ['{"a": [1, 2,, 3]}', 12],
    ['{"a" 1}', 5],
    ['["\u0001"]', 2],
    ["[1, 2", 5],
    ["01", 0],
    ["[tru]", 1],
    ['{"a": 1,}', 8],
    ["", 0],
  ];
  for (const [text, at] of cases) assert.equal(findSyntaxError(text), at, text);
});

test("JSON.parse and the search for the error agree on what is JSON", () => {
  fc.assert(
    fc.property(fc.json(), fc.nat(), fc.constantFrom("", ",", "}", '"', "x"), (json, where, insert) => {
      const at = where % (json.length + 1);
      const text = json.slice(0, at) + insert + json.slice(at);
      let isJson = true;
      try {
        JSON.parse(text);
      } catch {
        isJson = false;
      }
      if (!isJson) assert.ok(findSyntaxError(text) <= text.length);
    }),
  );
});

/** A fresh document of the fixture, changed. */
async function edited(change: (document: EditableDocument) => void): Promise<string> {
  const path = join(directory, "edit.json");
  await convert(core, path, { force: true });
  const document = JSON.parse(readFileSync(path, "utf8")) as EditableDocument;
  change(document);
  writeFileSync(path, JSON.stringify(document));
  return path;
}

interface EditableDocument {
  processes: { arguments: string[]; environment: string[] }[];
  tables: {
    threads: { regs: Record<string, unknown> }[];
    objects: { path?: unknown }[];
    tasks: { state: unknown; mm: unknown }[];
    extents: { file_offset?: string }[];
  };
  pages: { file: string };
  version: number[];
}

test("environment, arguments, a register and a path can be changed", async () => {
  const path = await edited((document) => {
    const [process] = document.processes;
    process?.environment.splice(0, 1, "P=1");
    process?.arguments.splice(1, 1, "other");
    const [thread] = document.tables.threads;
    if (thread) thread.regs["bx"] = "0x1234";
    const [program] = document.tables.objects;
    if (program) program.path = "/elsewhere/alpha";
  });
  const written = join(directory, "core.edited");
  await convert(path, written, { to: "core", force: true });
  for (const image of [path, written]) {
    const checkpoint = await open(image);
    const task = checkpoint.task(739);
    assert.deepEqual(task.environment, ["P=1", "HOME=/opt/demo", "LANG=C"], image);
    assert.deepEqual(task.arguments, ["/opt/demo/bin/alpha", "other"], image);
    assert.equal(task.threads[0]?.registers.bx, 0x1234n);
    assert.equal(task.maps[0]?.name, "/elsewhere/alpha");
    // envp in the stack points at the strings where they are now.
    const mm = checkpoint.model.tables.mms[0];
    assert.ok(mm);
    const pointers = Buffer.from(task.memory.read(mm.startStack, 64));
    assert.equal(pointers.readBigUInt64LE(8 + 3 * 8), mm.envStart);
    checkpoint.close();
  }
});

const wrong: readonly (readonly [string, (document: EditableDocument) => void, RegExp])[] = [
  ["an environment that does not fit", (document) => document.processes[0]?.environment.push("X".repeat(200)), /need [0-9]+/],
  ["more strings than there are pointers", (document) => document.processes[0]?.environment.splice(0, 1, "a=", "b=", "c="), /room for/],
  [
    "a word that is no state",
    (document) => void Object.assign(document.tables.tasks[0] ?? {}, { state: "asleep" }),
    /tables\.tasks\[0\]\.state must be one of/,
  ],
  [
    "a register that is a number",
    (document) => void Object.assign(document.tables.threads[0]?.regs ?? {}, { ip: 5 }),
    /tables\.threads\[0\]\.regs\.ip/,
  ],
  [
    "a register of 65 bits",
    (document) => void Object.assign(document.tables.threads[0]?.regs ?? {}, { ip: "0x10000000000000000" }),
    /tables\.threads\[0\]\.regs\.ip/,
  ],
  ["a reference to no row", (document) => void Object.assign(document.tables.tasks[0] ?? {}, { mm: 7 }), /tasks\[0\]\.mm/],
  [
    "an extent behind the end of the pages",
    (document) => void Object.assign(document.tables.extents[0] ?? {}, { file_offset: "0x7fffffffff" }),
    /tables\.extents\[0\]/,
  ],
  ["a page file elsewhere", (document) => void (document.pages.file = "../../etc/passwd"), /pages\.file|pages/],
  ["a version of the future", (document) => void (document.version = [3, 0]), /version/],
];
for (const [what, change, message] of wrong) {
  test(`${what} is refused by name`, async () => {
    const path = await edited(change);
    const error = await open(path, { from: "json" }).catch((cause: unknown) => cause);
    assert.ok(error instanceof CrimgError, String(error));
    assert.match(`${error.path ?? ""} ${error.message}`, message);
  });
}

test("inline pages give the same document back", async () => {
  const [beside, inline, again] = ["beside.json", "inline.json", "again.json"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await convert(core, beside);
  await convert(beside, inline, { extra: { "inline-pages": true } });
  await convert(inline, again);
  assert.deepEqual(readFileSync(`${again}.pages`), readFileSync(`${beside}.pages`));
  assert.equal(readFileSync(again, "utf8").replace("again.json.pages", "beside.json.pages"), readFileSync(beside, "utf8"));
});

test("a document without its pages says what is missing", async () => {
  const alone = join(directory, "alone.json");
  copyFileSync(await edited(() => undefined), alone);
  writeFileSync(alone, readFileSync(alone, "utf8").replace("edit.json.pages", "alone.json.pages"));
  const error = await open(alone).catch((cause: unknown) => cause);
  assert.ok(error instanceof CrimgError);
  assert.equal(error.code, "json.pages");
  assert.match(error.hint ?? "", /keep it in the folder of the document/);
});
