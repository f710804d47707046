// SPDX-License-Identifier: Apache-2.0
/** crimg run: a job that is frozen, resumed by the same line, and tells how it ended. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimgCommand } from "../support/project.js";
import { closeLeaks, endTree, type Outcome, run, temporaryDirectory, treeOf, until } from "../support/processes.js";

/** Counts to `last` and ends with status 7; each line says its process id and the highest descriptor open at the start. */
const counter = (last: number): string => `
import os, sys, time
top = max(int(fd) for fd in os.listdir('/proc/self/fd')[:-1])
for n in range(1, ${last} + 1):
    print(n, os.getpid(), os.getsid(0), top, flush=True)
    time.sleep(0.05)
sys.exit(7)
`;

interface Place {
  readonly directory: string;
  readonly image: string;
  readonly out: string;
}

function place(t: TestContext): Place {
  const directory = temporaryDirectory(t);
  return { directory, image: join(directory, "job.elf"), out: join(directory, "out") };
}

const python = ["--", "/usr/bin/python3", "-c"];

/** The line of a job, its output appended as a shell's >> does it, with a descriptor too many. */
function startJob(t: TestContext, { directory, out }: Place, ...args: string[]): ChildProcess & { pid: number; errors: () => string } {
  const child = spawn("bash", ["-c", `${closeLeaks}; exec 9</dev/null "$@" >>"$OUT"`, "bash", crimgCommand, "run", ...args], {
    cwd: directory,
    env: { ...process.env, OUT: out },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let text = "";
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const pid = child.pid ?? assert.fail("cannot start");
  t.after(() => endTree(pid));
  return Object.assign(child as ChildProcess & { pid: number }, { errors: () => text });
}

const ending = (child: ChildProcess): Promise<{ code: number | null; signal: string | null }> =>
  new Promise((done) => child.once("close", (code, signal) => done({ code, signal })));

const lines = (path: string): string[] => (existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1) : []);

async function moreLines(path: string, count = 3): Promise<void> {
  const before = lines(path).length;
  await until(`${count} more lines`, () => lines(path).length >= before + count, 30);
}

/** Processes of a job: the waiter, the init, the program. */
function commOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    return "";
  }
}

/** The program itself. While an image is taken crimg has a child to practise on, too. */
const programOf = (pid: number): Promise<number> =>
  until("the program is there", () => treeOf(pid).findLast((member) => commOf(member).startsWith("python")), 30);

test("a job is frozen three times, goes on each time, and its own end is passed on", { timeout: 180_000 }, async (t) => {
  const here = place(t);
  const line = ["--image", "job.elf", ...python, counter(60)];
  for (let round = 0; round < 3; round++) {
    const job = startJob(t, here, ...line);
    const ended = ending(job);
    await moreLines(here.out);
    job.kill("SIGTERM");
    assert.deepEqual(await ended, { code: 85, signal: null }, job.errors());
    assert.match(job.errors(), /^crimg: job\.elf: the job is frozen \(SIGTERM\): /);
    assert.deepEqual(readdirSync(here.directory).sort(), ["job.elf", "out"]);
  }
  const last = startJob(t, here, ...line);
  assert.deepEqual(await ending(last), { code: 7, signal: null }, last.errors());
  assert.equal(existsSync(here.image), false, "nothing is left to resume");
  const rows = lines(here.out).map((row) => row.split(" ").map(Number));
  assert.deepEqual(
    rows.map(([n]) => n),
    Array.from({ length: 60 }, (_, index) => index + 1),
    "no line is lost, none comes twice",
  );
  // The program leads its session, sees the same pid in each life, and was started with descriptors 0 to 2 (3: the listing).
  assert.deepEqual([...new Set(rows.map(([, pid, sid, top]) => `${pid === sid} ${pid} ${top}`))].length, 1);
  assert.equal(rows[0]?.[1], rows[0]?.[2]);
  assert.ok((rows[0]?.[3] ?? 9) <= 3);
});

test("other signals reach the job; a killed job keeps its last image", { timeout: 120_000 }, async (t) => {
  const here = place(t);
  const traps = `
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))
signal.signal(signal.SIGINT, lambda *_: sys.exit(3))
print('ready', flush=True)
while True: time.sleep(0.05)
`;
  const line = ["--image", "job.elf", "--every", "300ms", "--requeue-status", "99", "--on", "USR2", ...python, traps];
  const job = startJob(t, here, ...line);
  const ended = ending(job);
  await until("it runs", () => lines(here.out).includes("ready"));
  job.kill("SIGUSR1");
  await until("the signal came", () => lines(here.out).includes("usr1"));
  await until("an image is taken on the way", () => existsSync(here.image), 30);
  process.kill(await programOf(job.pid), "SIGKILL");
  assert.equal((await ended).code, 137);
  assert.match(job.errors(), /job\.elf is kept/);

  const again = startJob(t, here, ...line);
  const frozen = ending(again);
  await programOf(again.pid);
  again.kill("SIGUSR2");
  assert.equal((await frozen).code, 99, again.errors());

  const third = startJob(t, here, ...line);
  const third$ = ending(third);
  await programOf(third.pid);
  third.kill("SIGUSR1");
  await until("the signal reaches the resumed job", () => lines(here.out).filter((row) => row === "usr1").length > 1);
  third.kill("SIGINT");
  assert.equal((await third$).code, 3);
  assert.ok(existsSync(here.image), "it was told to end");
});

test("a job ends with whoever runs it", { timeout: 120_000 }, async (t) => {
  const here = place(t);
  const line = ["--image", "job.elf", ...python, counter(2000)];
  for (const round of ["new", "resumed"]) {
    const job = startJob(t, here, ...line);
    await moreLines(here.out);
    if (round === "new") {
      const ended = ending(job);
      job.kill("SIGTERM");
      await ended;
      continue;
    }
    const program = await programOf(job.pid);
    job.kill("SIGKILL");
    await until("the program is gone", () => !/^\d+ \(.*\) [^ZX]/s.test(readStat(program)));
  }
  assert.ok(existsSync(here.image));
});

function readStat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return "";
  }
}

test("a job that cannot be dumped runs on, and the reason is said", { timeout: 60_000 }, async (t) => {
  const here = place(t);
  // userfaultfd(2), which no checkpointer can move.
  const source = `
import ctypes, os, time
assert ctypes.CDLL(None).syscall(323, 1) > 2
print('ready', flush=True)
while not os.path.exists('stop'): time.sleep(0.05)
`;
  const job = startJob(t, here, "--image", "job.elf", ...python, source);
  const ended = ending(job);
  await until("it runs", () => lines(here.out).includes("ready"));
  job.kill("SIGTERM");
  await until("the reason is said", () => /not frozen, the job continues: .*userfaultfd/.test(job.errors()));
  writeFileSync(join(here.directory, "stop"), "");
  assert.deepEqual(await ended, { code: 0, signal: null });
  assert.equal(existsSync(here.image), false);
});

/** Runs as an ordinary user: whoever may raise limits again would pass every rehearsal. */
const asNobody = process.getuid?.() === 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"] : [];
const skip = run("unshare", [...(process.getuid?.() === 0 ? [] : ["-r"]), "-pfmnui", "true"]).status !== 0 && "no private namespaces here";

test("an image that fails its rehearsal does not replace the last one; the job runs on", { skip, timeout: 120_000 }, async (t) => {
  const here = place(t);
  chmodSync(here.directory, 0o777);
  const [command = "", ...rest] = [...asNobody, crimgCommand, "run", "--image", "job.elf", "--output", "out", ...python, counter(2000)];
  const begin = (): ChildProcess & { pid: number; errors: () => string } => {
    const child = spawn(command, rest, { cwd: here.directory, stdio: ["ignore", "ignore", "pipe"] });
    let text = "";
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    const pid = child.pid ?? assert.fail("cannot start");
    t.after(() => endTree(pid));
    return Object.assign(child as ChildProcess & { pid: number }, { errors: () => text });
  };
  const first = begin();
  const frozen = ending(first);
  await moreLines(here.out);
  first.kill("SIGTERM");
  assert.equal((await frozen).code, 85, first.errors());
  const good = readFileSync(here.image);

  const second = begin();
  const ended = ending(second);
  await moreLines(here.out);
  // From here on a process of crimg's may not raise the limit of open files to what the job has.
  const [limiter = "prlimit", ...words] = [...asNobody, "prlimit", `--pid=${second.pid}`, "--nofile=200:200"];
  assert.equal(run(limiter, words).status, 0);
  second.kill("SIGTERM");
  await until("the reason is said", () => /not frozen, the job continues: .*set limit nofile .*not permitted/.test(second.errors()));
  await moreLines(here.out);
  assert.ok(readFileSync(here.image).equals(good), "the last good image stays");
  assert.deepEqual(readdirSync(here.directory).sort(), ["job.elf", "out"]);
  second.kill("SIGINT");
  await ended;
});

test("a process that left the program's tree is not lost in silence", { timeout: 60_000 }, async (t) => {
  const here = place(t);
  const source = `
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        while not os.path.exists('stop'): time.sleep(0.05)
    os._exit(0)
os.wait()
time.sleep(0.1)
print('ready', flush=True)
while not os.path.exists('stop'): time.sleep(0.05)
`;
  const job = startJob(t, here, "--image", "job.elf", ...python, source);
  const ended = ending(job);
  await until("it runs", () => lines(here.out).includes("ready"));
  job.kill("SIGTERM");
  await until("the reason is said", () => /has left the program's tree/.test(job.errors()));
  writeFileSync(join(here.directory, "stop"), "");
  assert.equal((await ended).code, 0);
});

test("moments: a time, a port, a word of the output", { timeout: 180_000 }, async (t) => {
  const here = place(t);
  const finish = (...args: string[]): Outcome => run(crimgCommand, ["run", ...args], { cwd: here.directory, seconds: 60 });
  const at = finish("--image", "at.elf", "--at", "400ms", ...python, counter(500));
  assert.equal(at.status, 0, at.stderr);
  const word = finish("--image", "word.elf", "--when-output", "^(three|4) ", ...python, counter(500));
  assert.equal(word.status, 0, word.stderr);
  assert.match(word.stdout, /^1 /);
  assert.match(word.stdout, /^4 /m);

  const port = await freePort();
  const server = finish(
    "--image",
    "web.elf",
    "--when-listening",
    String(port),
    "--",
    "/usr/bin/python3",
    "-m",
    "http.server",
    String(port),
  );
  assert.equal(server.status, 0, server.stderr);
  const resumed = startJob(t, here, "--image", "web.elf");
  const answer = await until("it serves", () => {
    const { status, stdout } = run("/usr/bin/python3", [
      "-c",
      `import urllib.request as r; print(r.urlopen('http://127.0.0.1:${port}').status)`,
    ]);
    return status === 0 && stdout;
  });
  assert.equal(answer, "200\n");
  const ended = ending(resumed);
  resumed.kill("SIGKILL");
  await ended;
  assert.ok(existsSync(join(here.directory, "web.elf")), "an image of a moment stays");
});

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => done(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

test("output goes to a file; a command runs once the job is frozen; new pids without a namespace", { timeout: 120_000 }, async (t) => {
  const here = place(t);
  const line = ["--image", "job.elf", "--pid", "any", "--output", "log", "--after-freeze", 'echo "$CRIMG_IMAGE" > after', ...python];
  const log = join(here.directory, "log");
  const job = startJob(t, here, ...line, counter(30));
  const ended = ending(job);
  await moreLines(log);
  job.kill("SIGTERM");
  assert.equal((await ended).code, 85, job.errors());
  assert.equal(readFileSync(join(here.directory, "after"), "utf8"), "job.elf\n");
  const again = startJob(t, here, ...line, counter(30));
  assert.equal((await ending(again)).code, 7, again.errors());
  assert.equal(lines(log).length, 30);
});

test("what cannot be run is said, with the status that a shell gives it", (t) => {
  const here = place(t);
  const finish = (...args: string[]): Outcome => run(crimgCommand, ["run", ...args], { cwd: here.directory });
  writeFileSync(join(here.directory, "plain"), "#!/bin/sh\n");
  writeFileSync(join(here.directory, "other.elf"), "not an image");
  for (const [status, message, ...args] of [
    [127, /no-such-command: there is no such command/, "--image", "a.elf", "--", "no-such-command"],
    [126, /plain is not executable/, "--image", "a.elf", "--", "./plain"],
    [2, /exists already and is not an executable image/, "--image", "other.elf", "--", "true"],
    [2, /no image is named/, "--", "true"],
    [2, /no command is given after/, "--image", "a.elf"],
    [2, /not a duration/, "--image", "a.elf", "--every", "often", "--", "true"],
    [2, /not a signal/, "--image", "a.elf", "--on", "KILL", "--", "true"],
    [2, /exclude one another/, "--image", "a.elf", "--at", "1s", "--when-listening", "80", "--", "true"],
    [2, /there is no such mode/, "--image", "a.elf", "--pid", "old", "--", "true"],
  ] as const) {
    const outcome = finish(...args);
    assert.equal(outcome.status, status, outcome.stderr);
    assert.match(outcome.stderr, message);
  }
  chmodSync(join(here.directory, "plain"), 0o700);
  assert.equal(finish("--image", "a.elf", "--", "sh", "-c", "kill -9 $$").status, 137);
  const words = finish("--image", "a.elf", "--", "sh", "-c", 'printf "<%s>" "$@"', "sh", "", "-x", "--help", "a b");
  assert.equal(words.stdout, "<><-x><--help><a b>");
});
