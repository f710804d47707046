// SPDX-License-Identifier: Apache-2.0
/** --leave-running: the image is of one moment, the program runs on meanwhile, and nothing of the dump is left in it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { registry } from "../../formats/registry.js";
import { EarlyMappings, StaleMappings } from "../../src/dump/early-mappings.js";
import { readMappings } from "../../src/dump/smaps.js";
import { moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, isAlive, list, spawned, start, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

// Forks are looked at here: memory that is copied before (pre-copy.test.ts) needs none.
process.env["CRIMG_PRE_COPY"] = "999999";

/** Other processes of the program in `directory` than its own. */
function strangers(program: string, own: readonly number[]): number[] {
  const isOfProgram = (pid: number): boolean => {
    try {
      return !own.includes(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith(program) && isAlive(pid);
    } catch {
      return false;
    }
  };
  return list("/proc").map(Number).filter(isOfProgram);
}

const childrenOf = (pid: number): string => readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim();

async function running(t: TestContext, mebibytes: number) {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const program = compile("changes-memory.c", directory, "-lpthread");
  const { pid } = start(t, program, [log, String(mebibytes)], { cwd: directory });
  await moreTicks(log, 4);
  return { directory, log, program, pid };
}

/** Executes an image, which waits for its program; ended with the test. */
function resumed(t: TestContext, image: string): ChildProcess {
  const child = spawn(image, [], { stdio: "ignore" }) as ChildProcess & { readonly pid: number };
  spawned.add(child.pid);
  t.after(() => endTree(child.pid));
  return child;
}

for (const { options, text } of [
  { options: [], text: /1 forks keep what they can, and [1-9]\d* bytes are copied[\s\S]*the tree runs on[\s\S]*written/ },
  { options: ["--huge-pages"], text: /made \d+ MiB huge pages[\s\S]*froze[\s\S]*1 forks keep what they can[\s\S]*written/ },
  { options: ["--no-fork"], text: /0 forks keep what they can, and [1-9]\d* bytes are copied[\s\S]*the tree runs on[\s\S]*written/ },
]) {
  test(`a program that changes all its memory all the time: ${options.join() || "forked"}`, { timeout: 180_000 }, async (t) => {
    const { directory, log, program, pid } = await running(t, 20);
    const image = join(directory, "image.elf");
    let waiter: ChildProcess | undefined;
    for (let round = 0; round < 3; round++) {
      rmSync(image, { force: true });
      const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running", "-v", ...options);
      assert.equal(status, 0, stderr);
      assert.match(stderr, text);
      // It counts its children, and the signals of their ends, too.
      await moreTicks(log, 5);
      // It forks all the time: one that was just made is in no list yet.
      await until("nobody else is there", () => strangers(program, [pid, ...childrenOf(pid).split(" ").map(Number)]).length === 0, 20);
      endTree(pid);
      // It stops with its program, and has to run to see the end.
      waiter?.kill("SIGCONT");
      await until("it is gone", () => !existsSync(`/proc/${pid}`));
      waiter = resumed(t, image);
      await moreTicks(log, 5);
    }
  });
}

test("a crimg that is killed while it writes leaves the program running and nothing else", { timeout: 120_000 }, async (t) => {
  const { log, program, pid } = await running(t, 20);
  // Nobody reads what it writes.
  const dump = spawn(crimgCommand, ["dump", String(pid), "-o", "-", "--leave-running"], { stdio: ["ignore", "pipe", "ignore"] });
  dump.stdout.pause();
  t.after(() => dump.kill("SIGKILL"));
  const own = (): number[] => [pid, ...childrenOf(pid).split(" ").map(Number)];
  await until("it has forked", () => strangers(program, own()).length > 0);
  await moreTicks(log, 3);
  dump.kill("SIGKILL");
  await until("nothing is left", () => strangers(program, own()).length === 0);
  await moreTicks(log, 3);
});

test("every format has a snapshot", { timeout: 180_000 }, async (t) => {
  const { directory, log, pid } = await running(t, 20);
  for (const to of ["core", "criu"]) {
    const output = join(directory, to);
    const { status, stderr } = crimg("dump", String(pid), "-o", output, "--to", to, "--leave-running", "-v");
    assert.equal(status, 0, stderr);
    assert.match(stderr, /1 forks keep what they can[\s\S]*the tree runs on[\s\S]*written/);
    assert.equal(crimg("validate", output).status, 0);
  }
  await moreTicks(log, 3);
});

/** Words of one mapping in smaps, in bytes. */
function memoryAt(pid: number, address: string): ReadonlyMap<string, number> {
  const [, text = ""] = readFileSync(`/proc/${pid}/smaps`, "latin1").split(new RegExp(`^${address}-.*$`, "m"));
  const words = [...(text.split(/^[0-9a-f]+-/m)[0] ?? "").matchAll(/^(\w+): +(\d+) kB$/gm)];
  return new Map(words.map(([, name = "", number = ""]) => [name, Number(number) * 1024]));
}

test("--huge-pages takes no more memory, and leaves small what shall be", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const list = join(directory, "list");
  const { pid } = start(t, compile("huge-pages.c", directory), [list]);
  await until("it rests", () => existsSync(list) && readFileSync(list, "latin1").endsWith("\n"));
  const areas = readFileSync(list, "latin1").trim().split(" ");
  const before = areas.map((address) => memoryAt(pid, address));
  const { status, stderr } = crimg("dump", String(pid), "-o", join(directory, "image.elf"), "--leave-running", "--huge-pages", "-v");
  assert.equal(status, 0, stderr);
  const after = areas.map((address) => memoryAt(pid, address));
  assert.deepEqual(
    after.map((words) => words.get("Rss")),
    before.map((words) => words.get("Rss")),
  );
  const huge = (all: readonly ReadonlyMap<string, number>[]): (number | undefined)[] => all.map((words) => words.get("AnonHugePages"));
  // How many there are is the machine's business.
  const [made = 0, ...others] = huge(after);
  assert.ok(made > 0, stderr);
  assert.deepEqual(others, huge(before).slice(1));
});

test("mappings that were read before the freeze are as they are, or it is told", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const list = join(directory, "list");
  const { pid } = start(t, compile("advised.c", directory), [list]);
  const steps = (count: number): Promise<true> =>
    until(`step ${count}`, () => existsSync(list) && readFileSync(list, "latin1").split("\n").length > count && (true as const));
  const step = async (count: number): Promise<void> => {
    process.kill(pid, "SIGUSR1");
    await steps(count + 1);
  };
  await steps(1);
  const image = join(directory, "image.elf");
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running", "-v");
  assert.equal(status, 0, stderr);
  assert.match(stderr, /1 forks keep what they can/);
  assert.doesNotMatch(stderr, /once more/);
  const checkpoint = await (await registry.load("ckpt-elf")).read?.(image, { verify: true });
  t.after(() => checkpoint?.close());
  const flags = (from: readonly { readonly start: bigint; readonly vmFlags: bigint }[] | undefined): (readonly bigint[])[] | undefined =>
    from?.map(({ start, vmFlags }) => [start, vmFlags]);
  assert.deepEqual(flags(checkpoint?.tables.vmas), flags(readMappings(pid)));

  const early = EarlyMappings.read(pid);
  assert.ok(early);
  const confirm = (): void => {
    early.look(pid);
    early.awaitLook(true);
    early.confirm();
  };
  early.look(pid);
  early.confirm();
  assert.ok(early.take());
  confirm();
  for (const count of [1, 2, 3]) {
    await step(count);
    assert.ok(early.take(), "what changed is not in maps");
    assert.throws(confirm, StaleMappings);
  }
  await step(4);
  assert.equal(early.take(), undefined);
});
