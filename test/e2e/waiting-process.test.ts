// SPDX-License-Identifier: Apache-2.0
/** A dump of the process that waits for a resumed program, or of its namespace's init, is a dump of the program. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { compile, endTree, isAlive, run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const isRoot = process.getuid?.() === 0;
const nobody = 65534;
const asNobody = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
const users = isRoot
  ? ([
      ["root", []],
      ["an ordinary user", asNobody],
    ] as const)
  : ([["an ordinary user", []]] as const);

/** A command as spawn takes it. */
const split = ([head = "", ...rest]: readonly string[]): [string, string[]] => [head, rest];

interface Resumed {
  readonly directory: string;
  readonly log: string;
  /** Runs a command as the user of this test. */
  readonly as: (command: string, ...args: string[]) => ReturnType<typeof run>;
  readonly words: readonly string[];
  readonly image: string;
}

async function firstImage(t: TestContext, words: readonly string[]): Promise<Resumed> {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755);
  if (words.length > 0) chownSync(directory, nobody, nobody);
  const log = join(directory, "log");
  const { pid } = start(t, ...split([...words, compile("counter.c", directory), log]), { cwd: directory });
  await moreTicks(log, 3);
  const as = (command: string, ...args: string[]): ReturnType<typeof run> => run(...split([...words, command, ...args]));
  const image = join(directory, "first.elf");
  const dumped = as(crimgCommand, "dump", String(pid), "-o", image);
  assert.equal(dumped.status, 0, dumped.stderr);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  return { directory, log, as, words, image };
}

/** The second image is one of the program, needs nothing of the first, and goes on where the program was. */
async function assertSecond(t: TestContext, { directory, log, as, words, image }: Resumed, pid: number): Promise<void> {
  const second = join(directory, "second.elf");
  const dumped = as(crimgCommand, "dump", String(pid), "-o", second);
  assert.equal(dumped.status, 0, dumped.stderr);
  await until("the waiting process has ended", () => !isAlive(pid));
  const shown = JSON.parse(as(crimgCommand, "show", "--json", second).stdout) as { tasks?: unknown[] };
  assert.equal(JSON.stringify(shown).includes("first.elf"), false, "the first image is part of nothing");
  rmSync(image);
  const again = spawn(...split([...words, second]), { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  let complaints = "";
  again.stderr.on("data", (chunk) => (complaints += String(chunk)));
  t.after(() => endTree(again.pid ?? 0));
  await moreTicks(log, 3).catch((error: unknown) => assert.fail(`${String(error)}: ${again.exitCode ?? again.signalCode} ${complaints}`));
  assertUnbroken(log);
}

for (const [user, words] of users) {
  for (const mode of user === "root" ? (["same", "namespace"] as const) : (["auto"] as const)) {
    test(`${user}, --pid ${mode}: the process that the shell waits for`, { timeout: 120_000 }, async (t) => {
      const resumed = await firstImage(t, words);
      const waiter = spawn(...split([...words, resumed.image, "--pid", mode]), { cwd: resumed.directory, stdio: "ignore" });
      const { pid } = waiter;
      assert.ok(pid !== undefined);
      t.after(() => endTree(pid));
      await moreTicks(resumed.log, 3);
      const ended = new Promise<string>((done) => waiter.on("exit", (code, signal) => done(signal ?? String(code))));
      await assertSecond(t, resumed, pid);
      // As when the program itself is killed.
      assert.equal(await ended, mode === "same" ? "SIGKILL" : "137");
    });

    if (mode === "same") continue;
    test(`${user}, --pid ${mode}: the process that --pidfile names`, { timeout: 120_000 }, async (t) => {
      const resumed = await firstImage(t, words);
      const pidfile = join(resumed.directory, "pid");
      const command = split([...words, resumed.image, "--pid", mode, "--detach", "--pidfile", pidfile]);
      // The init keeps the standard streams: a pipe would not end.
      assert.equal(spawnSync(...command, { stdio: "ignore", timeout: 30_000 }).status, 0);
      const pid = Number(readFileSync(pidfile, "utf8"));
      t.after(() => endTree(pid));
      await moreTicks(resumed.log, 3);
      assert.ok(treeOf(pid).length === 2, "an init and the program");
      await assertSecond(t, resumed, pid);
    });
  }
}

test("crimg run: the process before its command, and its init, mean the command", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const runner = start(t, crimgCommand, ["run", "--image", join(directory, "job.elf"), "--", compile("counter.c", directory), log], {
    cwd: directory,
  });
  await moreTicks(log, 3);
  const [, waiter = 0, init = 0, command = 0] = treeOf(runner.pid);
  assert.ok(command !== 0, "crimg, a waiting process, an init, the command");
  for (const pid of [waiter, init, command]) {
    const image = join(directory, `${pid}.elf`);
    const dumped = run(crimgCommand, ["dump", String(pid), "-o", image, "--leave-running"]);
    assert.equal(dumped.status, 0, dumped.stderr);
    assert.match(run(crimgCommand, ["show", image]).stdout, /^ {2}1 process, 1 thread/m);
  }
  await moreTicks(log, 3);
  assertUnbroken(log);
});

test("the program itself, where it is asked for, is dumped as before", { timeout: 120_000 }, async (t) => {
  const resumed = await firstImage(t, []);
  const waiter = start(t, resumed.image, [], { cwd: resumed.directory });
  const pid = await until("the program is there", () => treeOf(waiter.pid).at(-1) !== waiter.pid && treeOf(waiter.pid).at(-1));
  await moreTicks(resumed.log, 3);
  const second = join(resumed.directory, "second.elf");
  const dumped = resumed.as(crimgCommand, "dump", String(pid), "-o", second);
  assert.equal(dumped.status, 0, dumped.stderr);
});
