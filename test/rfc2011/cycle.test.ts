// SPDX-License-Identifier: Apache-2.0
/**
 * The "make test" that the RFC of 2011 asked for: own programs that do what its testees did, each started, dumped,
 * killed, resumed and checked, in version 2 and, where the state fits it, in the formats of 2011.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { findInner, innerPid } from "../support/namespaced.js";
import { compile, crimg, endTree, isAlive, run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand, projectRoot } from "../support/project.js";

/** struct status of programs/status.h. */
const statusAddress = 0x13370000;
const statusMagic = 0x3131303263667221n;

interface Status {
  readonly rounds: bigint;
  readonly faults: bigint;
}

/** What a program says of itself, or undefined while it is not ready. */
function statusOf(pid: number): Status | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(`/proc/${pid}/mem`, "r");
    const bytes = Buffer.alloc(24);
    if (readSync(fd, bytes, 0, 24, statusAddress) !== 24 || bytes.readBigUInt64LE(0) !== statusMagic) return undefined;
    return { rounds: bytes.readBigUInt64LE(8), faults: bytes.readBigUInt64LE(16) };
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Addresses and protections of a process's mappings. */
function mapsOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/maps`, "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split(" ").slice(0, 2).join(" "));
}

/** Waits until every process of the list has gone some rounds beyond `from`. */
async function onward(pids: readonly number[], from: ReadonlyMap<number, bigint>): Promise<void> {
  await until(`processes ${pids.join(", ")} go on`, () =>
    pids.every((pid) => {
      const status = statusOf(pid);
      return status !== undefined && status.rounds > (from.get(pid) ?? 0n) + 5n;
    }),
  );
  for (const pid of pids) assert.equal(statusOf(pid)?.faults, 0n, `process ${pid} finds its state as it was`);
}

interface Program {
  readonly name: string;
  readonly what: string;
  readonly processes: number;
}

const programs: readonly Program[] = [
  { name: "plain", what: "one static process", processes: 1 },
  { name: "threads", what: "four threads under a mutex", processes: 1 },
  { name: "unlinked", what: "mapped files whose names are gone", processes: 1 },
  { name: "tree", what: "three processes with pipes, shared memory, a mapped file and a PROT_NONE page", processes: 3 },
  { name: "assembly", what: "memory and registers filled by assembly", processes: 1 },
];

/** Formats that hold all that a program needs. */
const formatsOf: Readonly<Record<string, readonly string[]>> = {
  plain: ["ckpt-elf", "crtools", "ckpt-elf-v1"],
  threads: ["ckpt-elf"],
  unlinked: ["ckpt-elf", "crtools", "ckpt-elf-v1"],
  tree: ["ckpt-elf", "crtools"],
  assembly: ["ckpt-elf", "crtools", "ckpt-elf-v1"],
};

/** A program that is ready, with the pids of its tree. */
async function running(t: TestContext, program: Program, directory: string): Promise<readonly number[]> {
  const binary = compile(join(projectRoot, "test/rfc2011/programs", `${program.name}.c`), directory, "-static", "-pthread");
  const { pid } = start(t, binary, [], { cwd: directory });
  return until(`${program.name} is ready`, () => {
    const tree = treeOf(pid);
    return tree.length === program.processes && tree.every((member) => (statusOf(member)?.rounds ?? 0n) > 0n) && tree;
  });
}

for (const program of programs) {
  for (const format of formatsOf[program.name] ?? []) {
    test(`${program.what}, through ${format}`, { timeout: 240_000 }, async (t) => {
      const directory = temporaryDirectory(t);
      let pids = await running(t, program, directory);
      const inner = pids.map(innerPid);
      if (program.name === "unlinked" && process.getuid?.() !== 0) {
        // Only root may open what is mapped; what an ordinary user sees of a private mapping need not be the file's.
        const refused = crimg("dump", String(pids[0]), "--to", format, "-o", join(directory, "image"));
        assert.equal(refused.status, 4, refused.stderr);
        assert.match(refused.stderr, /the unlinked file mapped at 0x[0-9a-f]+ cannot be read/);
        return onward(pids, new Map(pids.map((pid) => [pid, statusOf(pid)?.rounds ?? 0n])));
      }
      // Twice: what comes out of an image can be dumped again.
      for (const image of ["first", "second"].map((name) => join(directory, name))) {
        const maps = pids.map(mapsOf);
        const dumped = crimg("dump", String(pids[0]), "--to", format, "-o", image);
        assert.equal(dumped.status, 0, dumped.stderr);
        await until("the dumped tree is gone", () => pids.every((pid) => !isAlive(pid) && !existsSync(`/proc/${pid}`)));

        const [command, args] = format === "ckpt-elf" ? [image, []] : [crimgCommand, ["exec", image]];
        const waiter = spawn(command, args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"], detached: true });
        let complaints = "";
        waiter.stderr.on("data", (chunk) => (complaints += String(chunk)));
        t.after(() => endTree(waiter.pid ?? 0));
        const failed = (error: unknown): never => {
          throw new Error(`${String(error)} ${complaints}`);
        };
        pids = await until("the tree has its ids again", () => {
          const found = inner.map((pid) => (pid === undefined ? undefined : findInner(waiter.pid ?? 0, pid)));
          return found.every((pid) => pid !== undefined) && found;
        }).catch(failed);
        const before = new Map<number, bigint>();
        await onward(pids, before).catch(failed);
        assert.equal(waiter.exitCode, null, complaints);
        // The memory of a process is there before its resuming has ended, and with it the interpreter's.
        await until("the mappings are as before", () => pids.every((pid, index) => String(mapsOf(pid)) === String(maps[index]))).catch(() =>
          pids.forEach((pid, index) => assert.deepEqual(mapsOf(pid), maps[index], `mappings of ${pid}`)),
        );
        for (const pid of pids) before.set(pid, statusOf(pid)?.rounds ?? 0n);
        await onward(pids, before);
        rmSync(image, { recursive: true });
        await onward(pids, new Map(pids.map((pid) => [pid, statusOf(pid)?.rounds ?? 0n])));
        assert.deepEqual(treeOf(pids[0] ?? 0), pids);
      }
    });
  }
}

test("threads do not fit the formats of 2011: the loss is told, and --strict refuses", { timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [pid] = await running(t, { name: "threads", what: "", processes: 1 }, directory);
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image, "--leave-running").status, 0);
  for (const format of ["crtools", "ckpt-elf-v1"]) {
    const output = join(directory, format);
    const strict = crimg("convert", image, output, "--to", format, "--strict");
    assert.equal(strict.status, 3, strict.stderr);
    assert.match(strict.stderr, /3 × threads besides the first/);
    assert.ok(!existsSync(output));
  }
});

test("a tree does not fit one version 1 image: the pids are named, and each process fits", { timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const pids = await running(t, programs[3] as Program, directory);
  const image = join(directory, "v1.elf");
  const refused = crimg("dump", String(pids[0]), "--to", "ckpt-elf-v1", "-o", image, "--leave-running");
  assert.equal(refused.status, 2, refused.stderr);
  for (const pid of pids) assert.match(refused.stderr, new RegExp(`\\b${pid}\\b`));
  assert.ok(!existsSync(image));
  const set = join(directory, "set");
  assert.equal(crimg("dump", String(pids[0]), "--to", "crtools", "-o", set, "--leave-running").status, 0);
  for (const pid of pids) {
    const one = crimg("convert", set, join(directory, `${pid}.elf`), "--to", "ckpt-elf-v1", "--pid", String(pid));
    assert.equal(one.status, 0, one.stderr);
    const judged = crimg("validate", join(directory, `${pid}.elf`), "--profile", "lkml");
    assert.equal(judged.status, 0, judged.stderr + judged.stdout);
  }
  await onward(pids, new Map(pids.map((pid) => [pid, statusOf(pid)?.rounds ?? 0n])));
});

test("a version 1 image of a live process is one that the loader of 2011 takes", { timeout: 180_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [pid] = await running(t, programs[0] as Program, directory);
  const image = join(directory, "v1.elf");
  const dumped = crimg("dump", String(pid), "--to", "ckpt-elf-v1", "-o", image, "--leave-running");
  assert.equal(dumped.status, 0, dumped.stderr);
  const judged = crimg("validate", image, "--profile", "lkml");
  assert.equal(judged.status, 0, judged.stdout + judged.stderr);
  const { stdout } = run("readelf", ["-lW", image], { env: { ...process.env, LC_ALL: "C" } });
  const types = [...stdout.matchAll(/^\s+LOOS\+(0x[0-9a-f]+)/gm)].map(([, type]) => type);
  assert.ok(types.length > 5, stdout);
  // As the original converter has them: areas, then the core, then the pages.
  assert.deepEqual([...new Set(types)], ["0x1010102", "0x1010103", "0x1010104"]);
  assert.deepEqual(types.slice(-2), ["0x1010103", "0x1010104"]);
});
