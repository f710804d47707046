// SPDX-License-Identifier: Apache-2.0
/** Blocks of LZ4 as a dump makes them (native/addon/lz4.h), read by another decoder. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";
import { inflateLz4 } from "../../src/bytes/lz4-block.js";
import { compile, temporaryDirectory } from "../support/processes.js";

test("blocks of LZ4 hold what they were made of, wherever it ends, and nothing beside the buffers is touched", (t) => {
  // As the addon is compiled, and as it would be without vector instructions.
  for (const [seed, flag] of ["-O3", "-O1"].entries()) {
    const program = compile("lz4-blocks.c", temporaryDirectory(t), flag);
    const output = execFileSync(program, ["600", String(seed + 1)], { maxBuffer: 1 << 28, timeout: 60_000 });
    const counts = { fitting: 0, refused: 0 };
    for (let at = 0; at < output.length; ) {
      const [size, stored] = [output.readUInt32LE(at), output.readUInt32LE(at + 4)];
      const content = output.subarray(at + 8, at + 8 + size);
      at += 8 + size + stored;
      if (stored === 0) {
        counts.refused++;
        continue;
      }
      counts.fitting++;
      const inflated = new Uint8Array(size);
      assert.ok(inflateLz4(output.subarray(at - stored, at), inflated), `a block for ${size} bytes is not one`);
      assert.ok(content.equals(inflated), `a block for ${size} bytes holds something else`);
    }
    assert.ok(counts.fitting > 250 && counts.refused > 50, JSON.stringify(counts));
    assert.equal(counts.fitting + counts.refused, 600);
  }
});
