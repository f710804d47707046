// SPDX-License-Identifier: Apache-2.0
/** Checkpoints of other tools as sets and images of 2011: whole, valid, with the memory that was seen. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { format as criu } from "../../formats/criu/index.js";
import { format as crtools } from "../../formats/crtools/index.js";
import { format as ckptElfV1, replayLkmlLoader } from "../../formats/ckpt-elf-v1/index.js";
import { MemoryBytes } from "../../src/bytes/random-bytes.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { type Truth2011, outputIn, readFor, scratch } from "../support/fixtures-2011.js";
import { fixtures } from "../support/project.js";

for (const set of ["single", "ctree", "threads4", "live"]) {
  test(`criu/${set} as a crtools set and as version 1 images`, async (t) => {
    const folder = join(fixtures, "criu", set);
    const truth = (JSON.parse(readFileSync(join(folder, "truth.json"), "utf8")) as { processes: Truth2011[] }).processes;
    const original = await readFor(t, criu, folder);
    const written = scratch(t);
    await crtools.write?.(original, outputIn(t, written), {});
    const again = await readFor(t, crtools, written);
    assert.deepEqual(
      again.tables.tasks.map(({ pid, ppid }) => [pid, ppid]).slice(1),
      original.tables.tasks.map(({ pid, ppid }) => [pid, ppid]).slice(1),
    );
    for (const process of truth) {
      const task = again.taskIndexOf(process.pid);
      assert.ok(task !== undefined);
      const mm = again.tables.tasks[task]?.mm ?? -1;
      const view = new MemoryView(again, mm);
      for (const { name, start, length, sha256 } of process.memory ?? []) {
        // Pages that the files still have are not in the image, and the counter page of `live` changes.
        if (name.startsWith("file") || sha256 === undefined) continue;
        assert.equal(
          createHash("sha256")
            .update(view.read(BigInt(start), length))
            .digest("hex"),
          sha256,
          `${name} of ${process.pid}`,
        );
      }
      view.close();

      const image = join(written, `v1-${process.pid}`);
      mkdirSync(image);
      await ckptElfV1.write?.(again, outputIn(t, image), { pid: process.pid });
      const replay = replayLkmlLoader(new MemoryBytes(readFileSync(join(image, "image.elf")), image));
      assert.equal(replay.refusal, undefined);
    }
  });
}

test("every loss is one line a kind, with its count", async (t) => {
  const original = await readFor(t, criu, join(fixtures, "criu/ctree"));
  const losses = crtools.losses?.(original, {}) ?? [];
  assert.equal(new Set(losses.map(({ code }) => code)).size, losses.length);
  const count = (code: string): number => losses.find((loss) => loss.code === code)?.count ?? 0;
  assert.equal(count("timers.interval"), original.tables.intervalTimers.length);
  assert.equal(count("signals.pending"), original.tables.pendingSignals.length);
  assert.equal(
    count("files.socket"),
    original.tables.descriptors.filter(({ file }) => original.tables.files[file]?.kind === "socket").length,
  );
  assert.equal(count("threads.extra"), 0);
  assert.throws(() => ckptElfV1.losses?.(original, {}), /holds one process, and there are 3/);
});
