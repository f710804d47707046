// SPDX-License-Identifier: Apache-2.0
/** When a dump goes wrong: one clear message, the documented status, the target as before, and no file. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { moreTicks } from "../support/cycle.js";
import { compile, crimg, run, start, temporaryDirectory, until, type Outcome } from "../support/processes.js";
import { crimgCommand, projectRoot } from "../support/project.js";
import { differences, treeState } from "../support/tree-state.js";

/** A message names the object, and nobody sees a stack trace. */
function assertRefused(outcome: Outcome, message: RegExp, status = 4): void {
  assert.match(outcome.stderr, message);
  assert.doesNotMatch(outcome.stderr, /^\s+at /m, "a stack trace");
  assert.equal(outcome.status, status, outcome.stderr);
}

/** A counting process with its log, in a directory of its own. */
async function counting(t: TestContext): Promise<{ directory: string; pid: number; log: string }> {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const { pid } = start(t, compile("counter.c", directory, "-static"), [log], { cwd: directory });
  await moreTicks(log, 2);
  return { directory, pid, log };
}

/** Nothing but what was there before the attempt. */
const names = (directory: string): string[] => readdirSync(directory).sort();

test("no such process", (t) => {
  const directory = temporaryDirectory(t);
  assertRefused(crimg("dump", "4194303", "-o", join(directory, "image.elf")), /no (such )?process.*4194303|4194303.*no (such )?process/i);
  assert.deepEqual(names(directory), []);
});

test("a kernel thread", { skip: process.getuid?.() !== 0 && "needs root" }, (t) => {
  const directory = temporaryDirectory(t);
  assertRefused(crimg("dump", "2", "-o", join(directory, "image.elf")), /kernel thread/);
  assert.deepEqual(names(directory), []);
});

test("a 32-bit program", async (t) => {
  const directory = temporaryDirectory(t);
  const program = join(directory, "compat");
  const made = run("cc", ["-m32", "-nostdlib", "-static", "-o", program, join(projectRoot, "test/programs/compat.S")]);
  if (made.status !== 0) return t.skip("the compiler makes no 32-bit programs");
  const { pid } = start(t, program, []);
  await until("it runs, if this kernel lets it", () => readlinkSync(`/proc/${pid}/exe`) === program);
  assertRefused(crimg("dump", String(pid), "-o", join(directory, "image.elf")), /is a 32-bit program/);
  assert.deepEqual(names(directory), ["compat"]);
});

test("crimg's own ancestor", (t) => {
  const directory = temporaryDirectory(t);
  assertRefused(crimg("dump", String(process.pid), "-o", join(directory, "image.elf")), /ancestor|parent/);
  assert.deepEqual(names(directory), []);
});

test("output exists, and --force replaces it", async (t) => {
  const { directory, pid, log } = await counting(t);
  const image = join(directory, "image.elf");
  writeFileSync(image, "mine");
  assertRefused(crimg("dump", String(pid), "-o", image), /image\.elf.*exists|exists.*image\.elf/, 2);
  assert.equal(readFileSync(image, "utf8"), "mine");
  await moreTicks(log, 2);
  const forced = crimg("dump", String(pid), "-o", image, "--force", "--leave-running");
  assert.equal(forced.status, 0, forced.stderr);
  assert.notEqual(readFileSync(image).length, 4);
  await moreTicks(log, 2);
});

test("a task that is traced already", async (t) => {
  const { directory, pid, log } = await counting(t);
  if (spawnSync("sh", ["-c", "command -v strace"]).status !== 0) return t.skip("strace is not installed");
  start(t, "strace", ["-qq", "-o", "/dev/null", "-p", String(pid)]);
  await until("strace has attached", () => !/^TracerPid:\t0$/m.test(readFileSync(`/proc/${pid}/status`, "utf8")));
  assertRefused(crimg("dump", String(pid), "-o", join(directory, "image.elf")), /traced.*(strace|\d+)/);
  await moreTicks(log, 2);
});

test("a working directory in /proc of a thread that is gone", async (t) => {
  const directory = temporaryDirectory(t);
  const script = [
    "import os, time",
    "child = os.fork()",
    "if child == 0: time.sleep(600)",
    "os.chdir('/proc/%d/task/%d' % (child, child))",
    "os.kill(child, 9)",
    "os.waitpid(child, 0)",
    `open('${join(directory, "ready")}', 'w')`,
    "time.sleep(600)",
  ].join("\n");
  const { pid } = start(t, "python3", ["-c", script]);
  await until("it stands there", () => readdirSync(directory).includes("ready"));
  const before = names(directory);
  assertRefused(
    crimg("dump", String(pid), "-o", join(directory, "image.elf")),
    /current directory of \d+ \(python3\): \/proc\/\d+\/task\/\d+ \(deleted\) told of a process or thread that is gone/,
  );
  assert.deepEqual(names(directory), before);
});

test("what crimg cannot keep is named, and nothing is written", async (t) => {
  const directory = temporaryDirectory(t);
  const script = "import ctypes, time\nfd = ctypes.CDLL(None).syscall(444, ctypes.byref(ctypes.c_uint64(1)), 8, 0)\ntime.sleep(600)";
  const child = start(t, "python3", ["-c", script], { cwd: directory });
  await until("the descriptor is there", () => {
    try {
      return readdirSync(`/proc/${child.pid}/fd`).some((fd) => readlinkSync(`/proc/${child.pid}/fd/${fd}`).includes("landlock"));
    } catch {
      return false; // closed while we looked
    }
  });
  const before = treeState(child.pid);
  assertRefused(
    crimg("dump", String(child.pid), "-o", join(directory, "image.elf")),
    new RegExp(`fd \\d+ of ${child.pid}.*a landlock ruleset`),
  );
  assert.deepEqual(names(directory), []);
  assert.deepEqual(differences(before, treeState(child.pid)), []);
});

test("no room for the image", async (t) => {
  const { directory, pid, log } = await counting(t);
  const before = names(directory);
  // A limit on file sizes stops the writing in the middle, as a full disk would.
  const outcome = run("bash", ["-c", `trap '' XFSZ; ulimit -f 512; exec ${crimgCommand} dump ${pid} -o ${join(directory, "image.elf")}`]);
  assertRefused(outcome, /image\.elf/, 2);
  assert.deepEqual(names(directory), before);
  await moreTicks(log, 2);
});

test("Ctrl-C in mid-dump", async (t) => {
  const directory = temporaryDirectory(t);
  const script =
    "import os, time\nkept = os.urandom(1 << 20) * 800\nopen('ready', 'w').close()\nn = 0\nwhile True:\n n += 1\n open('log', " +
    "'a').write(f'tick {n}\\n')\n time.sleep(0.02)";
  const child = start(t, "python3", ["-c", script], { cwd: directory });
  await until("the memory is filled", () => names(directory).includes("ready"), 60);
  const before = names(directory).concat("log").sort();
  const dump = spawn(crimgCommand, ["dump", String(child.pid), "-o", join(directory, "image.elf")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let words = "";
  dump.stderr.on("data", (chunk) => (words += String(chunk)));
  await until(
    "the target is frozen",
    () => dump.exitCode !== null || !/^TracerPid:\t0$/m.test(readFileSync(`/proc/${child.pid}/status`, "utf8")),
  );
  dump.kill("SIGINT");
  await until("the dump has ended", () => (dump.exitCode ?? dump.signalCode) !== null, 30);
  assert.ok(dump.exitCode === 130 || dump.signalCode === "SIGINT", `${dump.exitCode} ${dump.signalCode} ${words}`);
  assert.doesNotMatch(words, /^\s+at /m);
  assert.deepEqual(
    names(directory).filter((name) => name !== "log"),
    before.filter((name) => name !== "log"),
  );
  await moreTicks(join(directory, "log"), 3);
});

test("a process whose first thread has ended while another runs on is named as that", async (t) => {
  const directory = temporaryDirectory(t);
  const script = [
    "import ctypes, threading, time",
    "threading.Thread(target=time.sleep, args=(600,)).start()",
    "ctypes.CDLL(None).pthread_exit(None)",
  ];
  const { pid } = start(t, "/usr/bin/python3", ["-c", script.join("\n")], { cwd: directory });
  await until("the first thread has ended", () => /^State:\tZ/m.test(readFileSync(`/proc/${pid}/task/${pid}/status`, "utf8")));
  assertRefused(crimg("dump", String(pid), "-o", join(directory, "image.elf")), /its first thread has ended while others run on/);
  assert.deepEqual(names(directory), []);
});
