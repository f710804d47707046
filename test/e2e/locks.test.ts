// SPDX-License-Identifier: Apache-2.0
/** File locks and leases come back with their owners, or the resume is refused before anything runs. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { criuDump, criuRestore } from "../support/criu-run.js";
import { crimg, run, start, temporaryDirectory, until } from "../support/processes.js";
import { dumped, resume } from "../support/dump-and-resume.js";
import { criuBin, noCriu } from "../support/project.js";

const skip = existsSync("/usr/bin/python3") ? false : "python3 is not installed";
const timeout = 180_000;

/**
 * A parent with posix, OFD and flock locks and a lease that is being broken, and a child with a posix lock through an
 * inherited description. On SIGUSR1 the parent says what /proc shows of each.
 */
const program = `
import fcntl, json, os, signal, struct, sys, time
signal.signal(signal.SIGIO, lambda *_: None)
open('data', 'w').write('x' * 100)
a = open('data', 'r+'); fcntl.lockf(a, fcntl.LOCK_EX, 10, 5)
b = open('data', 'r+'); fcntl.fcntl(b, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 50, 0, 0))
c = open('other', 'w'); fcntl.flock(c, fcntl.LOCK_SH)
open('leased', 'w').close()
d = open('leased'); fcntl.fcntl(d, fcntl.F_SETLEASE, fcntl.F_RDLCK)
open('broken', 'w').close()
e = open('broken'); fcntl.fcntl(e, fcntl.F_SETLEASE, fcntl.F_RDLCK)
try: os.open('broken', os.O_WRONLY | os.O_NONBLOCK)
except BlockingIOError: pass
child = os.fork()
if child == 0:
    fcntl.lockf(a, fcntl.LOCK_SH, 5, 70)
    open('child', 'w').close()
    while True: time.sleep(60)
def locks(pid, f):
    # number, owner and device differ from run to run
    lines = [l.split() for l in open(f'/proc/{pid}/fdinfo/{f.fileno()}') if l.startswith('lock')]
    return [' '.join([w[2], w[3], w[4], 'own' if int(w[5]) in (pid, -1) or w[2] in ('FLOCK', 'LEASE') else w[5], *w[7:]]) for w in lines]
def look(*_):
    json.dump({n: locks(p, f) for n, p, f in (('posix', os.getpid(), a), ('ofd', os.getpid(), b), ('flock', os.getpid(), c),
        ('lease', os.getpid(), d), ('broken', os.getpid(), e), ('child', child, a))}, open('seen.new', 'w'))
    os.rename('seen.new', 'seen')
signal.signal(signal.SIGUSR1, look)
while not os.path.exists('child'): time.sleep(0.01)
open('ready', 'w').close()
while True: time.sleep(60)
`;

const whole = {
  posix: ["POSIX ADVISORY WRITE own 5 14"],
  ofd: ["OFDLCK ADVISORY READ own 50 EOF"],
  flock: ["FLOCK ADVISORY READ own 0 EOF"],
  lease: ["LEASE ACTIVE READ own 0 EOF"],
  broken: ["LEASE BREAKING UNLCK own 0 EOF"],
  child: ["POSIX ADVISORY READ own 70 74"],
};

async function startProgram(t: TestContext, directory: string): Promise<number> {
  const script = join(directory, "program.py");
  writeFileSync(script, program);
  const { pid } = start(t, "/usr/bin/python3", [script], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return pid;
}

async function seenBy(pid: number, directory: string): Promise<unknown> {
  const path = join(directory, "seen");
  rmSync(path, { force: true });
  process.kill(pid, "SIGUSR1");
  await until("the program has looked", () => existsSync(path));
  return JSON.parse(readFileSync(path, "utf8"));
}

test("locks of every kind come back with their owners, twice", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  let pid = await startProgram(t, directory);
  assert.deepEqual(await seenBy(pid, directory), whole);
  for (const round of [1, 2]) {
    const image = join(directory, `${round}.elf`);
    await dumped(pid, image);
    const shown = crimg("show", image, "files");
    assert.match(shown.stdout, /posix write lock of bytes 5 to 14 of .*data/);
    pid = resume(t, image, directory);
    assert.deepEqual(await seenBy(pid, directory), whole);
  }
});

test("a lock that another process has taken meanwhile is named, and nothing runs", { skip, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const image = join(directory, "image.elf");
  const pid = await startProgram(t, directory);
  await dumped(pid, image);
  const holder = [
    "import fcntl, time",
    "f = open('other')",
    "fcntl.flock(f, fcntl.LOCK_EX)",
    "open('held', 'w').close()",
    "time.sleep(600)",
  ];
  const { pid: other } = start(t, "/usr/bin/python3", ["-c", holder.join("\n")], { cwd: directory });
  await until("the lock is held", () => existsSync(join(directory, "held")));
  const refused = run(image, ["--detach"]);
  assert.equal(refused.status, 125, refused.stderr);
  assert.match(refused.stderr, /take the read lock \(flock\) of \S+other at fd \d+ again: Resource temporarily unavailable/);
  assert.match(refused.stderr, /another process has it now/);
  process.kill(other, "SIGKILL");
  await until("the other is gone", () => !existsSync(`/proc/${other}`));
  assert.deepEqual(await seenBy(resume(t, image, directory), directory), whole);
});

const skipCriu = skip || (criuBin === undefined && noCriu);

test("CRIU takes crimg's locks again", { skip: skipCriu, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const image = join(directory, "image.elf");
  const pid = await startProgram(t, directory);
  await dumped(pid, image);
  assert.equal(crimg("convert", image, join(directory, "criu"), "--to", "criu").status, 0);
  criuRestore(t, pid, join(directory, "criu"));
  assert.deepEqual(await seenBy(pid, directory), whole);
});

test("crimg takes CRIU's locks again", { skip: skipCriu, timeout }, async (t) => {
  const directory = temporaryDirectory(t);
  const image = join(directory, "image.elf");
  const pid = await startProgram(t, directory);
  await criuDump(pid, join(directory, "criu"));
  assert.equal(crimg("convert", join(directory, "criu"), image).status, 0);
  // CRIU 4.2 does not see a posix lock that a child took through an inherited description.
  assert.deepEqual(await seenBy(resume(t, image, directory), directory), { ...whole, child: [] });
});
