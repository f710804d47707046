// SPDX-License-Identifier: Apache-2.0
/** Memory that a core lacks is absent: not zero, not stored, told by `validate`, and no executable is made without a stack. */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { CrimgError, convert, open } from "../../src/index.js";
import { kernelCore, whyNoKernelCores } from "../support/kernel-core.js";
import { compile, crimg, run, temporaryDirectory } from "../support/processes.js";

/** Bytes of absent memory by reason, in mappings of a kind. */
async function absentOf(path: string): Promise<Map<string, bigint>> {
  const checkpoint = await open(path);
  const sums = new Map<string, bigint>();
  try {
    for (const { start, end, reason } of checkpoint.model.tables.absentRegions) {
      sums.set(reason, (sums.get(reason) ?? 0n) + (end - start));
      const task = checkpoint.tasks[0] ?? assert.fail("no process");
      assert.throws(
        () => task.memory.read(start, 16),
        (error) => error instanceof CrimgError && error.code === "memory.absent",
      );
    }
    return sums;
  } finally {
    checkpoint.close();
  }
}

const cases = [
  { name: "coredump_filter 0", options: { filter: "0x0" }, reasons: [/private memory out/, /shared memory out/] },
  { name: "a core that was cut off", options: { kib: 100 }, reasons: [/was cut off/] },
] as const;

for (const { name, options, reasons } of cases) {
  test(`${name}: what is missing stays missing`, { timeout: 120_000 }, async (t) => {
    const why = whyNoKernelCores();
    if (why !== undefined || run("sh", ["-c", "command -v cc"]).status !== 0) return t.skip(why ?? "no cc");
    const directory = temporaryDirectory(t);
    const core = kernelCore(directory, "kernel.core", [compile("crash-threads.c", directory, "-pthread")], options);
    const absent = await absentOf(core);
    assert.equal(absent.size, reasons.length, [...absent.keys()].join("; "));
    for (const reason of reasons) assert.ok([...absent.keys()].some((text) => reason.test(text)));

    const validated = crimg("validate", core);
    assert.equal(validated.status, 1);
    assert.match(validated.stdout, /error absent\.thread: the stack of thread [0-9]+, at 0x[0-9a-f]+, is not there/);
    assert.match(validated.stdout, /warning absent\.memory: /);

    // The same through a core and through JSON, however often.
    for (const [from, to] of [
      ["kernel.core", "again.core"],
      ["again.core", "image.json"],
      ["image.json", "third.core"],
    ] as const) {
      await convert(join(directory, from), join(directory, to));
      assert.deepEqual(await absentOf(join(directory, to)), absent, to);
    }
    assert.ok(statSync(join(directory, "again.core")).size <= statSync(core).size * 1.2);

    const refused = crimg("convert", core, join(directory, "image.elf"));
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /the stack of thread [0-9]+ \(at 0x[0-9a-f]+\) is not in the checkpoint/);
    assert.match(crimg("exec", core).stderr, /is not in the checkpoint/);
  });
}

test("a core that the kernel's default filter let through lacks nothing", { timeout: 120_000 }, async (t) => {
  const why = whyNoKernelCores();
  if (why !== undefined || run("sh", ["-c", "command -v cc"]).status !== 0) return t.skip(why ?? "no cc");
  const directory = temporaryDirectory(t);
  const core = kernelCore(directory, "kernel.core", [compile("crash-threads.c", directory, "-pthread")], { filter: "0x33" });
  assert.deepEqual([...(await absentOf(core)).keys()], []);
  const { losses } = await convert(core, join(directory, "image.elf"));
  // MADV_DONTDUMP memory looks like memory that nobody wrote to, and that is said.
  assert.ok(losses.some(({ code }) => code === "core.untouched"));
  assert.equal(crimg("validate", core).status, 0);
  await convert(core, join(directory, "again.core"));
  assert.ok(statSync(join(directory, "again.core")).size <= statSync(core).size * 1.2);
});
