// SPDX-License-Identifier: Apache-2.0
/**
 * Restore programs of real images, executed by a second interpreter that was written from the specification: what it makes of
 * them is what the tables say, and the native one makes the same calls.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { readImage } from "../../formats/ckpt-elf/read.js";
import { BadProgram, Image, ofsChecksum, rightChecksum } from "../support/restore-model/image.js";
import { assertTreeMade } from "../support/restore-model/judge.js";
import { Machine } from "../support/restore-model/machine.js";
import { moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, start, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { projectRoot } from "../support/project.js";

const program = (name: string): string => join(projectRoot, "test/programs", name);

interface Subject {
  readonly name: string;
  readonly start: (t: TestContext, directory: string) => Promise<number>;
}

const logged = (name: string, command: (directory: string, log: string) => readonly [string, ...string[]]): Subject => ({
  name,
  async start(t, directory) {
    const log = join(directory, "ticks");
    const [file, ...args] = command(directory, log);
    const { pid } = start(t, file, args, { cwd: directory });
    await moreTicks(log, 3, 60);
    return pid;
  },
});

const subjects: readonly Subject[] = [
  logged("one process", (directory, log) => [compile("counter.c", directory), log]),
  logged("much memory, read by two", (directory, log) => [compile("large.c", directory), log]),
  logged("a pipeline", (_directory, log) => ["bash", program("pipeline.sh"), log]),
  {
    name: "children that share memory",
    async start(t, directory) {
      const { pid } = start(t, compile("shares-pages.c", directory), [directory, "8"], { cwd: directory });
      for (let who = 0; who < 6; who++) await moreTicks(join(directory, String(who)), 2);
      return pid;
    },
  },
  logged("threads of python", (_directory, log) => ["/usr/bin/python3", program("threads.py"), log]),
  {
    name: "every kind of resource",
    async start(t, directory) {
      const out = join(directory, "out");
      writeFileSync(out, "");
      start(t, "sh", ["-c", `exec ${compile("resources.c", directory, "-lpthread")} > out`], { cwd: directory });
      await until("everything is set up", () => existsSync(join(directory, "pid")));
      return Number(readFileSync(join(directory, "pid"), "utf8"));
    },
  },
];

/** Calls that are made to wait, to look, or to have memory ready: how often is not for the program to say. */
const passing = new Set(["futex", "nanosleep", "waitid", "kill", "clock_gettime", "preadv", "populate"]);

/** Calls of each thread of the native interpreter, as far as strace has seen them. */
function callsIn(trace: string): Map<number, string[]> {
  const found = new Map<number, string[]>();
  if (!existsSync(trace)) return found;
  for (const line of readFileSync(trace, "utf8").split("\n")) {
    const [, pid, name] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    if (pid === undefined || name === undefined || passing.has(name)) continue;
    // What it prints, the specification says; with how many calls, it does not.
    if (line.includes(" write(2, ")) continue;
    if (name === "madvise" && /MADV_(POPULATE_WRITE|COLLAPSE)/.test(line)) continue;
    const list = found.get(Number(pid)) ?? [];
    // Whoever has waited for a while asks whether it is its process's first thread, which looks for the dead.
    if (name === "getpid" && list.at(-1) === "gettid") list.pop();
    else list.push(name);
    found.set(Number(pid), list);
  }
  return found;
}

/**
 * What the model's threads did, and the native ones. An id may have several lives, one after another: processes that make a
 * socket as somebody else did, and end, and then the task itself. strace writes all of them under one id.
 */
function compared(machine: Machine, native: Map<number, string[]>): { tid: number; own: string[]; seen: string[] }[] {
  const pids = new Set(machine.threads.map(({ tid }) => tid));
  const taken = new Map<number, number>();
  return machine.threads.map(({ process, tid, calls }) => {
    const isFirst = process === machine.first;
    const list = (isFirst ? [...native].find(([pid]) => !pids.has(pid))?.[1] : native.get(tid)) ?? [];
    const from = isFirst ? Math.max(0, list.indexOf("rt_sigprocmask")) : (taken.get(tid) ?? 0);
    const own = calls.filter((name) => !passing.has(name));
    taken.set(tid, from + own.length);
    return { tid, own, seen: list.slice(from, from + own.length) };
  });
}

for (const subject of subjects) {
  test(`${subject.name}: both interpreters do the same`, { timeout: 180_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const pid = await subject.start(t, directory);
    const image = join(directory, "image.elf");
    const tree = treeOf(pid);
    const dumped = crimg("dump", String(pid), "-o", image);
    assert.equal(dumped.status, 0, dumped.stderr);
    endTree(pid);
    await until("the tree is gone", () => tree.every((member) => !existsSync(`/proc/${member}`)));
    const machine = new Machine(new Image(image));
    machine.run();
    const checkpoint = readImage(image, {});
    try {
      assertTreeMade(machine, checkpoint);
    } finally {
      checkpoint.close();
    }
    if (spawnSync("strace", ["-V"]).error) return t.skip("no strace");
    const trace = join(directory, "trace");
    // The model has no userfaultfd, and how much of the memory the native one makes with it depends on how long that takes.
    const tracer = start(t, "strace", ["-f", "-qq", "-e", "inject=userfaultfd:error=EPERM", "-o", trace, image], { cwd: directory });
    let all = compared(machine, callsIn(trace));
    const isWhole = (): boolean => {
      all = compared(machine, callsIn(trace));
      return all.every(({ own, seen }) => seen.length === own.length);
    };
    // Where the native one does less, the comparison says what.
    await until("strace has seen as many calls", isWhole, 20).catch(() => undefined);
    endTree(tracer.pid);
    for (const { tid, seen, own } of all) assert.deepEqual(seen, own, `calls of thread ${tid}`);
  });
}

/** Fields of the program's header (SPEC 10): offset and bytes. The checksum is made right each time. */
const headerFields: readonly (readonly [number, 2 | 4 | 8])[] = [
  [0, 8],
  [8, 2],
  ...[12, 16, 20].map((offset) => [offset, 4] as const),
  ...[24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104].map((offset) => [offset, 8] as const),
  ...[112, 116, 120, 124, 128, 132, 136, 140, 144, 148, 152].map((offset) => [offset, 4] as const),
];
/** Fields of an op whose bounds an interpreter checks: modes, arguments, store, target and texts. */
const opFields: readonly (readonly [number, 1 | 4 | 8])[] = [
  ...[8, 9].map((offset) => [offset, 1] as const),
  ...[16, 24].map((offset) => [offset, 8] as const),
  ...[80, 84, 88, 92, 96].map((offset) => [offset, 4] as const),
];

test("both interpreters refuse the same programs", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = start(t, compile("counter.c", directory), [join(directory, "ticks")], { cwd: directory });
  await moreTicks(join(directory, "ticks"), 2);
  const whole = join(directory, "whole.elf");
  assert.equal(crimg("dump", String(pid), "-o", whole).status, 0);
  endTree(pid);
  const good = readFileSync(whole);
  const { header, offset } = new Image(whole);
  const ofOps = [0, 7, 40].flatMap((index) => opFields.map(([at, size]) => [Number(header.ofsOps) + 104 * index + at, size] as const));
  const image = join(directory, "image.elf");
  const differ: string[] = [];
  let refused = 0;
  for (const [at, size] of [...headerFields, ...ofOps]) {
    for (const change of [1n, 8n, 4096n, 1n << 31n, 1n << 62n]) {
      const bytes = Buffer.from(good);
      const place = Number(offset) + at;
      const bits = BigInt(8 * size);
      const old = size === 8 ? bytes.readBigUInt64LE(place) : BigInt(bytes.readUIntLE(place, size));
      const value = BigInt.asUintN(Number(bits), old + BigInt.asUintN(Number(bits), change));
      if (value === old) continue;
      if (size === 8) bytes.writeBigUInt64LE(value, place);
      else bytes.writeUIntLE(Number(value), place, size);
      const right = rightChecksum((from, length) => bytes.subarray(Number(from), Number(from) + length));
      bytes.writeUInt32LE(right, Number(offset) + ofsChecksum);
      writeFileSync(image, bytes, { mode: 0o700 });
      // Asked for its help, it looks at the program, and does nothing.
      const native = spawnSync(image, ["--help"], { timeout: 10_000 });
      const model = verdictOf(image);
      if (native.status !== (model === undefined ? 0 : 127)) differ.push(`${at} + ${change} (${size} bytes): ${native.stderr}; ${model}`);
      if (model !== undefined) refused++;
    }
  }
  assert.deepEqual(differ, []);
  assert.ok(refused > 100, `${refused} programs were refused`);
});

function verdictOf(path: string): string | undefined {
  try {
    new Image(path).close();
    return undefined;
  } catch (error) {
    if (error instanceof BadProgram) return error.message;
    throw error;
  }
}
