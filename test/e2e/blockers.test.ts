// SPDX-License-Identifier: Apache-2.0
/** All that stands in the way of a dump is told in one run; what --ignore leaves out harms nothing else. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, isAlive, run, start, temporaryDirectory, until } from "../support/processes.js";

const skip = existsSync("/usr/bin/python3") ? false : "python3 is not installed";
const timeout = 180_000;

/** Runs python lines in `directory` up to "ready", then counts in the file "ticks". */
async function startPython(t: TestContext, directory: string, lines: readonly string[]): Promise<number> {
  const script = join(directory, "program.py");
  const loop = ["open('ready', 'w').close()", "n = 0", "while True:", "  n += 1; open('ticks', 'w').write(str(n)); time.sleep(0.02)"];
  writeFileSync(script, ["import ctypes, os, socket, sys, time", ...lines, ...loop].join("\n"));
  const child = start(t, "/usr/bin/python3", [script], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return child.pid;
}

/** Waits until the program has counted on. */
async function assertCounts(directory: string): Promise<void> {
  const ticks = (): number => Number(readFileSync(join(directory, "ticks"), "utf8"));
  const before = ticks();
  await until("the program counts on", () => ticks() > before);
}

async function resume(t: TestContext, pid: number, image: string, directory: string): Promise<number> {
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  const pidfile = join(directory, "pid");
  const resumed = run(image, ["--detach", "--pidfile", pidfile]);
  assert.equal(resumed.status, 0, resumed.stderr);
  const root = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(root));
  await assertCounts(directory);
  return root;
}

/** A pipe whose other end another process has, as a CI runner or an editor leaks them. */
const leakedPipe = [
  "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
  "r, w = os.pipe()",
  "if os.fork(): ",
  "  os.close(w); time.sleep(600)",
  "os.setsid(); os.close(r); os.dup2(w, 251); os.close(w)",
];

/** The child of the process that `leakedPipe` leaves holding the other end. */
const childOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim());

test("several refusals are told in one run, as text and as JSON, and the program goes on", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const lines = [
    "fd = ctypes.CDLL(None).syscall(444, ctypes.byref(ctypes.c_uint64(1)), 8, 0)",
    "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); u.setsockopt(17, 1, 1)",
    "v = socket.socket(40, socket.SOCK_STREAM)",
  ];
  const pid = await startPython(t, directory, lines);
  const image = join(directory, "image.elf");
  const refused = crimg("dump", String(pid), "-o", image);
  assert.equal(refused.status, 4, refused.stderr);
  for (const said of [
    /3 reasons prevent this dump/,
    /a landlock ruleset/,
    /a corked UDP socket/,
    /AF_VSOCK/,
    /--ignore socket leaves it out/,
  ]) {
    assert.match(refused.stderr, said);
  }
  const asJson = crimg("dump", String(pid), "-o", image, "--json");
  const { error } = JSON.parse(asJson.stdout) as { error: { code: string; parts: { code: string; ignore: string; hint: string }[] } };
  assert.equal(error.code, "dump.blocked");
  assert.deepEqual(error.parts.map(({ code, ignore }) => [code, ignore]).sort(), [
    ["dump.fd.landlock_ruleset", "descriptor"],
    ["dump.fd.socket_family", "socket"],
    ["dump.fd.udp_cork", "udp"],
  ]);
  assert.equal(existsSync(image), false);
  await assertCounts(directory);
});

for (const words of [["descriptor"], ["pipe"], ["fd:251"]]) {
  test(`a leaked pipe is left out by --ignore ${words.join(" ")}, and the image runs`, { skip, timeout }, async (t) => {
    const directory = temporaryDirectory(t);
    const pid = childOf(await startPython(t, directory, leakedPipe));
    const image = join(directory, "image.elf");
    const refused = crimg("dump", String(pid), "-o", image);
    assert.match(refused.stderr, /fd 251 of \d+ \(\S+\): a pipe whose other end is outside the tree/);
    assert.match(refused.stderr, /--ignore pipe/);
    const dumped = crimg("dump", String(pid), "-o", image, ...words.flatMap((word) => ["--ignore", word]));
    assert.equal(dumped.status, 0, dumped.stderr);
    assert.match(dumped.stderr, /lost: .*fd 251/);
    const root = await resume(t, pid, image, directory);
    assert.equal(existsSync(`/proc/${root}/fd/251`), false);
  });
}

test("what the program surely breaks without is left out only with --force-loss", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  // userfaultfd(2), number 323
  const pid = await startPython(t, directory, ["fd = ctypes.CDLL(None).syscall(323, 1)", "assert fd >= 0"]);
  const image = join(directory, "image.elf");
  const kept = crimg("dump", String(pid), "-o", image, "--ignore", "descriptor");
  assert.equal(kept.status, 4, kept.stderr);
  assert.match(kept.stderr, /userfaultfd[\s\S]*--ignore descriptor --force-loss/);
  await assertCounts(directory);
  const dumped = crimg("dump", String(pid), "-o", image, "--ignore", "descriptor", "--force-loss");
  assert.equal(dumped.status, 0, dumped.stderr);
  await resume(t, pid, image, directory);
});

test("--ignore seccomp harms nobody: calls that crimg makes in the program are not judged by its filter", {
  skip: skip || (process.getuid?.() !== 0 && "needs root: only root may suspend a filter"),
  timeout,
}, async (t) => {
  const directory = temporaryDirectory(t);
  // Kills at prctl(2), which a dump has the program call: load number; if 157, kill the process; allow.
  const filter = [
    "import struct",
    "code = struct.pack('HBBI'*4, 0x20,0,0,0, 0x15,0,1,157, 6,0,0,0x80000000, 6,0,0,0x7fff0000)",
    "buf = ctypes.create_string_buffer(code)",
    "prog = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4, ctypes.addressof(buf)))",
    "libc = ctypes.CDLL(None, use_errno=True)",
    "assert libc.prctl(38, 1, 0, 0, 0) == 0",
    "assert libc.syscall(317, 1, 0, prog) == 0",
  ];
  const pid = await startPython(t, directory, filter);
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image, "--leave-running", "--ignore", "seccomp");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.match(dumped.stderr, /lost: .*seccomp filter/);
  await assertCounts(directory);
  assert.ok(isAlive(pid));
  assert.match(readFileSync(`/proc/${pid}/status`, "utf8"), /^Seccomp:\t2$/m);
});
