// SPDX-License-Identifier: Apache-2.0
/** Cores as systemd-coredump and people keep them, compressed, and what only looks like one. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { Lz4Decoder } from "../../src/ops/expand/lz4.js";
import { convert, CrimgError, open } from "../../src/index.js";
import { fixtures } from "../support/project.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-compressed-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));
const core = join(fixtures, "core", "kernel-segv", "core");

const tools = [
  { suffix: "zst", command: ["zstd", "-q", "-c"] },
  { suffix: "lz4", command: ["lz4", "-q", "-c"] },
  { suffix: "lz4", command: ["lz4", "-q", "-c", "-BD", "-9", "--content-size"] },
  { suffix: "xz", command: ["xz", "-c"] },
  { suffix: "gz", command: undefined },
] as const;

/** undefined where the tool is not there. */
function compress(bytes: Uint8Array, command: readonly string[] | undefined): Uint8Array | undefined {
  if (command === undefined) return gzipSync(bytes);
  const { status, stdout, error } = spawnSync(command[0] ?? "", command.slice(1), { input: bytes, maxBuffer: 1 << 28, timeout: 60_000 });
  return error || status !== 0 ? undefined : stdout;
}

async function failure(path: string): Promise<CrimgError> {
  const before = process.memoryUsage().rss;
  try {
    (await open(path)).close();
  } catch (error) {
    assert.ok(error instanceof CrimgError, error instanceof Error ? error.stack : String(error));
    assert.ok(process.memoryUsage().rss - before < 400 << 20);
    return error;
  }
  return assert.fail(`${path} was read`);
}

for (const { suffix, command } of tools) {
  const name = command?.join(" ") ?? "gzip";
  test(`${name}: the core in it is read as if it were not compressed`, { timeout: 120_000 }, async (t) => {
    const bytes = readFileSync(core);
    const compressed = compress(bytes, command);
    if (!compressed) return t.skip(`no ${command?.[0]}`);
    const path = join(directory, `core.${suffix}`);
    writeFileSync(path, compressed);
    await convert(path, join(directory, "a.core"), { force: true });
    await convert(core, join(directory, "b.core"), { force: true });
    assert.deepEqual(readFileSync(join(directory, "a.core")), readFileSync(join(directory, "b.core")));

    for (const length of [compressed.length >> 1, compressed.length - 6, 20]) {
      writeFileSync(path, compressed.subarray(0, length));
      try {
        // What can be expanded may be a core that was cut off; nothing else may come of it.
        (await open(path)).close();
      } catch (error) {
        assert.ok(error instanceof CrimgError, error instanceof Error ? error.stack : String(error));
      }
    }
    for (let round = 0; round < 60; round++) {
      const damaged = Buffer.from(compressed);
      for (let count = 0; count < 3; count++)
        damaged[8 + ((round * 7919 + count * 104729) % (damaged.length - 8))] = (round * 37 + count) & 0xff;
      writeFileSync(path, damaged);
      try {
        (await open(path)).close();
      } catch (error) {
        assert.ok(error instanceof CrimgError, error instanceof Error ? error.stack : String(error));
      }
    }
  });

  test(`${name}: what expands without end is ended`, { timeout: 240_000 }, async (t) => {
    const endless = compress(Buffer.concat([readFileSync(core), Buffer.alloc(160 << 20)]), command);
    const other = compress(Buffer.alloc(160 << 20), command);
    if (!endless || !other) return t.skip(`no ${command?.[0]}`);
    const path = join(directory, `endless.${suffix}`);
    writeFileSync(path, endless);
    const error = await failure(path);
    assert.equal(error.code, "expand.bound");
    assert.ok(statSync(core).size > 0);
    writeFileSync(path, other);
    assert.equal((await failure(path)).code, "input.unrecognised");
  });
}

test("an lz4 block with a match outside, and one of too many bytes, are refused", () => {
  const header = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
  const decode = (...block: number[]) => {
    const decoder = new Lz4Decoder(() => undefined);
    decoder.push(Buffer.from([...header, block.length, 0, 0, 0, ...block, 0, 0, 0, 0]));
    decoder.end();
  };
  decode(0x10, 0x61);
  assert.throws(() => decode(0x10, 0x61, 9, 0), /outside/);
  assert.throws(() => decode(0xf0, 0xff, 0xff), /cut off/);
  assert.throws(() => decode(0x50, 0x61), /beyond its end/);
  assert.throws(() => {
    const decoder = new Lz4Decoder(() => undefined);
    decoder.push(Buffer.from([...header, 0xff, 0xff, 0xff, 0x7f]));
  }, /a block of/);
});
