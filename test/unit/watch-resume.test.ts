// SPDX-License-Identifier: Apache-2.0
/** How far a resume has come is told by what its processes have read, also by those that have ended. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import test from "node:test";
import { bytesReadBy, watchResume } from "../../src/ops/watch-resume.js";

test("progress follows the bytes that a tree reads, and ends before all are read", { timeout: 30_000 }, async (t) => {
  const reads = [
    "for i in 1 2 3 4 5 6 7 8; do head -c 10000000 /dev/zero > /dev/null; sleep 0.15; done",
    "head -c 900000000 /dev/zero > /dev/null; sleep 30",
  ].join("; ");
  const child = spawn("/bin/sh", ["-c", reads], { stdio: "ignore" });
  t.after(() => child.kill());
  const pid = child.pid ?? assert.fail("cannot start");
  const seen: bigint[] = [];
  await watchResume({
    pid,
    baseBytes: bytesReadBy(pid) ?? 0n,
    totalBytes: 980_000_000n,
    onProgress: (done) => seen.push(done),
  });
  assert.ok(seen.length >= 3, `told ${seen.length} times`);
  assert.ok(seen.every((done, index) => done >= (seen[index - 1] ?? 0n)));
  assert.ok((seen.at(-1) ?? 0n) >= 40_000_000n && (seen.at(-1) ?? 0n) < 980_000_000n, String(seen.at(-1)));
});

test("a watch ends with the process that it is about", { timeout: 30_000 }, async () => {
  const child = spawn("/bin/true", { stdio: "ignore" });
  const ended = new Promise((done) => child.once("close", done));
  await watchResume({ pid: child.pid ?? 0, baseBytes: 0n, totalBytes: 1n << 40n, onProgress: () => undefined });
  await ended;
});
