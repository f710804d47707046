// SPDX-License-Identifier: Apache-2.0
/** States that a dump takes and that a resume has to treat with care: order of seals, room for numbers, early ends. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { assertUnbroken, dumpAndResume, moreTicks } from "../support/cycle.js";
import { projectRoot } from "../support/project.js";
import { compile, crimg, run, start, temporaryDirectory, until } from "../support/processes.js";

/** Starts a program that writes ticks to a log, dumps and resumes it, and sees it tick on without a gap. */
async function cycle(t: TestContext, command: string, args: (log: string) => readonly string[]): Promise<string> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const program = command.endsWith(".c") ? compile(command, directory) : command;
  const { pid } = start(t, program, args(log), { cwd: directory });
  await moreTicks(log, 2);
  await dumpAndResume(t, pid, join(directory, "image.elf"), { mayDiffer: / timers:| syscall:/ });
  await moreTicks(log, 3);
  assertUnbroken(log);
  return readFileSync(log, "utf8");
}

test("memfds are sealed as they were, also against what their mappings still may", async (t) => {
  const log = await cycle(t, "sealed-memfds.c", (path) => [path]);
  // Following links of map_files takes CAP_CHECKPOINT_RESTORE: an ordinary user cannot see the third.
  const hidden = process.getuid?.() === 0 ? "10" : "ffffffff";
  for (const line of log.trim().split("\n")) assert.match(line, new RegExp(`seals 20 12 ${hidden} mode 666 mapped 1 write -1$`));
});

test("files without a name keep owner, times, attributes and flags, and one of O_TMPFILE can still be named", async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  let { pid } = start(t, compile("nameless-files.c", directory), [directory], { cwd: directory });
  await moreTicks(log, 2);
  for (const image of ["one.elf", "two.elf"]) {
    // The name that /proc shows of the first is its inode number, which is another then.
    ({ pid } = await dumpAndResume(t, pid, join(directory, image), { mayDiffer: / fds: .*\/#\d+ \(deleted\)/ }));
    await moreTicks(log, 3);
  }
  process.kill(pid, "SIGHUP");
  await until("it has its name", () => existsSync(join(directory, "named")));
  assert.equal(readFileSync(join(directory, "named"), "utf8"), "content");
  await moreTicks(log, 2);
  assertUnbroken(log);
  const states = readFileSync(log, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.replace(/^tick \d+/, ""));
  assert.equal(new Set(states).size, 1, [...new Set(states)].join("\n"));
});

test("a program whose descriptors reach the hard limit comes back", async (t) => {
  const log = await cycle(t, "/usr/bin/python3", (path) => [join(projectRoot, "test/programs/at-the-limit.py"), path]);
  assert.equal(
    new Set(
      log
        .trim()
        .split("\n")
        .map((line) => line.split(" ")[2]),
    ).size,
    1,
    "the same number of descriptors all the time",
  );
});

for (const period of [100, 1000, 20_000, 60_000]) {
  test(`a periodic timerfd of ${period} ns goes on`, async (t) => {
    await cycle(t, "fast-timerfd.c", (path) => [path, String(period)]);
  });
}

test("threads that end the program at once do so, and nothing else is said", async (t) => {
  const directory = temporaryDirectory(t);
  const program = compile("exits-at-once.c", directory, "-pthread");
  const { pid } = start(t, program, []);
  await until("it has its threads", () => /^Threads:\s+7$/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
  const image = join(directory, "image.elf");
  const { status, stderr } = crimg("dump", String(pid), "-o", image);
  assert.equal(status, 0, stderr);
  await new Promise((resolve) => setTimeout(resolve, 2100));
  for (let turn = 0; turn < 20; turn++)
    assert.deepEqual(run(image, []), { status: 7, signal: null, stdout: "", stderr: "" }, `turn ${turn}`);
});
