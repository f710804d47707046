// SPDX-License-Identifier: Apache-2.0
/** A program resumed from a core can wait for its threads: the C library's thread blocks tell what the kernel clears at their end. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { convert, open } from "../../src/index.js";
import { projectRoot } from "../support/project.js";
import { endTree, run, start, temporaryDirectory, until } from "../support/processes.js";

const builds = [
  { name: "glibc", command: ["cc", "-pthread"] },
  { name: "glibc, static", command: ["cc", "-pthread", "-static"] },
  { name: "musl", command: ["musl-gcc"] },
  { name: "musl, static", command: ["musl-gcc", "-static"] },
] as const;

for (const { name, command } of builds) {
  test(`${name}: pthread_join works in a process resumed from a core`, { timeout: 120_000 }, async (t) => {
    if (run("sh", ["-c", `command -v ${command[0]} && command -v gcore`]).status !== 0) return t.skip(`no ${command[0]} or gcore`);
    const directory = temporaryDirectory(t);
    const program = join(directory, "join");
    const built = run(command[0], [...command.slice(1), "-O1", "-o", program, join(projectRoot, "test/programs/join.c")]);
    assert.equal(built.status, 0, built.stderr);
    const flag = join(directory, "flag");
    const child = start(t, program, [flag], { cwd: directory, stdio: ["ignore", "pipe", "ignore"] });
    let said = "";
    child.stdout?.on("data", (chunk) => (said += String(chunk)));
    await until("both threads are there", () => said.includes("ready") && existsSync(`/proc/${child.pid}/task`));
    const gcore = run("gcore", ["-o", join(directory, "core"), String(child.pid)], { seconds: 90 });
    const core = join(directory, `core.${child.pid}`);
    assert.ok(existsSync(core), gcore.stderr);
    endTree(child.pid);
    await until("the program is gone", () => !existsSync(`/proc/${child.pid}`));

    const checkpoint = await open(core);
    assert.ok(checkpoint.model.tables.threads.every(({ clearChildTid }) => clearChildTid !== 0n));
    checkpoint.close();
    const image = join(directory, "image.elf");
    const { losses } = await convert(core, image);
    assert.ok(losses.some(({ code, text }) => code === "core.threads" && /thread control blocks/.test(text)));
    const resumed = start(t, image, [], { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    resumed.stdout?.on("data", (chunk) => (output += String(chunk)));
    resumed.stderr?.on("data", (chunk) => (output += String(chunk)));
    await until("the program runs again", () => existsSync(`/proc/${child.pid}/task`) || resumed.exitCode !== null, 30);
    writeFileSync(flag, "");
    await until(
      "it has joined its threads",
      () => {
        assert.ok(resumed.exitCode === null || output.includes("joined"), `${resumed.exitCode}: ${output}`);
        return output.includes("joined");
      },
      30,
    );
  });
}
