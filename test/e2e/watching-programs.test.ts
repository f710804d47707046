// SPDX-License-Identifier: Apache-2.0
/** Real programs that watch files, dumped while these change, and dumped and resumed again. */
import assert from "node:assert/strict";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { waitNow, waitOption } from "../../src/native/index.js";
import { crimg, endTree, start, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { resume } from "../support/dump-and-resume.js";

const timeout = 90_000;

/** Dumps a tree and waits for its end; the first one is node's own child, a resumed one may have become a child of this process. */
async function dumped(pid: number, image: string, isFirst: boolean): Promise<void> {
  const tree = treeOf(pid);
  const { status, stderr } = crimg("dump", String(pid), "-o", image);
  assert.equal(status, 0, stderr);
  await until("the program is gone", () => {
    if (!isFirst) waitNow(pid, waitOption.WALL);
    return tree.every((member) => !existsSync(`/proc/${member}`));
  });
}

test("tail -f into grep: every line of a log that grows all the time", { timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const out = join(directory, "out");
  writeFileSync(log, "");
  writeFileSync(out, "");
  let lines = 0;
  const more = setInterval(() => appendFileSync(log, `line ${lines++}\n`), 2);
  t.after(() => clearInterval(more));
  const { pid: first } = start(t, "bash", ["-c", `tail -n +1 -f ${log} | grep --line-buffered line >> ${out}`], { cwd: directory });
  const seen = (): string[] => readFileSync(out, "utf8").split("\n").filter(Boolean);
  const grown = async (by: number): Promise<void> => {
    const before = seen().length;
    await until("more lines have come through", () => seen().length >= before + by);
  };
  await grown(50);
  let pid = first;
  for (const round of [1, 2]) {
    const image = join(directory, `${round}.elf`);
    await dumped(pid, image, round === 1);
    pid = resume(t, image, directory);
    await grown(50);
  }
  clearInterval(more);
  await until("the last line has come through", () => seen().at(-1) === `line ${lines - 1}`);
  assert.deepEqual(
    seen(),
    Array.from({ length: lines }, (_, index) => `line ${index}`),
  );
});

test("node with fs.watch tells of every file that is made", { timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const watched = join(directory, "watched");
  const out = join(directory, "out");
  mkdirSync(watched);
  const script =
    `const fs = require("fs"); fs.watch(${JSON.stringify(watched)}, ` +
    `(type, name) => fs.appendFileSync(${JSON.stringify(out)}, name + "\\n"));` +
    `fs.writeFileSync(${JSON.stringify(join(directory, "ready"))}, "")`;
  const { pid: first } = start(t, process.execPath, ["-e", script], { cwd: directory });
  await until("it watches", () => existsSync(join(directory, "ready")));
  const seen = (name: string): boolean => existsSync(out) && readFileSync(out, "utf8").split("\n").includes(name);
  let pid = first;
  for (const round of [1, 2]) {
    process.kill(pid, "SIGSTOP");
    for (const number of [1, 2, 3]) writeFileSync(join(watched, `stopped-${round}-${number}`), "");
    const image = join(directory, `${round}.elf`);
    // Stopped, it has read none of these events; it goes on as a stopped one.
    await dumped(pid, image, round === 1);
    pid = resume(t, image, directory);
    process.kill(pid, "SIGCONT");
    writeFileSync(join(watched, `after-${round}`), "");
    for (const name of [`stopped-${round}-1`, `stopped-${round}-2`, `stopped-${round}-3`, `after-${round}`]) {
      await until(`${name} is told`, () => seen(name));
    }
  }
  // It would tell of its own directory's end, in that directory.
  endTree(pid);
});

test("node --watch starts its program anew when it changes", { timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const program = join(directory, "program.mjs");
  const out = join(directory, "out");
  const write = (version: number): void =>
    writeFileSync(
      program,
      `import fs from "node:fs"; fs.appendFileSync(${JSON.stringify(out)}, "version ${version}\\n"); setInterval(() => {}, 1000);`,
    );
  write(0);
  const { pid: first } = start(t, process.execPath, ["--watch", program], { cwd: directory });
  const runs = (version: number) => (): boolean => existsSync(out) && readFileSync(out, "utf8").includes(`version ${version}\n`);
  await until("the program runs", runs(0));
  let pid = first;
  for (const round of [1, 2]) {
    const image = join(directory, `${round}.elf`);
    await dumped(pid, image, round === 1);
    pid = resume(t, image, directory);
    write(round);
    await until(`version ${round} runs`, runs(round));
  }
});
