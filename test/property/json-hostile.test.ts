// SPDX-License-Identifier: Apache-2.0
/** Documents that the schema accepts and that make no sense: a model that converts, or a located error. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { convert, CrimgError, open } from "../../src/index.js";
import { writeJsonImage } from "../support/json-image.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-json-hostile-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));
const source = join(directory, "whole.json");
writeJsonImage(source, { memoryBytes: 1n << 16n, dataBytes: 1 << 16 });
const whole = readFileSync(source, "utf8");

const number = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, 1n, 4095n, 4096n, 0x10000000n, 0x10010000n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n),
);

test("hex numbers anywhere may be anything", { timeout: 120_000 }, async () => {
  const places = [...whole.matchAll(/"0x[0-9a-f]+"/g)].map((match) => [match.index, match[0].length] as const);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(places.length - 1), number), { minLength: 1, maxLength: 4 }), async (changes) => {
      let text = whole;
      const chosen = new Map(changes);
      for (const [place, value] of [...chosen].sort((a, b) => b[0] - a[0])) {
        const [at, length] = places[place] ?? [0, 0];
        text = `${text.slice(0, at)}"0x${value.toString(16)}"${text.slice(at + length)}`;
      }
      const path = join(directory, "changed.json");
      writeFileSync(path, text);
      for (const look of [
        async () => {
          const checkpoint = await open(path);
          try {
            for (const task of checkpoint.tasks) [task.maps, task.threads, [...task.memory.runs(0n, 1n << 64n)]];
            checkpoint.tasks[0]?.memory.read(0x10000000n, 100);
          } finally {
            checkpoint.close();
          }
        },
        () => convert(path, join(directory, "core.1"), { force: true }),
      ]) {
        try {
          await look();
        } catch (error) {
          assert.ok(error instanceof CrimgError, error instanceof Error ? error.stack : String(error));
        }
      }
    }),
    { numRuns: 150 },
  );
});
