// SPDX-License-Identifier: Apache-2.0
/** Every fixture converts to every format that can hold it; a format that cannot says so in words. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { registry } from "../../formats/registry.js";
import { convert, CrimgError, open } from "../../src/index.js";
import { fixtures } from "../support/project.js";

/** Codes with which a format may refuse: it cannot hold this at all, whatever would be lost. */
const refusals: Readonly<Record<string, RegExp>> = {
  "v1.tree": /one process/,
  "model.registers": /no registers/,
};

/** Paths of images under the fixtures: core files, CRIU directories, DMTCP files, image sets of 2011. */
function images(root: string): readonly string[] {
  const inFolder = (...parts: string[]) =>
    existsSync(join(root, ...parts)) ? readdirSync(join(root, ...parts)).map((name) => join(root, ...parts, name)) : [];
  const cores = inFolder("core").map((folder) => join(folder, readdirSync(folder).find((name) => name.startsWith("core")) ?? ""));
  const dmtcp = inFolder("dmtcp").map((folder) => join(folder, readdirSync(folder).find((name) => name.endsWith(".dmtcp")) ?? ""));
  return [...cores, ...dmtcp, ...inFolder("criu")];
}

const writers = (await Promise.all(registry.ids.map((id) => registry.load(id))))
  .filter(({ write, read }) => write && read)
  .map(({ id }) => id);

for (const image of images(fixtures)) {
  const name = image.slice(fixtures.length + 1);
  for (const to of writers) {
    test(`${name} → ${to}`, { timeout: 60_000 }, async (t) => {
      const directory = mkdtempSync(join(tmpdir(), "crimg-matrix-"));
      try {
        const output = join(directory, "out");
        await convert(image, output, { to });
        const [before, after] = [await open(image), await open(output, { from: to })];
        try {
          // Registers of the leader and the name of the program are in every format.
          const [was, is] = [before.tasks[0], after.tasks[0]];
          assert.equal(is?.pid === 0 || is?.pid === was?.pid, true);
          assert.equal(is?.threads[0]?.registers.sp, was?.threads[0]?.registers.sp);
          assert.equal(is?.name, was?.name);
        } finally {
          before.close();
          after.close();
        }
      } catch (error) {
        assert.ok(error instanceof CrimgError, error instanceof Error ? error.stack : String(error));
        assert.match(error.message, refusals[error.code] ?? /$^/, `${error.code}: ${error.message}`);
        t.diagnostic(`refused: ${error.message}`);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    });
  }
}

test("the fixtures are there", () => assert.ok(images(fixtures).length >= 9));
