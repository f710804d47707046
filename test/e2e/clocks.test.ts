// SPDX-License-Identifier: Apache-2.0
/** CLOCK_MONOTONIC and CLOCK_BOOTTIME go on where they were, and what waits for a time on them comes neither early nor late. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chmodSync, chownSync, existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { compile, crimg, endTree, run, start, temporaryDirectory, until } from "../support/processes.js";
import { inOwnWorld } from "../support/own-world.js";
import { crimgCommand } from "../support/project.js";

// A program that waits for a semaphore leaves it behind when it is killed.
inOwnWorld(import.meta.url);
const isRoot = process.getuid?.() === 0;
const nobody = 65534;
const asNobody = isRoot
  ? ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
  : [];
/** A world whose clocks are far behind, as after a reboot. */
const younger = ["unshare", "--time", "--monotonic", "-1000", "--boottime", "-1000", "--fork", "--kill-child"];
const mayNot = spawnSync("unshare", ["--time", "--fork", "true"]).status !== 0 && "needs time namespaces, and root";

/** CLOCK_MONOTONIC and CLOCK_BOOTTIME of each line, as the vDSO and as the kernel gave them. */
function lines(log: string): (readonly [number, number, number, number])[] {
  const text = existsSync(log) ? readFileSync(log, "utf8") : "";
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ").map(Number) as unknown as [number, number, number, number]);
}

/** Waits for some more lines, and returns them. */
async function moreLines(log: string, count: number): Promise<ReturnType<typeof lines>> {
  const before = lines(log).length;
  await until(`${count} lines more in ${log}`, () => lines(log).length >= before + count, 30);
  return lines(log).slice(before);
}

/** Steps forward by less than `most` seconds each, and the vDSO (its page is another in a time namespace) agrees with the kernel. */
function assertSteady(clock: ReturnType<typeof lines>, most = 1.5): void {
  clock.forEach(([monotonic, monotonicByKernel, boottime, boottimeByKernel], index) => {
    assert.ok(Math.abs(monotonicByKernel - monotonic) < 0.5 && Math.abs(boottimeByKernel - boottime) < 0.5, clock[index]?.join(" "));
    const before = clock[index - 1];
    if (before === undefined) return;
    for (const [now, then] of [
      [monotonic, before[0]],
      [boottime, before[2]],
    ] as const) {
      assert.ok(now > then && now - then < most, `from ${then} to ${now}`);
    }
  });
}

interface Ticking {
  readonly directory: string;
  readonly log: string;
  readonly image: string;
}

/** The image of a program that logs its clocks. */
async function dumped(t: TestContext, words: readonly string[] = [], ...options: string[]): Promise<Ticking> {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755);
  if (words.length > 0) chownSync(directory, nobody, nobody);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const [head = "", ...rest] = [...words, compile("clocks.c", directory), log];
  const { pid } = start(t, head, rest, { cwd: directory });
  await moreLines(log, 3);
  dumpAs(words, pid, image, ...options);
  return { directory, log, image };
}

function dumpAs(words: readonly string[], pid: number, image: string, ...options: string[]): void {
  const [head = "", ...rest] = [...words, crimgCommand, "dump", String(pid), "-o", image, "-f", ...options];
  const { status, stderr } = run(head, rest);
  assert.equal(status, 0, stderr);
}

/** Executes a command that resumes an image. */
function resume(t: TestContext, directory: string, ...command: string[]): { readonly process: ChildProcess; stderr(): string } {
  const [head = "", ...rest] = command;
  const child = spawn(head, rest, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  let words = "";
  child.stderr.on("data", (chunk) => (words += String(chunk)));
  t.after(() => endTree(child.pid ?? 0));
  return { process: child, stderr: () => words };
}

const pause = (seconds: number): Promise<void> => new Promise((done) => setTimeout(done, seconds * 1000));

test("clocks go on where they were: later, after a reboot, and again", { skip: mayNot, timeout: 120_000 }, async (t) => {
  const { directory, log, image } = await dumped(t);
  await pause(2);
  const later = resume(t, directory, image);
  await moreLines(log, 5);
  // From outside, where the clock is another.
  dumpAs([], later.process.pid ?? 0, image);
  const rebooted = resume(t, directory, ...younger, image);
  await moreLines(log, 5);
  const [program = 0] = [...childrenOf(childrenOf(rebooted.process.pid ?? 0)[0] ?? 0)];
  dumpAs([], program, image);
  resume(t, directory, image);
  await moreLines(log, 5);
  assertSteady(lines(log));
  assert.doesNotMatch(later.stderr() + rebooted.stderr(), /crimg/);
});

/** Pids of the children of a process without other threads. */
function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
}

test("an ordinary user's program keeps its clocks, from dump to dump", { skip: mayNot, timeout: 120_000 }, async (t) => {
  const { directory, log, image } = await dumped(t, asNobody);
  for (let round = 0; round < 2; round++) {
    await pause(2);
    const { process: waiter, stderr } = resume(t, directory, ...asNobody, image);
    await moreLines(log, 5);
    assert.equal(stderr(), "");
    dumpAs(asNobody, waiter.pid ?? 0, image);
  }
  assertSteady(lines(log));
});

test("--clock: what the image says, and what is said at the resume", { skip: mayNot, timeout: 120_000 }, async (t) => {
  const { directory, log, image } = await dumped(t, [], "--clock", "host");
  assert.match(crimg("show", image).stdout, /monotonic clock at \d+\.\d{3} s; at a resume it is that of the machine/);
  const atDump = lines(log).at(-1)?.[0] ?? 0;
  const host = resume(t, directory, ...younger, image);
  const [first] = await moreLines(log, 2);
  assert.ok((first?.[0] ?? 0) < atDump - 900, "the clock of a younger machine");
  endTree(host.process.pid ?? 0);
  rmSync(log);
  resume(t, directory, ...younger, crimgCommand, "exec", image, "--clock", "continue");
  const [again] = await moreLines(log, 2);
  assert.ok(Math.abs((again?.[0] ?? 0) - atDump) < 2, `${again?.[0]} and ${atDump}`);
});

test("convert and explain: --clock is in the image, and its ops can be read", { skip: mayNot, timeout: 60_000 }, async (t) => {
  const { directory, image } = await dumped(t);
  const ops = crimg("explain", image).stdout;
  assert.match(ops, /unshare\(/);
  assert.match(ops, /timens_offsets/);
  const other = join(directory, "other.elf");
  assert.equal(crimg("convert", image, other, "--clock", "host").status, 0);
  assert.match(crimg("show", other).stdout, /at a resume it is that of the machine/);
  assert.equal(crimg("convert", image, other, "--clock", "never", "-f").status, 2);
});

test("where no time namespace can be made, a line says so, and the program resumes", { skip: mayNot, timeout: 60_000 }, async (t) => {
  const { directory, log, image } = await dumped(t, asNobody);
  const { stderr } = resume(t, directory, ...asNobody, image, "--pid", "any");
  await moreLines(log, 3);
  assert.match(stderr(), /^crimg: the monotonic and boot-time clocks do not continue from their values at the dump: [^\n]*\n$/);
  assert.equal(crimg("exec", image, "--clock", "host", "--detach", "--pid", "never").status, 2);
});

/** A snapshot of a program that waits is no reason for it to wait longer. */
test("waits with a rest end when they should, five dumps or none", { timeout: 120_000 }, async (t) => {
  if (!existsSync("/proc/self/sched")) return t.skip("this kernel does not tell when a thread fell asleep");
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const read = (): string => (existsSync(log) ? readFileSync(log, "utf8") : "");
  const { pid } = start(t, compile("waits.c", directory, "-pthread"), [log, "14", "with-semaphores"], { cwd: directory });
  await until("all wait", () => read().includes("ready"));
  const began = Date.now();
  let dumps = 0;
  for (; dumps < 5 && Date.now() < began + 8000; dumps++) {
    await pause(0.6);
    dumpAs([], pid, image, "--leave-running");
  }
  assert.ok(dumps > 1, "one dump alone would hide much");
  await until("all waits are over", () => read().includes("done"), 60);
  const waits = read()
    .split("\n")
    .map((line) => line.split(" "))
    .filter((words) => words.length === 5);
  assert.equal(waits.length, 16);
  // All waited in one process: what ends exactly, by a clock, tells how late everything was on a busy machine.
  const exact = Number(waits.find(([name]) => name === "clock_nanosleep")?.[3]);
  for (const [name, result, error, seconds, isChanged] of waits) {
    assert.ok(Number(seconds) > 13.99 && Number(seconds) < exact + 0.75, `${name} took ${seconds} s for 14 s\n${read()}`);
    // EAGAIN and ETIMEDOUT are what these calls end with; no EINTR came through, and the program's timespec is its own.
    assert.ok(Number(result) === 0 || (Number(result) === -1 && ["11", "110"].includes(error ?? "")), `${name}: ${result} ${error}`);
    assert.equal(isChanged, "0");
  }
});

/** Waits for a time by the clock end when it has come; nothing corrects them twice. */
test("timers and waits for a time on a clock keep it", { skip: mayNot, timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const read = (): string => (existsSync(log) ? readFileSync(log, "utf8") : "");
  const { pid } = start(t, compile("waits.c", directory, "-pthread"), [log, "6"], { cwd: directory });
  await until("all wait", () => read().includes("ready"));
  dumpAs([], pid, image);
  await pause(2);
  resume(t, directory, ...younger, image);
  await until("all waits are over", () => read().includes("done"), 30);
  const took = new Map(
    read()
      .split("\n")
      .map((line) => [line.split(" ")[0], Number(line.split(" ")[3])]),
  );
  for (const name of ["clock_nanosleep", "futex_bitset", "timerfd", "timer", "itimer", "condition"]) {
    const seconds = took.get(name) ?? 0;
    assert.ok(seconds > 5.9 && seconds < 7.5, `${name} took ${seconds} s for 6 s\n${read()}`);
  }
});
