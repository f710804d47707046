// SPDX-License-Identifier: Apache-2.0
/** Programs that somebody types into, dumped in one terminal and resumed in another, twice: less, and bash with its jobs. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { run, temporaryDirectory } from "../support/processes.js";
import { crimgCommand, projectRoot } from "../support/project.js";
import { missing } from "../support/two-lives.js";
import { users } from "../support/users.js";

const timeout = 90_000;
type Steps = readonly (readonly [keys: string, wanted: string, becomesJob?: "job"])[];

interface Typed {
  readonly command: readonly string[];
  /** As /proc/PID/comm has it. */
  readonly name: string;
  readonly before: Steps;
  readonly after: Steps;
  readonly end: Steps;
  readonly status: number;
}

for (const user of users) {
  const type = (directory: string, { status, ...task }: Typed): void => {
    const { stdout, stderr } = run("/usr/bin/python3", [
      join(projectRoot, "test/programs/typing.py"),
      JSON.stringify({
        ...task,
        command: [...user.words, ...task.command],
        dump: [...user.words, crimgCommand, "dump"],
        resume: user.words,
        images: [1, 2].map((life) => join(directory, `${life}.elf`)),
      }),
    ]);
    assert.deepEqual(JSON.parse(stdout || "null"), { missing: [], status }, stderr);
  };

  test(`less: where it is in its file, ${user.name}`, { skip: missing("less", "python3") || user.skip, timeout }, (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    const file = join(directory, "file");
    writeFileSync(file, Array.from({ length: 1000 }, (_, line) => `line ${line + 1}\n`).join(""));
    type(directory, {
      command: ["less", file],
      name: "less",
      before: [["500g", "line 522"]],
      // A window that changes its size has less draw all of it again.
      after: [
        ["", "line 500\r\nline 501"],
        ["g", "line 22"],
        ["500g", "line 522"],
      ],
      end: [["q", ""]],
      status: 0,
    });
  });

  test(`bash with a stopped and a foreground job, ${user.name}`, { skip: missing("bash", "python3") || user.skip, timeout }, (t) => {
    const directory = temporaryDirectory(t);
    user.own(directory);
    type(directory, {
      command: ["bash", "--norc", "--noprofile", "-i"],
      name: "bash",
      before: [
        ["PS1='ready''> '; value=41\n", "ready> "],
        ["sleep 1000\n", "", "job"],
        ["\u001a", "ready> "],
        ["sleep 2000 &\n", "ready> "],
        ["cat\n", "", "job"],
        ["first\n", "first\r\nfirst\r\n"],
      ],
      after: [["more\n", "more\r\nmore\r\n"]],
      end: [
        ["\u0003", "ready> "],
        ["jobs\n", "[1]+  Stopped                 sleep 1000\r\n[2]-  Running                 sleep 2000 &"],
        ["echo =$((value+1))\n", "=42\r\n"],
        ["kill %2; fg %1\n", "sleep 1000\r\n", "job"],
        ["\u0003", "ready> "],
        ["exit 7\n", "exit"],
      ],
      status: 7,
    });
  });
}
