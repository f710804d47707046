// SPDX-License-Identifier: Apache-2.0
/** --leave-running of memory that is copied before the program stands still: no byte is lost that it writes meanwhile. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { unseenWriter } from "../../src/dump/asynchronous-writes.js";
import { waitNow, waitOption } from "../../src/native/index.js";
import { compile, crimg, endTree, list, run, start, temporaryDirectory, until } from "../support/processes.js";
import { goesOn, linesOf } from "../support/checking-log.js";
import { crimgCommand } from "../support/project.js";

// From 1 MiB on, and whatever is left to be copied in the end.
process.env["CRIMG_PRE_COPY"] = "1";

/** Dumps again and again, ends the program, and resumes it. Returns how often its memory was copied before. */
async function rounds(t: TestContext, pid: number, log: string, image: string, count: number): Promise<number> {
  let copied = 0;
  const resumed = new Set<number>();
  for (let round = 0; round < count; round++) {
    const { status, stderr } = crimg("dump", String(pid), "-o", image, "--force", "--leave-running", "-v");
    assert.equal(status, 0, stderr);
    if (stderr.includes("the rest has been before")) copied++;
    await goesOn(log);
    endTree(pid);
    await until("it is gone", () => {
      if (resumed.has(pid)) waitNow(pid, waitOption.WALL);
      return !existsSync(`/proc/${pid}`);
    });
    const back = run(image, ["--detach"]);
    assert.equal(back.status, 0, back.stderr);
    resumed.add(pid);
    t.after(() => endTree(pid));
    await goesOn(log, 4);
  }
  return copied;
}

for (const forks of ["0", "1"]) {
  test(`a program that changes, moves and drops its memory, forks: ${forks}`, { timeout: 120_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const log = join(directory, "log");
    const { pid } = start(t, compile("churns.c", directory, "-lpthread"), [log, "20", "1", forks], { cwd: directory });
    await goesOn(log);
    const copied = await rounds(t, pid, log, join(directory, "image.elf"), forks === "0" ? 4 : 2);
    // Children that it happens to have are a reason not to.
    if (forks === "0") assert.ok(copied > 0, "its memory was never copied before");
  });
}

test("a program whose memory a disk writes to", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, file] = [join(directory, "log"), join(directory, "file")];
  const child = start(t, compile("direct-reads.c", directory, "-lpthread"), [log, file, "12"], { cwd: directory });
  await until("it reads", () => linesOf(log).length > 1 || child.exitCode !== null);
  if (child.exitCode === 4) {
    t.skip("the file system has no direct reads");
    return;
  }
  assert.ok((await rounds(t, child.pid, log, join(directory, "image.elf"), 3)) > 0, "its memory was never copied before");
});

interface Looks {
  readonly mappings: readonly string[];
  readonly protectedPages: number;
  readonly descriptors: readonly string[];
}

/** Pages whose entries say that a userfaultfd protects them (Documentation/admin-guide/mm/pagemap.rst: bit 57). */
function protectedPages(pid: number, smaps: readonly string[]): number {
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    let count = 0;
    for (const [, from, to] of smaps.map((line) => /^([0-9a-f]{1,12})-([0-9a-f]+) /.exec(line) ?? [])) {
      const [start, end] = [Number.parseInt(from ?? "0", 16), Number.parseInt(to ?? "0", 16)];
      const entries = Buffer.alloc(Math.min((end - start) / 512, 1 << 20));
      const got = readSync(pagemap, entries, 0, entries.length, start / 512);
      for (let at = 7; at < got; at += 8) count += ((entries[at] as number) >> 1) & 1;
    }
    return count;
  } finally {
    closeSync(pagemap);
  }
}

/** Ranges and flags of its mappings, protected pages, and its descriptors. */
function looks(pid: number): Looks {
  const smaps = readFileSync(`/proc/${pid}/smaps`, "latin1").split("\n");
  return {
    mappings: smaps.filter((line) => /^([0-9a-f]+-|VmFlags)/.test(line)),
    protectedPages: protectedPages(pid, smaps),
    descriptors: list(`/proc/${pid}/fd`).map((fd) => `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`),
  };
}

test("nothing is left in the program when it is over, nor when crimg is killed meanwhile", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const log = join(directory, "log");
  const image = join(directory, "image.elf");
  const { pid } = start(t, compile("mapped-much.c", directory), [log, "96"], { cwd: directory });
  await until("it rests", () => linesOf(log).length > 1);
  const before = looks(pid);
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--leave-running", "-v");
  assert.equal(status, 0, stderr);
  assert.match(stderr, /the rest has been before/);
  assert.deepEqual(looks(pid), before);
  let tracked = 0;
  for (let kill = 0; kill < 6; kill++) {
    const dump = spawn(crimgCommand, ["dump", String(pid), "-o", image, "--force", "--leave-running"], { stdio: "ignore" });
    await until("its memory is registered", () => looks(pid).mappings.some((line) => / uw\b/.test(line)) || dump.exitCode !== null);
    await new Promise((resolve) => setTimeout(resolve, kill * 12));
    if (looks(pid).mappings.some((line) => / uw\b/.test(line))) tracked++;
    dump.kill("SIGKILL");
    await until("it is as before", () => JSON.stringify(looks(pid)) === JSON.stringify(before), 20);
    assert.match(readFileSync(`/proc/${pid}/status`, "latin1"), /TracerPid:\t0\n/);
  }
  assert.ok(tracked > 0, "crimg was never killed in the midst of it");
});

/** What a program notices of some dumps (programs/notices.c). Undefined where it cannot be. */
async function noticed(
  t: TestContext,
  how: string,
  dumps: number,
): Promise<{ readonly said: string; readonly isCopied: boolean } | undefined> {
  const directory = temporaryDirectory(t);
  const child = start(t, compile("notices.c", directory, "-lpthread"), [how], { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout?.on("data", (bytes: Buffer) => (said += bytes.toString()));
  await until("it is ready", () => said.includes("\n"));
  if (said.startsWith("skip")) return undefined;
  let isCopied = false;
  for (let dump = 0; dump < dumps; dump++) {
    const { stderr } = crimg("dump", String(child.pid), "-o", join(directory, "image.elf"), "--force", "--leave-running", "-v");
    isCopied ||= stderr.includes("the rest has been before");
  }
  child.kill("SIGUSR1");
  await until("it ends", () => child.exitCode !== null && said.trimEnd().includes("\n"));
  return { said: said.trim().split("\n").at(-1) ?? "", isCopied };
}

test("a program does not notice that its memory is copied before", { timeout: 60_000 }, async (t) => {
  assert.equal((await noticed(t, "subreaper", 2))?.said, "0 signals, 0 children");
  const inNamespace = await noticed(t, "namespace", 1);
  if (inNamespace !== undefined) assert.equal(inNamespace.said, "forked");
  assert.deepEqual(await noticed(t, "mremap", 3), { said: "0 calls failed", isCopied: true });
  assert.equal((await noticed(t, "stack", 2))?.said, "0 bytes");
});

test("what may write to memory unseen is found", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const program = compile("may-write.c", directory);
  const kinds = {
    none: undefined,
    socket: undefined,
    aio: /aio/,
    ring: /io_uring/,
    packet: /socket/,
    uffd: /userfaultfd/,
    child: /children/,
  };
  for (const [kind, reason] of Object.entries(kinds)) {
    const child = start(t, program, [kind], { stdio: ["ignore", "pipe", "ignore"] });
    let isReady = false;
    child.stdout?.on("data", () => (isReady = true));
    await until(`${kind} is ready`, () => isReady || child.exitCode !== null);
    // The kernel, or who runs this, may not have it.
    if (child.exitCode === 77) continue;
    const found = unseenWriter(child.pid);
    if (reason === undefined) assert.equal(found, undefined);
    else assert.match(found ?? "nothing", reason);
  }
});

test("a userfaultfd that only another process has is refused, though crimg has one of the same program", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const child = start(t, compile("may-write.c", directory), ["outside"], { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout?.on("data", (bytes: Buffer) => (said += bytes.toString()));
  await until("it is ready", () => said.includes("\n") || child.exitCode !== null);
  if (child.exitCode === 77) {
    t.skip("no userfaultfd");
    return;
  }
  t.after(() => process.kill(Number(said)));
  const { status, stderr } = crimg("dump", String(child.pid), "-o", join(directory, "image.elf"), "--leave-running", "-v");
  assert.equal(status, 4, stderr);
  assert.match(stderr, /after round 1 of copying/);
  assert.match(stderr, /registered with userfaultfd/);
});
