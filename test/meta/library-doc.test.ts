// SPDX-License-Identifier: Apache-2.0
/** docs/library.md: every example runs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fixtures, projectRoot } from "../support/project.js";

const blocks = [...readFileSync(join(projectRoot, "docs/library.md"), "utf8").matchAll(/^```js\n(.*?)^```$/gms)].map(
  (match) => match[1] ?? "",
);

test("the page has its examples", () => assert.ok(blocks.length >= 5));

blocks.forEach((block, index) => {
  test(`example ${index + 1} of docs/library.md runs`, () => {
    const directory = mkdtempSync(join(tmpdir(), "crimg-library-"));
    try {
      const library = join(projectRoot, "dist/src/index.js");
      const image = join(fixtures, "core/gcore-single/core.739");
      const script = `const image = ${JSON.stringify(image)}, pid = 739;\n${block.replaceAll('"crimg"', JSON.stringify(library))}`;
      writeFileSync(join(directory, "example.mjs"), script);
      const { status, stdout, stderr } = spawnSync(process.execPath, ["example.mjs"], {
        cwd: directory,
        encoding: "utf8",
        timeout: 30_000,
      });
      assert.equal(status, 0, stderr);
      assert.notEqual(stdout, "");
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
