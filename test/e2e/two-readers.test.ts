// SPDX-License-Identifier: Apache-2.0
/** A process with much memory: a helper reads half of its pages, and where there can be none, the process reads all. */
import assert from "node:assert/strict";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { assertUnbroken, dumpAndResume, moreTicks } from "../support/cycle.js";
import { compile, crimg, start, temporaryDirectory, until } from "../support/processes.js";

interface Large {
  readonly pid: number;
  readonly log: string;
  readonly image: string;
  readonly directory: string;
}

/** Starts test/programs/large.c, which looks at all of its memory before every tick. */
async function startLarge(t: TestContext): Promise<Large> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid } = start(t, compile("large.c", directory), [log], { cwd: directory });
  await moreTicks(log, 2);
  return { pid, log, directory, image: join(directory, "image.elf") };
}

/** The id that the helper of an image is to have. */
function helperOf(image: string): string {
  const { stdout } = crimg("explain", image);
  // What comes before is for a lazy resume.
  const byTwo = stdout.slice(stdout.search(/id of helper/));
  assert.equal([...byTwo.matchAll(/ load\(/g)].length, 2, "each half is one read");
  return /id of helper (\d+)/.exec(stdout)?.[1] ?? assert.fail("no helper");
}

test("by two: every page is back, nobody else is left, and again from the second image", { timeout: 120_000 }, async (t) => {
  const { pid, log, image } = await startLarge(t);
  let resumed = await dumpAndResume(t, pid, image);
  helperOf(image);
  await moreTicks(log, 2);
  resumed = await dumpAndResume(t, resumed.pid, `${image}.again`);
  await moreTicks(log, 2);
  assertUnbroken(log);
});

test("alone, where the id of the helper is in use", { timeout: 120_000 }, async (t) => {
  if (process.getuid?.() !== 0) return t.skip("ids are chosen by root only");
  const { pid, log, image, directory } = await startLarge(t);
  assert.equal(crimg("dump", String(pid), "-o", image).status, 0);
  const program = compile("occupy.c", directory);
  const occupant = start(t, program, [helperOf(image)], { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  occupant.stdout?.on("data", (data) => (said += String(data)));
  await until("the id is in use", () => said === "ready\n");
  start(t, image, [], { cwd: directory });
  await moreTicks(log, 2);
  assertUnbroken(log);
});
