// SPDX-License-Identifier: Apache-2.0
/** What is wrong with an image is said without what is in it: no message quotes bytes of the program's memory. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { registry } from "../../formats/registry.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { writeCheckpoint } from "../../src/ops/convert.js";
import { validateImage } from "../../src/ops/validate.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { pathLocator } from "../../src/validate/locate.js";
import { mutate } from "../../tools/fuzz/mutate.js";
import { Random } from "../../tools/fuzz/random.js";
import { temporaryDirectory } from "../support/processes.js";
import { smallTables } from "../unit/validate/small-model.js";

const secret = "correct horse battery staple. ";
const mutations = 120;

/** The secret as messages might quote it: plain, base64 (at each of three places), hex. */
const quotes = [
  secret.slice(0, 10),
  ...[0, 1, 2].map((shift) => Buffer.from(secret.repeat(3).slice(shift)).toString("base64").slice(4, 20)),
  Buffer.from(secret.slice(0, 8)).toString("hex"),
];

/** A checkpoint whose every page, and a pipe's content, is the secret over and over. */
function secretCheckpoint(): Checkpoint {
  const tables = smallTables();
  tables.pipes.forEach((row, index) => (tables.pipes[index] = { ...row, data: Buffer.from(secret) }));
  return new Checkpoint({ tables, sources: [new BufferPageSource("pages", Buffer.alloc(16 * 4096, secret))] });
}

const filesOf = (path: string): string[] => (statSync(path).isFile() ? [path] : readdirSync(path).map((name) => join(path, name)));

for (const id of registry.ids) {
  test(`errors and findings of ${id} quote no memory`, async (t) => {
    const format = await registry.load(id);
    if (format.write === undefined) return;
    const path = join(temporaryDirectory(t), "image");
    // Version 1 and a core hold one process.
    const options = id === "ckpt-elf-v1" || id === "core" ? { pid: 100 } : {};
    await writeCheckpoint(secretCheckpoint(), path, format, { registry, extra: { "inline-pages": true }, ...options });
    const files = filesOf(path).map((file) => ({ file, original: readFileSync(file) }));
    const random = new Random(11);
    let messages = 0;
    for (let index = 0; index < mutations; index += 1) {
      const { file, original } = random.pick(files);
      writeFileSync(file, mutate(original, [], random));
      let texts: string[] = [];
      try {
        const checkpoint = await format.read?.(path, {});
        if (checkpoint === undefined) continue;
        const { findings } = validateImage(path, checkpoint, { source: path, format, locate: pathLocator });
        texts = findings.map((finding) =>
          JSON.stringify(finding, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
        );
        checkpoint.close();
      } catch (error) {
        if (!(error instanceof CrimgError)) throw error;
        texts = [
          JSON.stringify({ message: error.message, expected: error.expected, actual: error.actual, hint: error.hint, path: error.path }),
        ];
      } finally {
        writeFileSync(file, original);
      }
      messages += texts.length;
      for (const text of texts) for (const quote of quotes) assert.ok(!text.includes(quote), `case ${index}: ${text.slice(0, 300)}`);
    }
    assert.ok(messages > 5, `only ${messages} messages`);
  });
}
