// SPDX-License-Identifier: Apache-2.0
/** criu → model → criu: every message and every page again, and crit reads what was written. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { Tables } from "../../src/gen/tables.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { differencesOfSets, readSet, writeSet } from "../support/criu.js";
import { temporaryDirectory } from "../support/processes.js";
import { fixtures } from "../support/project.js";

const hasCrit = spawnSync("crit", ["--version"]).error === undefined;

function critDecode(path: string): unknown {
  const { status, stdout, stderr } = spawnSync("crit", ["decode", "-i", path], { encoding: "utf8", maxBuffer: 1 << 28 });
  assert.equal(status, 0, `crit decode ${path}: ${stderr}`);
  return JSON.parse(stdout);
}

for (const fixture of ["single", "threads4", "ctree", "live"]) {
  test(`${fixture}: written as it was read`, async (t) => {
    const source = join(fixtures, "criu", fixture);
    const target = join(temporaryDirectory(t), "set");
    const checkpoint = await readSet(source);
    await writeSet(checkpoint, target);
    checkpoint.close();
    assert.deepEqual(differencesOfSets(source, target, /^$/), []);
  });

  test(`${fixture}: crit says the same of what was written`, {
    skip: !hasCrit && "no crit",
  }, async (t) => {
    const source = join(fixtures, "criu", fixture);
    const target = join(temporaryDirectory(t), "set");
    const checkpoint = await readSet(source);
    await writeSet(checkpoint, target);
    checkpoint.close();
    for (const name of readdirSync(target).filter((one) => !one.startsWith("pages-"))) {
      if (readFileSync(join(source, name)).equals(readFileSync(join(target, name)))) continue;
      const [before, after] = [critDecode(join(source, name)), critDecode(join(target, name))].map((decoded) =>
        (decoded as { entries: unknown[] }).entries.map((entry) => JSON.stringify(entry)).sort(),
      );
      assert.ok(isDeepStrictEqual(before, after), name);
    }
  });
}

test("a second turn changes nothing", async (t) => {
  const directory = temporaryDirectory(t);
  const first = await readSet(join(fixtures, "criu/ctree"));
  await writeSet(first, join(directory, "one"));
  const second = await readSet(join(directory, "one"));
  await writeSet(second, join(directory, "two"));
  for (const name of readdirSync(join(directory, "one"))) {
    assert.ok(readFileSync(join(directory, "one", name)).equals(readFileSync(join(directory, "two", name))), name);
  }
  first.close();
  second.close();
});

test("edits of the model are written, whatever the set said", async (t) => {
  const target = join(temporaryDirectory(t), "set");
  const checkpoint = await readSet(join(fixtures, "criu/ctree"));
  const { tables } = checkpoint;
  const threads = tables.threads.map((thread, row) =>
    row === 0 ? { ...thread, comm: "edited", regs: { ...thread.regs, bx: 0xfeedn } } : thread,
  );
  const objects = tables.objects.map((object) =>
    object.path.endsWith("ctree-file.dat") ? { ...object, path: "/elsewhere/file" } : object,
  );
  await writeSet(new Checkpoint({ tables: { ...tables, threads, objects }, sources: checkpoint.sources }), target);
  const again = await readSet(target);
  assert.equal(again.tables.threads[0]?.comm, "edited");
  assert.equal(again.tables.threads[0]?.regs.bx, 0xfeedn);
  assert.ok(again.tables.objects.some((object) => object.path === "/elsewhere/file"));
  assert.ok(!again.tables.objects.some((object) => object.path.endsWith("ctree-file.dat")));
  again.close();
  checkpoint.close();
});

/** Identifiers of an image set that the model knows by value. */
const withoutIds = (tables: Tables): object => {
  const { foreign: _, checkpoint, objects, ...rest } = tables;
  return {
    ...rest,
    checkpoint: checkpoint.map((row) => ({ ...row, createdNs: 0n, vdsoBuildId: new Uint8Array(0) })),
    // Shared memory is numbered anew, and is mapped without a memory file.
    objects: objects.map((row) => (row.kind === "shared_memory" ? { ...row, ino: 0n, seals: 0 } : row)),
    extents: rest.extents.map((row) => ({ ...row, source: 0, fileOffset: 0n })),
  };
};

for (const fixture of ["single", "threads4", "ctree", "live"]) {
  test(`${fixture}: the model alone, without what was kept aside, comes back`, {}, async (t) => {
    const target = join(temporaryDirectory(t), "set");
    const checkpoint = await readSet(join(fixtures, "criu", fixture));
    const tables: Tables = { ...checkpoint.tables, foreign: [] };
    await writeSet(new Checkpoint({ tables, sources: checkpoint.sources }), target);
    const again = await readSet(target);
    const order = (value: object): object =>
      JSON.parse(
        JSON.stringify(value, (_, one: unknown) =>
          typeof one === "bigint" ? one.toString() : one instanceof Uint8Array ? Buffer.from(one).toString("hex") : one,
        ),
      ) as object;
    assert.deepEqual(order(withoutIds(again.tables)), order(withoutIds(tables)));
    again.close();
    checkpoint.close();
  });
}
