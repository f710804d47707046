// SPDX-License-Identifier: Apache-2.0
/**
 * Watches of inotify come back under their numbers, and the events that nobody had read; a program that goes on has them
 * still.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { criuDump, criuRestore } from "../support/criu-run.js";
import { crimg, endTree, run, start, temporaryDirectory, until } from "../support/processes.js";
import { dumped, resume } from "../support/dump-and-resume.js";
import { crimgCommand, criuBin, noCriu, projectRoot } from "../support/project.js";

const skip = existsSync("/usr/bin/python3") ? false : "python3 is not installed";
const timeout = 120_000;

interface Seen {
  readonly events: readonly string[];
  readonly watches: readonly string[];
  readonly full: readonly [number, string];
  readonly unlinked: readonly string[];
  readonly next: number;
  readonly end: readonly string[];
}

interface Started {
  readonly pid: number;
  readonly directory: string;
  readonly image: string;
}

async function startProgram(t: TestContext, ...words: string[]): Promise<Started> {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, "here"));
  const program = join(projectRoot, "test/programs/watches.py");
  const { pid } = start(t, "/usr/bin/python3", [program, join(directory, "here"), ...words], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return { pid, directory, image: join(directory, "image.elf") };
}

async function seenBy(pid: number, directory: string): Promise<Seen> {
  const path = join(directory, "seen");
  rmSync(path, { force: true });
  process.kill(pid, "SIGUSR1");
  await until("the program has looked", () => existsSync(path));
  return JSON.parse(readFileSync(path, "utf8")) as Seen;
}

/** What such a program sees that nobody has dumped. */
async function undisturbed(t: TestContext, ...words: string[]): Promise<Seen> {
  const { pid, directory } = await startProgram(t, ...words);
  const seen = await seenBy(pid, directory);
  assert.ok(seen.events.length >= 30, seen.events.join(" "));
  return seen;
}

/** The second time only the watches are left. */
const later = (seen: Seen): Seen => ({ ...seen, events: [], full: [0, "-"] });

test("watches and waiting events come back as they were, twice", { skip, timeout }, async (t) => {
  const expected = await undisturbed(t);
  const { pid: first, directory, image } = await startProgram(t);
  await dumped(first, image);
  const shown = crimg("show", image, "fds");
  assert.match(shown.stdout, /inotify watches \S+here\/moved, .*\(\d\d events waiting\)/);
  assert.match(crimg("validate", image).stdout, /nothing wrong/);
  const second = resume(t, image, directory);
  assert.deepEqual(await seenBy(second, directory), expected);
  await dumped(second, join(directory, "second.elf"));
  assert.deepEqual(await seenBy(resume(t, join(directory, "second.elf"), directory), directory), later(expected));
});

test("a queue that had overflowed has its first events, and tells so", { skip, timeout }, async (t) => {
  const expected = await undisturbed(t, "full");
  const { pid, directory, image } = await startProgram(t, "full");
  await dumped(pid, image);
  const seen = await seenBy(resume(t, image, directory), directory);
  assert.deepEqual(expected.full, [16385, "-1:4000:-:"]);
  assert.deepEqual(seen.full, [4097, "-1:4000:-:"]);
});

/** A program that went on has the events in its queue, and behind them that some may be missing. */
const withOverflow = (seen: Seen): Seen => ({ ...seen, events: [...seen.events, "-1:4000:-:"] });

test("a program that is left running has its events still", { skip, timeout }, async (t) => {
  const expected = await undisturbed(t);
  const { pid, directory, image } = await startProgram(t);
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running");
  assert.equal(status, 0, stderr);
  assert.deepEqual(await seenBy(pid, directory), withOverflow(expected));
  endTree(pid);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  assert.deepEqual((await seenBy(resume(t, image, directory), directory)).watches, expected.watches);
});

test("a dump that ends on the way gives the events back", { skip, timeout }, async (t) => {
  const expected = await undisturbed(t);
  const { pid, directory, image } = await startProgram(t);
  // The image does not fit.
  const { status } = run("bash", ["-c", `ulimit -f 1; exec "$@"`, "bash", crimgCommand, "dump", String(pid), "-o", image]);
  assert.notEqual(status, 0);
  assert.ok(!existsSync(image));
  assert.deepEqual(await seenBy(pid, directory), withOverflow(expected));
});

test("a watched directory that is gone is named, and nothing runs", { skip, timeout }, async (t) => {
  const { pid, directory, image } = await startProgram(t);
  await dumped(pid, image);
  rmSync(join(directory, "here/linkee"));
  const refused = run(image, ["--detach"]);
  assert.equal(refused.status, 125, refused.stderr);
  assert.match(refused.stderr, /watch \S+linkee again \(wd 7\) for fd \d+ of task \d+ \(python3\): No such file or directory/);
});

const skipCriu = skip || (criuBin === undefined && noCriu);

test("CRIU takes crimg's watches again", { skip: skipCriu, timeout }, async (t) => {
  const expected = await undisturbed(t, "named");
  const { pid, directory, image } = await startProgram(t, "named");
  await dumped(pid, image);
  const converted = crimg("convert", image, join(directory, "criu"), "--to", "criu");
  assert.equal(converted.status, 0, converted.stderr);
  assert.match(converted.stderr, /inotify events that wait are not kept/);
  criuRestore(t, pid, join(directory, "criu"));
  // CRIU 4.2 makes a lasting watch of one for a single event.
  const lasting = expected.watches.map((one) => one.replace("mask:80000002", "mask:2"));
  assert.deepEqual((await seenBy(pid, directory)).watches, lasting);
});

test("crimg takes CRIU's watches again", { skip: skipCriu, timeout }, async (t) => {
  const expected = await undisturbed(t, "named");
  const { pid, directory, image } = await startProgram(t, "named");
  await criuDump(pid, join(directory, "criu"));
  const converted = crimg("convert", join(directory, "criu"), image);
  assert.equal(converted.status, 0, converted.stderr);
  assert.deepEqual(await seenBy(resume(t, image, directory), directory), later(expected));
});
