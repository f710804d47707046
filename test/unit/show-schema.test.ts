// SPDX-License-Identifier: Apache-2.0
/** What `show --json` prints is valid against spec/schema/show.schema.json, for every section and every format. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { registry } from "../../formats/registry.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { toJsonText } from "../../src/errors/json.js";
import { convert } from "../../src/ops/convert.js";
import { collect, renderJson, renderText, sectionNames } from "../../src/ops/show.js";
import { fixtures, projectRoot } from "../support/project.js";
import { temporaryDirectory } from "../support/processes.js";
import { smallImage } from "../support/images.js";
import { checkpointOf, smallTables } from "./validate/small-model.js";

const schema = (name: string): object => JSON.parse(readFileSync(join(projectRoot, "spec/schema", name), "utf8")) as object;
const ajv = new Ajv2020({ allErrors: true, strict: false });
ajv.addSchema(schema("checkpoint.schema.json"));
const isValid = ajv.compile(schema("show.schema.json"));

type Row = Readonly<Record<string, unknown>>;

/** The word more that some sections need. */
const operands: Readonly<Record<string, string>> = { mem: "sp:1", grep: "." };
/** Options of a section; memory that a checkpoint does not hold is refused by name. */
function document_(
  checkpoint: Parameters<typeof collect>[0],
  id: string,
  section: (typeof sectionNames)[number],
): ReturnType<typeof collect> {
  const operand = operands[section];
  try {
    return collect(checkpoint, { source: id, format: id, section, ...(operand === undefined ? {} : { operand }) });
  } catch (error) {
    assert.ok(section === "mem" && error instanceof CrimgError && error.code.startsWith("memory."), String(error));
    return collect(checkpoint, { source: id, format: id, section: "overview" });
  }
}

test("every section of the small model is valid", () => {
  const checkpoint = checkpointOf(smallTables());
  for (const section of sectionNames) {
    const document = document_(checkpoint, "model", section);
    const json: unknown = JSON.parse(toJsonText(renderJson(document, checkpoint)));
    assert.ok(isValid(json), `${section}: ${ajv.errorsText(isValid.errors)}`);
    assert.ok(renderText(document, { color: false }).length > 0, section);
  }
});

test("one process of a tree is shown alone", () => {
  const checkpoint = checkpointOf(smallTables());
  const document = collect(checkpoint, { source: "model", format: "test", section: "fds", pid: 101 });
  assert.deepEqual(document.selected.descriptors, [9]);
  assert.throws(() => collect(checkpoint, { source: "model", format: "test", section: "fds", pid: 7 }), { code: "show.no-such-pid" });
});

test("the schema refuses what show does not print", () => {
  assert.equal(isValid({ source: "x", format: "y", section: "bogus", rows: {}, tables: {} }), false);
  assert.equal(isValid({ source: "x", format: "y", section: "fds", rows: {}, tables: { tasks: [{ bogus: 1 }] } }), false);
});

test("every format's reader gives something to show", async (t) => {
  const directory = temporaryDirectory(t);
  for (const id of registry.ids) {
    const format = await registry.load(id);
    if (format.write === undefined || format.read === undefined || id === "ckpt-elf-v1") continue;
    const checkpoint = await format.read(await smallImage(directory, id), {});
    try {
      for (const section of sectionNames) {
        const json: unknown = JSON.parse(toJsonText(renderJson(document_(checkpoint, id, section), checkpoint)));
        assert.ok(isValid(json), `${id} ${section}: ${ajv.errorsText(isValid.errors)}`);
      }
    } finally {
      checkpoint.close();
    }
  }
});

test("rows of show are those of convert --to json, and what their references to files name is there", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const output = join(directory, "image.json");
  await convert(image, output, { registry });
  const whole = JSON.parse(readFileSync(output, "utf8")) as { readonly tables: Readonly<Record<string, readonly Row[]>> };
  const format = await registry.load("ckpt-elf");
  const checkpoint = await format.read?.(image, {});
  assert.ok(checkpoint);
  let flags = 0;
  for (const section of sectionNames) {
    const json = JSON.parse(toJsonText(renderJson(document_(checkpoint, "ckpt-elf", section), checkpoint))) as {
      readonly rows: Readonly<Record<string, readonly number[]>>;
      readonly tables: Readonly<Record<string, readonly Row[]>>;
    };
    for (const [table, rows] of Object.entries(json.tables)) {
      for (const [place, row] of rows.entries()) {
        const number = json.rows[table]?.[place] ?? -1;
        // Where pages lie differs; what is left out there is zero, empty or none.
        const same = whole.tables[table]?.[number] ?? {};
        for (const [id, value] of Object.entries(same)) {
          if (table !== "extents") assert.deepEqual(row[id], value, `${section}: ${table}[${number}].${id}`);
          if (Array.isArray(value) && typeof value[0] === "string") flags += 1;
        }
        const { object } = row;
        if (["vmas", "files"].includes(table) && typeof object === "number") {
          assert.ok(json.rows["objects"]?.includes(object), `${section}: ${table}[${number}] names objects[${object}]`);
        }
      }
    }
  }
  checkpoint.close();
  assert.ok(flags > 0, "some flags were compared");
});

test("show reads no page payload: an image of a gigabyte takes no more than one of a page", async (t) => {
  const bytesRead = (): number => Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1] ?? 0);
  const image = await smallImage(temporaryDirectory(t));
  const format = await registry.load("ckpt-elf");
  const before = bytesRead();
  const checkpoint = await format.read?.(image, {});
  assert.ok(checkpoint);
  // Those that are about the content of pages read them.
  const isContent = (section: string): boolean => ["mem", "strings", "grep"].includes(section);
  for (const section of sectionNames.filter((name) => !isContent(name))) {
    renderText(collect(checkpoint, { source: image, format: "ckpt-elf", section }), { color: false });
  }
  const read = bytesRead() - before;
  checkpoint.close();
  assert.ok(read < 64 * 1024, `${read} bytes read`);
});

test("the 2011 formats show the status letters of crtools -s", async () => {
  const format = await registry.load("crtools");
  const checkpoint = await format.read?.(join(fixtures, "crtools2011/tree3"), {});
  assert.ok(checkpoint);
  const text = renderText(collect(checkpoint, { source: "tree3", format: "crtools", section: "maps" }), { color: false });
  checkpoint.close();
  const lines = text.split("\n");
  const line = (range: string): string => lines.find((one) => one.includes(range)) ?? "";
  assert.match(line("400000-401000"), /\bFP\b/);
  assert.match(line("20000000-20004000"), /\bAS\b/);
  assert.match(line("7ffd799d3000"), /\bAP stack\b/);
  assert.match(line("ffffffffff600000"), /vsyscall/);
});
