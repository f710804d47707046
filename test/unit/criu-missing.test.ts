// SPDX-License-Identifier: Apache-2.0
/** Image sets that are not whole: each is refused with what it lacks, and where that may be. */
import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { readCriu } from "../../formats/criu/read.js";
import { registry } from "../../formats/registry.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { readCheckpoint } from "../../src/ops/convert.js";
import { copySet } from "../support/old-criu-set.js";
import { temporaryDirectory } from "../support/processes.js";
import { fixtures } from "../support/project.js";

function setWithout(t: TestContext, lacking: RegExp): string {
  const directory = join(temporaryDirectory(t), "set");
  copySet(join(fixtures, "criu/single"), directory);
  const gone = readdirSync(directory).filter((name) => lacking.test(name));
  assert.ok(gone.length > 0);
  for (const name of gone) rmSync(join(directory, name));
  return directory;
}

const cases: readonly { lacking: RegExp; code: string; says: RegExp; hint: RegExp }[] = [
  { lacking: /^fs-/, code: "criu.missing", says: /lacks the working directory, root and umask of process 504/, hint: /copy all/ },
  { lacking: /^fdinfo-/, code: "criu.missing", says: /lacks the descriptors of process 504/, hint: /copy all/ },
  { lacking: /^pagemap-504|^pages-/, code: "criu.pages", says: /no map of its pages/, hint: /page server/ },
];

for (const { lacking, code, says, hint } of cases) {
  test(`a set without ${lacking.source}: refused`, async (t) => {
    await assert.rejects(readCriu(setWithout(t, lacking), {}), (error: unknown) => {
      assert.ok(error instanceof CrimgError);
      assert.equal(error.code, code);
      assert.match(error.message, says);
      assert.match(error.hint ?? "", hint);
      return true;
    });
  });
}

test("a directory of criu pre-dump or of a page server is recognised, and told to be memory only", async (t) => {
  const directory = setWithout(t, /^(pstree|core|ids|fs|mm|files|fdinfo|seccomp|timens|memfd)/);
  await assert.rejects(readCheckpoint({ path: directory, name: directory, close: () => undefined }, { registry }), (error: unknown) => {
    assert.ok(error instanceof CrimgError);
    assert.equal(error.code, "criu.memory-only");
    assert.match(error.message, /memory only/);
    return true;
  });
});
