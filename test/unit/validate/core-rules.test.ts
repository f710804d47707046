// SPDX-License-Identifier: Apache-2.0
/** Rules about cores as files: each finds a core that was changed to break it. */
import assert from "node:assert/strict";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { registry } from "../../../formats/registry.js";
import { programHeaderSize, segmentTypeValues } from "../../../src/gen/elf64.js";
import { selectTask } from "../../../src/model/select-task.js";
import { writeCheckpoint } from "../../../src/ops/convert.js";
import { validate } from "../../../src/ops/validate.js";
import { coreRules } from "../../../src/validate/rules/core-files.js";
import { temporaryDirectory } from "../../support/processes.js";
import { checkpointOf, smallTables } from "./small-model.js";

/** A core of the first process of the small model. */
async function smallCore(directory: string): Promise<string> {
  const path = join(directory, "core.100");
  await writeCheckpoint(selectTask(checkpointOf(smallTables()), 100), path, await registry.load("core"), { registry });
  return path;
}

/** Offset of the program header of the first segment with bytes that is loaded. */
function firstLoad(bytes: Buffer): number {
  const start = Number(bytes.readBigUInt64LE(32));
  for (let at = start; ; at += programHeaderSize) {
    if (bytes.readUInt32LE(at) === segmentTypeValues.load && bytes.readBigUInt64LE(at + 32) > 0n) return at;
  }
}

const broken: Readonly<Record<string, (path: string) => void>> = {
  "core.cut-off": (path) => truncateSync(path, readFileSync(path).length - 1000),
  "core.segment-flags": (path) => {
    const bytes = readFileSync(path);
    bytes.writeUInt8(0xf6, firstLoad(bytes) + 4);
    writeFileSync(path, bytes);
  },
};

test("every rule about cores has an example here", () => {
  assert.deepEqual(coreRules.map(({ code }) => code).sort(), Object.keys(broken).sort());
});

test("a whole core has no findings of these rules", async (t) => {
  const { findings } = await validate(await smallCore(temporaryDirectory(t)), { registry, profile: "format" });
  assert.deepEqual(
    findings.filter(({ code }) => code.startsWith("core.")),
    [],
  );
});

for (const [code, change] of Object.entries(broken)) {
  test(`${code} finds what breaks it, and says where`, async (t) => {
    const path = await smallCore(temporaryDirectory(t));
    change(path);
    const { findings } = await validate(path, { registry, profile: "format" });
    const finding = findings.find((one) => one.code === code);
    assert.ok(finding !== undefined, findings.map((one) => one.code).join(", "));
    assert.match(finding.path ?? "", /^program_headers\[\d+\]\./);
    assert.ok((finding.offset ?? 0n) > 0n);
  });
}
