// SPDX-License-Identifier: Apache-2.0
/** Being kept on one processor while the tree stands still is for the thread that drives it, not for those that help it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import test from "node:test";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { buildSync } from "esbuild";
import { projectRoot } from "../support/project.js";

/**
 * Pins itself, has Node's helper threads do something, and prints where each of its threads may run. Loaded by require, which needs
 * no helpers; an import would have made them before.
 */
const script = `
  import { readdirSync, readFileSync } from "node:fs";
  import { lstat } from "node:fs/promises";
  import { pinTo, unpin } from "./pin.js";
  const allowed = (tid) => /^Cpus_allowed_list:\\s*(\\S+)/m.exec(readFileSync("/proc/self/task/" + tid + "/status", "utf8"))[1];
  const before = allowed(process.pid);
  pinTo(process.pid, process.pid);
  const pinned = allowed(process.pid);
  lstat("/").then(() => {
    const helpers = readdirSync("/proc/self/task").filter((tid) => tid !== String(process.pid)).map(allowed);
    unpin();
    console.log(JSON.stringify({ before, pinned, helpers, after: allowed(process.pid) }));
  });
`;

test("threads that help may run everywhere while the first one is kept on a processor", (t) => {
  if (availableParallelism() < 2) {
    t.skip("there is one processor only");
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "crimg-pin-"));
  try {
    const outfile = join(folder, "pin.cjs");
    buildSync({
      stdin: { contents: script, resolveDir: join(projectRoot, "dist/src/dump") },
      outfile,
      bundle: true,
      platform: "node",
      format: "cjs",
      define: {
        "import.meta.url": JSON.stringify(pathToFileURL(join(projectRoot, "dist/src/native/addon.js")).href),
        "import.meta.dirname": JSON.stringify(join(projectRoot, "dist/src/resources")),
      },
    });
    const { stdout, stderr } = spawnSync(process.execPath, [outfile], { encoding: "utf8", timeout: 30_000 });
    assert.notEqual(stdout, "", stderr);
    const { before, pinned, helpers, after } = JSON.parse(stdout) as Record<"before" | "pinned" | "after", string> & {
      readonly helpers: readonly string[];
    };
    assert.match(pinned, /^\d+$/);
    assert.notEqual(pinned, before);
    assert.equal(after, before);
    assert.deepEqual(new Set(helpers), new Set([before]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
