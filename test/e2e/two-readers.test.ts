// SPDX-License-Identifier: Apache-2.0
/**
 * A process with much memory: a helper reads half of its pages, and where there can be none, the process reads all. One of many
 * mappings: the helper reads them while the process protects others.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
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

/** Mappings as smaps shows them: addresses, protection, flags but soft-dirty. */
function mappingsOf(pid: number): string {
  const wanted = readFileSync(`/proc/${pid}/smaps`, "latin1").match(/^(?:[0-9a-f]+-.*|VmFlags:.*)$/gm) ?? [];
  return wanted.join("\n").replaceAll(/ sd\b/g, "");
}

async function more(log: string, count: number): Promise<void> {
  const lines = (): number => (existsSync(log) ? readFileSync(log, "latin1").split("\n").length : 0);
  const before = lines();
  await until("the program goes on", () => lines() >= before + count);
}

for (const how of ["by two", "alone, where the id of the helper is in use"]) {
  test(`many mappings are protected while others are read: ${how}`, { timeout: 120_000 }, async (t) => {
    if (process.getuid?.() !== 0) return t.skip("ids are chosen by root only");
    const directory = temporaryDirectory(t);
    const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
    const { pid } = start(t, compile("many-mappings.c", directory, "-lpthread"), [log, "5600", "guard"]);
    await more(log, 2);
    const before = mappingsOf(pid);
    assert.ok([...before.matchAll(/---p/g)].length >= 1400);
    const { status, stderr } = crimg("dump", String(pid), "-o", image);
    assert.equal(status, 0, stderr);
    await until("it is gone", () => !existsSync(`/proc/${pid}`));
    const { stdout } = crimg("explain", image);
    assert.match(stdout, /protect\(.*PROT_NONE[\s\S]*wait\(.*parts[\s\S]*touched before/);
    if (how !== "by two") {
      const id = /id of helper (\d+)/.exec(stdout)?.[1] ?? assert.fail("no helper");
      const program = compile("occupy.c", directory);
      let said = "";
      // Others may have it for a moment.
      for (let tries = 0; said === ""; tries++) {
        assert.ok(tries < 50, "nobody gets the id");
        const occupant = start(t, program, [id], { stdio: ["ignore", "pipe", "ignore"] });
        occupant.stdout?.on("data", (data) => (said += String(data)));
        await new Promise((ended) => {
          occupant.once("exit", ended);
          occupant.stdout?.once("data", ended);
        });
        if (said === "") await new Promise((later) => setTimeout(later, 100));
      }
    }
    start(t, image, [], { cwd: directory });
    await more(log, 2);
    assert.equal(mappingsOf(pid), before);
    assert.doesNotMatch(readFileSync(log, "latin1"), /BAD/);
  });
}
