// SPDX-License-Identifier: Apache-2.0
/** io_uring: rings come back at their places and in their positions, with what waits in them; busy ones are refused. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { compile, crimg, start, temporaryDirectory, until } from "../support/processes.js";
import { twoLives } from "../support/two-lives.js";
import { users } from "../support/users.js";

const timeout = 90_000;
const isPermitted =
  !existsSync("/proc/sys/kernel/io_uring_disabled") || readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8") === "0\n";
const skip = isPermitted ? false : "io_uring is not permitted here";

const rings = [
  { name: "a small ring", args: ["8", "0"] },
  { name: "a ring that a thread uses", args: ["64", "0", "thread"] },
  { name: "a large ring with registered buffers, in memory that is mapped too long", args: ["1024", "0", "buffers"] },
  // IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_NO_SQARRAY
  { name: "a ring of one thread", args: ["16", "0x3000"] },
  { name: "a ring without an array", args: ["32", "0x10000"] },
];

for (const user of users) {
  for (const { name, args } of user.isPrivileged ? rings : rings.slice(0, 1)) {
    test(`${name}, ${user.name}`, { skip: skip || user.skip, timeout }, async (t) => {
      const directory = temporaryDirectory(t);
      user.own(directory);
      const log = join(directory, "log");
      const [command, ...words] = user.words;
      const { pid } = start(t, command, [...words, compile("rings.c", directory, "-pthread"), log, ...args], { cwd: directory });
      await moreTicks(log, 15);
      const maps = (of: number): string[] =>
        readFileSync(`/proc/${of}/maps`, "latin1")
          .split("\n")
          .filter((line) => line.includes("io_uring"))
          .map((line) => line.split(" ").slice(0, 3).join(" "));
      const before = maps(pid);
      assert.equal(before.length, 2);
      await twoLives(t, {
        pid,
        directory,
        user,
        async check(_round, resumed) {
          await moreTicks(log, 15);
          assert.deepEqual(maps(resumed), before);
        },
      });
      assertUnbroken(log);
    });
  }
}

test("a ring goes on undisturbed after a dump with --leave-running", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid } = start(t, compile("rings.c", directory, "-pthread"), [log, "8", "0"]);
  for (const round of [1, 2, 3]) {
    await moreTicks(log, 10);
    const { status, stderr } = crimg("dump", String(pid), "-o", join(directory, `${round}.elf`), "--leave-running");
    assert.equal(status, 0, stderr);
  }
  await moreTicks(log, 10);
  assertUnbroken(log);
  const { status, stdout, stderr } = crimg("validate", join(directory, "3.elf"));
  assert.equal(status, 0, stdout + stderr);
});

const refused = [
  { args: ["8", "0", "busy"], why: /an io_uring with 1 requests? that waits? for a file/ },
  { args: ["8", "0", "eventfd"], why: /an io_uring with a registered eventfd/ },
  { args: ["8", "0x1000", "thread"], why: /an io_uring that belongs to another thread than the first one/ },
];

for (const { args, why } of refused) {
  test(`refused by name: ${why.source}`, { skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    const log = join(directory, "log");
    const { pid } = start(t, compile("rings.c", directory, "-pthread"), [log, ...args]);
    // One that is busy comes to one tick, and no further.
    await until("it ticks", () => existsSync(log) && readFileSync(log, "latin1").includes("tick"));
    if (args.includes("busy")) await until("it waits", () => readFileSync(`/proc/${pid}/wchan`, "latin1").length > 0);
    const { status, stderr } = crimg("dump", String(pid), "-o", join(directory, "image.elf"));
    assert.notEqual(status, 0);
    assert.match(stderr, why);
  });
}
