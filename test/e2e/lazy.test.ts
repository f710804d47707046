// SPDX-License-Identifier: Apache-2.0
/** Lazy resumes of a program that changes, moves, drops, forks and checks its memory all the time. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { waitNow, waitOption } from "../../src/native/index.js";
import { compile, crimg, endTree, isAlive, list, run, start, temporaryDirectory, until } from "../support/processes.js";
import { goesOn } from "../support/checking-log.js";
import { crimgCommand } from "../support/project.js";

const nobody = 65534;
const isRoot = process.getuid?.() === 0;
const why = isRoot ? false : "a lazy resume needs CAP_SYS_PTRACE";

interface Churns {
  readonly pid: number;
  readonly log: string;
  readonly image: string;
}

/** Without forks nothing is shared with a child, which would be read before. */
async function startChurns(t: TestContext, mebibytes: number, forks: boolean, as: readonly string[] = []): Promise<Churns> {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755);
  if (as.length > 0) chownSync(directory, nobody, nobody);
  const log = join(directory, "log");
  const command = [...as, compile("churns.c", directory, "-lpthread"), log, String(mebibytes), "1", forks ? "1" : "0"];
  const { pid } = start(t, command[0] as string, command.slice(1), { cwd: directory });
  await goesOn(log);
  return { pid, log, image: join(directory, "image.elf") };
}

function dump(pid: number, image: string, ...options: string[]): void {
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--force", ...options);
  assert.equal(status, 0, stderr);
}

/** Until a dumped program has ended; one that was resumed before may have become a child of this process. */
async function gone(pid: number): Promise<void> {
  await until("the dumped program is gone", () => {
    if (!existsSync(`/proc/${pid}`)) return true;
    if (resumed.has(pid)) waitNow(pid, waitOption.WALL);
    return false;
  });
}

const resumed = new Set<number>();

async function resume(t: TestContext, pid: number, image: string, ...options: string[]): Promise<void> {
  await gone(pid);
  const { status, stderr } = run(image, ["--detach", ...options]);
  resumed.add(pid);
  assert.equal(status, 0, stderr);
  assert.equal(stderr, "");
  t.after(() => endTree(pid));
}

const isPaged = (pid: number): boolean => /^VmFlags:.* um\b/m.test(readFileSync(`/proc/${pid}/smaps`, "latin1"));

function processesNamed(name: string): number[] {
  return list("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, "utf8") === `${name}\n` && isAlive(pid);
      } catch {
        return false;
      }
    });
}

test("what nobody waits for comes when the program runs: the first process keeps the pager from it until then", {
  skip: why,
}, async (t) => {
  const { pid, image } = await startChurns(t, 8, false);
  dump(pid, image);
  const { stdout } = crimg("explain", image);
  const released = stdout.lastIndexOf("PTRACE_DETACH");
  const kept = /dup3\(\$fd that leads to the pager, (\d+), O_RDONLY\|O_CLOEXEC\)/.exec(stdout)?.[1] ?? assert.fail("it is not kept");
  assert.equal(stdout.slice(0, released).includes(`close_range(${kept}, `), false, "it is open when the last thread is let go");
  assert.ok(stdout.slice(released).split("count(<go>")[0]?.includes(`close_range(${kept}, `), "it is closed behind that");
});

test("every byte is right, at once and later, and a dump takes what is not there yet", { skip: why, timeout: 120_000 }, async (t) => {
  const { pid, log, image } = await startChurns(t, 48, true);
  let paged = 0;
  for (let round = 0; round < 5; round++) {
    // Every other image says itself that it is lazy.
    dump(pid, image, ...(round % 2 === 0 ? ["--lazy"] : []));
    await resume(t, pid, image, ...(round % 2 === 0 ? [] : ["--lazy"]));
    if (isPaged(pid)) paged++;
    if (round > 1) await goesOn(log, round);
  }
  assert.ok(paged > 0, "none of the resumes was lazy");
  await until("all memory is there", () => !isPaged(pid), 10);
  await until("the pager is gone", () => processesNamed("crimg-pager").length === 0, 10);
  await goesOn(log);
  dump(pid, image, "--lazy");
  await resume(t, pid, image, "--eager");
  assert.equal(isPaged(pid), false);
  await goesOn(log);
});

test("a compressed image resumes, eagerly and lazily, and reads as what it was made of", { skip: why, timeout: 120_000 }, async (t) => {
  const { pid, log, image } = await startChurns(t, 32, true);
  for (const mode of ["--eager", "--lazy", "--eager"]) {
    dump(pid, image, "--compress", "lz4");
    await resume(t, pid, image, mode);
    await goesOn(log);
  }
  const found = crimg("validate", image);
  assert.equal(found.status, 0, found.stdout);
  const [plain, again] = [`${image}.plain.elf`, `${image}.again.elf`];
  assert.equal(crimg("convert", image, plain).status, 0);
  assert.equal(crimg("convert", plain, again, "--compress", "lz4").status, 0);
  assert.equal(crimg("diff", image, plain).status, 0);
  assert.equal(crimg("diff", again, plain).status, 0);
  assert.ok(statSync(image).size < statSync(plain).size);
  // A flipped bit in the middle of the frames.
  const bytes = readFileSync(image);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  writeFileSync(again, bytes);
  assert.equal(crimg("validate", again).status, 1);
  assert.match(crimg("convert", again, `${plain}.damaged.elf`).stderr, /damaged/);
  assert.equal(crimg("dump", String(pid), "-o", `${image}.zstd.elf`, "--compress", "zstd").status, 2);
});

for (const who of ["crimg-pager", "crimg-keeper"]) {
  test(`a program does not outlive its ${who}`, { skip: why, timeout: 120_000 }, async (t) => {
    const { pid, log, image } = await startChurns(t, 256, false);
    dump(pid, image);
    const before = new Set(processesNamed(who));
    await resume(t, pid, image, "--lazy");
    const killed = processesNamed(who).find((one) => !before.has(one)) ?? assert.fail(`there is no ${who}`);
    assert.notEqual(killed, pid);
    assert.ok(list(`/proc/${killed}/fd`).every((fd) => !/^\/dev\/|^\/tmp\/.*log/.test(linkOf(`/proc/${killed}/fd/${fd}`))));
    process.kill(killed, "SIGKILL");
    await until("the program is gone", () => !isAlive(pid), 5);
    assert.ok(!readFileSync(log, "utf8").includes("BAD"));
    for (const other of ["crimg-pager", "crimg-keeper"])
      await until(`the ${other} is gone`, () => processesNamed(other).every((one) => before.has(one)), 5);
  });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

const asNobody = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
const cannot =
  why ||
  (spawnSync("setpriv", [...asNobody.slice(1), "test", "-x", crimgCommand]).status === 0 &&
  spawnSync("setpriv", [...asNobody.slice(1), "unshare", "--user", "--pid", "--fork", "true"]).status === 0
    ? false
    : "no ordinary user can resume here");

test("without the privilege all is read before, and a line says so", { skip: cannot, timeout: 120_000 }, async (t) => {
  const { pid, log, image } = await startChurns(t, 16, false, asNobody);
  const dumped = run(asNobody[0] as string, [...asNobody.slice(1), crimgCommand, "dump", String(pid), "-o", image]);
  assert.equal(dumped.status, 0, dumped.stderr);
  await gone(pid);
  const waiter = spawn(asNobody[0] as string, [...asNobody.slice(1), image, "--lazy"], { stdio: ["ignore", "ignore", "pipe"] });
  const root = waiter.pid ?? assert.fail("cannot execute the image");
  t.after(() => endTree(root));
  let said = "";
  waiter.stderr.on("data", (data) => (said += String(data)));
  await goesOn(log);
  assert.match(said, /^crimg: all memory is read before the program runs: a lazy resume needs CAP_SYS_PTRACE/);
});
