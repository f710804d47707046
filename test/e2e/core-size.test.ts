// SPDX-License-Identifier: Apache-2.0
/** A core holds what was written to, not what was reserved; a pipe that nobody reads from does not hold crimg. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, readFileSync, readSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { open } from "../../src/index.js";
import { crimgCommand } from "../support/project.js";
import { compile, crimg, run, start, temporaryDirectory, treeOf, until } from "../support/processes.js";

const gib = 1n << 30n;

/** Mappings of private memory without a name, as "start-end prot". */
async function anonymous(path: string, pid: number): Promise<readonly string[]> {
  const checkpoint = await open(path);
  try {
    const maps = checkpoint.task(pid).maps.filter(({ kind, name }) => kind === "anon_private" && name === "");
    return maps.map(({ start, end, protection }) => `${start.toString(16)}-${end.toString(16)} ${protection}`);
  } finally {
    checkpoint.close();
  }
}

test("reserved memory takes no room in a core, and comes back", { timeout: 180_000 }, async (t) => {
  if (run("sh", ["-c", "command -v cc"]).status !== 0) return t.skip("no cc");
  const directory = temporaryDirectory(t);
  const program = compile("reserves.c", directory);
  const child = start(t, program, [], { cwd: directory, stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout?.on("data", (chunk) => (said += String(chunk)));
  const used = BigInt(await until("the program is ready", () => /ready (0x[0-9a-f]+)\n/.exec(said)?.[1]));
  await until("both processes wait", () => treeOf(child.pid).length === 2);
  const cores = join(directory, "cores");
  const dumped = crimg("dump", String(child.pid), "--to", "core", "-o", cores, "--leave-running");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.equal(readdirSync(cores).length, 2);
  const core = join(cores, `core.${child.pid}`);
  assert.ok(statSync(core).size < 3 << 20, `${statSync(core).size} bytes`);

  const checkpoint = await open(core);
  try {
    const { memory } = checkpoint.task(child.pid);
    const at = (distance: bigint) => String.fromCharCode(...memory.read(used + distance, 2));
    assert.deepEqual([at(3n * gib), at(3n * gib + 65536n), at(5n * gib)], ["a\0", "b\0", "c\0"]);
    assert.deepEqual(memory.read(used + 7n * gib, 4096), new Uint8Array(4096));
  } finally {
    checkpoint.close();
  }
  const again = join(directory, "again.core");
  const converted = crimg("convert", core, again);
  assert.equal(converted.status, 0, converted.stderr);
  assert.deepEqual(readFileSync(again), readFileSync(core));
  // The three parts of the big reserve are one mapping again, and the neighbours are not joined with it.
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(child.pid), "-o", image, "--leave-running").status, 0);
  const found = await anonymous(core, child.pid);
  // (The kernel has joined the two that may be read and written.)
  assert.deepEqual(
    found
      .filter((line) => lengthOf(line) >= gib)
      .map((line) => `${lengthOf(line) / gib} ${line.split(" ")[1]}`)
      .sort(),
    ["2 ---", "9 rw-"],
  );
  assert.deepEqual(found, await anonymous(image, child.pid));
  if (run("sh", ["-c", "command -v gdb"]).status === 0) {
    const gdb = run("gdb", ["-nx", "-batch", "-ex", `x/s ${used + 5n * gib}`, program, core], { seconds: 60 });
    assert.match(gdb.stdout, /"c"/);
  }
});

function lengthOf(line: string): bigint {
  const [from, to] = (line.split(" ")[0] ?? "").split("-");
  return BigInt(`0x${to}`) - BigInt(`0x${from}`);
}

test("SIGTERM ends a conversion into a pipe that nobody reads from", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const sleeper = start(t, "sleep", ["50"]);
  await until("it runs", () => readFileSync(`/proc/${sleeper.pid}/comm`, "utf8") === "sleep\n");
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(sleeper.pid), "-o", image, "--leave-running");
  assert.equal(dumped.status, 0, dumped.stderr);
  const fifo = join(directory, "fifo");
  assert.equal(run("mkfifo", [fifo]).status, 0);
  // Held open for reading here, of which hardly anything is done.
  const pipe = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  t.after(() => closeSync(pipe));
  // --full: more than the 64 KiB that a pipe takes.
  const converter = spawn(crimgCommand, ["convert", image, "-", "--to", "core", "--full"], { stdio: ["ignore", pipe, "ignore"] });
  t.after(() => converter.kill("SIGKILL"));
  const ended = once(converter, "exit");
  await until("it has begun to write", () => readNow(pipe, 4) === "\x7fELF");
  converter.kill("SIGTERM");
  const [code, signal] = (await ended) as [number | null, string | null];
  assert.ok(signal === "SIGTERM" || code === 143, `${code} ${signal}`);
});

/** What is there to be read without waiting, at most `length` bytes. */
function readNow(fd: number, length: number): string {
  const bytes = Buffer.alloc(length);
  try {
    return bytes.toString("latin1", 0, readSync(fd, bytes));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return "";
    throw error;
  }
}
