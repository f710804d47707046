// SPDX-License-Identifier: Apache-2.0
/** formats/criu/gen is what protoc-gen-es makes of formats/criu/proto. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import test from "node:test";
import { temporaryDirectory } from "../support/processes.js";
import { projectRoot } from "../support/project.js";

const tools = join(projectRoot, "node_modules/.bin");
const hasTools = existsSync(join(tools, "buf")) && existsSync(join(tools, "protoc-gen-es"));

test("the generated messages are fresh", { skip: !hasTools && "buf and protoc-gen-es are not installed", timeout: 60_000 }, (t) => {
  const folder = join(projectRoot, "formats/criu");
  const out = temporaryDirectory(t);
  const template = join(out, "buf.gen.yaml");
  writeFileSync(template, readFileSync(join(folder, "buf.gen.yaml"), "utf8").replace(/out: .*/, `out: ${join(out, "gen")}`));
  const { status, stderr } = spawnSync(join(tools, "buf"), ["generate", "--template", template, join(folder, "proto")], {
    encoding: "utf8",
    cwd: projectRoot,
    env: { ...process.env, PATH: `${tools}${delimiter}${process.env["PATH"] ?? ""}` },
  });
  assert.equal(status, 0, stderr);
  assert.deepEqual(readdirSync(join(folder, "gen")), readdirSync(join(out, "gen")));
  for (const name of readdirSync(join(out, "gen"))) {
    const fresh = readFileSync(join(out, "gen", name), "utf8") === readFileSync(join(folder, "gen", name), "utf8");
    assert.ok(fresh, `${name} is stale: run npx buf generate --template formats/criu/buf.gen.yaml formats/criu/proto`);
  }
});
