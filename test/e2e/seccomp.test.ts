// SPDX-License-Identifier: Apache-2.0
/** Filters and strict mode of seccomp come back thread by thread, and none of them judges the restore. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { criuDump, criuRestore } from "../support/criu-run.js";
import { compile, crimg, isAlive, start, temporaryDirectory, until } from "../support/processes.js";
import { dumped, resume } from "../support/dump-and-resume.js";
import { criuBin, noCriu } from "../support/project.js";

const skip = process.getuid?.() === 0 ? false : "needs root: only root sees filters, and may suspend them";
const timeout = 120_000;

interface Started {
  readonly pid: number;
  readonly directory: string;
  readonly log: string;
  readonly image: string;
}

async function startProgram(t: TestContext, ...words: string[]): Promise<Started> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  chmodSync(directory, 0o755);
  writeFileSync(log, "", { mode: 0o666 });
  chmodSync(log, 0o666);
  const { pid } = start(t, compile("filters.c", directory, "-pthread"), [log, ...words], { cwd: directory });
  await until("the program is ready", () => readFileSync(log, "utf8").includes("ready"));
  return { pid, directory, log, image: join(directory, "image.elf") };
}

/** What the threads say of their filters, in alphabetical order. */
async function said(pid: number, log: string, count: number): Promise<string[]> {
  writeFileSync(log, "");
  process.kill(pid, "SIGUSR1");
  const lines = (): string[] => readFileSync(log, "utf8").trim().split("\n");
  await until("all have told", () => lines().length >= count, 20);
  return lines().sort();
}

const threads = [
  "child getpgid=91 sync=9 io_setup=94 mode=2 filters=2 nnp=0 uid=0",
  "first getpgid=91 sync=9 io_setup=14 mode=2 filters=1 nnp=0 uid=0",
  "second getpgid=91 sync=9 io_setup=14 mode=2 filters=1 nnp=0 uid=0",
  "third getpgid=91 sync=9 io_setup=93 mode=2 filters=2 nnp=0 uid=0",
];

test("every thread is under its own filters again, the kernel knows those in common, and strict mode kills", {
  skip,
  timeout,
}, async (t) => {
  const { pid, directory, log, image } = await startProgram(t);
  await dumped(pid, image);
  assert.match(crimg("show", image, "state").stdout, /seccomp +filters of 4, 4 instructions/);
  assert.match(crimg("validate", image).stdout, /nothing wrong/);
  const second = resume(t, image, directory);
  assert.deepEqual(await said(second, log, 5), [...threads, "sync names a thread"].sort());
  await dumped(second, join(directory, "second.elf"), "--rehearse");
  const third = resume(t, join(directory, "second.elf"), directory);
  assert.deepEqual(await said(third, log, 5), [...threads, "strict ended by 9"].sort());
});

test("filters of a program that has given up the right to install them", { skip, timeout }, async (t) => {
  const { pid, directory, log, image } = await startProgram(t, "after");
  await dumped(pid, image);
  const mine = threads.filter((line) => !line.startsWith("child")).map((line) => line.replace("uid=0", "uid=65534"));
  assert.deepEqual(await said(resume(t, image, directory), log, 3), mine);
});

test("a filter with a listener is refused by name, and the program goes on", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const script = [
    "import ctypes, os, struct, time",
    "libc = ctypes.CDLL(None)",
    // load number; if 157 (prctl), ask the listener; allow
    "code = struct.pack('HBBI'*4, 0x20,0,0,0, 0x15,0,1,157, 6,0,0,0x7fc00000, 6,0,0,0x7fff0000)",
    "buf = ctypes.create_string_buffer(code)",
    "prog = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(buf)))",
    "assert libc.syscall(317, 1, 8, prog) > 0",
    "open('ready', 'w').close()",
    "time.sleep(600)",
  ];
  const { pid } = start(t, "python3", ["-c", script.join("\n")], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  const { status, stderr } = crimg("dump", String(pid), "-o", join(directory, "image.elf"));
  assert.equal(status, 4, stderr);
  assert.match(stderr, /a seccomp filter with a listener/);
  assert.match(stderr, /fd \d+ of \d+ \(python3\): a seccomp listener/);
  assert.ok(isAlive(pid));
});

const skipCriu = skip || (criuBin === undefined && noCriu);

test("CRIU takes crimg's filters again", { skip: skipCriu, timeout }, async (t) => {
  const { pid, directory, log, image } = await startProgram(t);
  await dumped(pid, image);
  const converted = crimg("convert", image, join(directory, "criu"), "--to", "criu");
  assert.equal(converted.status, 0, converted.stderr);
  criuRestore(t, pid, join(directory, "criu"));
  assert.deepEqual(
    (await said(pid, log, 5)).filter((line) => !line.startsWith("sync")),
    threads,
  );
});

test("crimg takes CRIU's filters again", { skip: skipCriu, timeout }, async (t) => {
  const { pid, directory, log, image } = await startProgram(t);
  await criuDump(pid, join(directory, "criu"));
  const converted = crimg("convert", join(directory, "criu"), image);
  assert.equal(converted.status, 0, converted.stderr);
  assert.deepEqual(
    (await said(resume(t, image, directory), log, 5)).filter((line) => !line.startsWith("sync")),
    threads,
  );
});
