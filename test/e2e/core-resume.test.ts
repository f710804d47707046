/** A process that gcore dumped counts on from an executable made of its core. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { convert } from "../../src/index.js";
import { registry } from "../../formats/registry.js";

const python = "/usr/bin/python3";
const program = "import time\nn = 0\nwhile True:\n    n += 1\n    print(n, flush=True)\n    time.sleep(0.05)\n";

/** Whole numbers, one a line; a last line without its end is left out. */
function numbersIn(path: string): number[] {
  return readFileSync(path, "utf8").split("\n").slice(0, -1).map(Number);
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (condition()) return;
    await sleep(50);
  }
  assert.fail(`timed out: ${what}`);
}

/** Whether a pid is a program of this test. */
function isCounting(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1") === `${python}\0count.py\0`;
  } catch {
    return false;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  await Promise.race([gone, sleep(3000)]);
  if (child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await Promise.race([gone, sleep(3000)]);
  }
}

test("a gcore of a counting python3 becomes an executable that counts on", { timeout: 60_000 }, async (t) => {
  if (!existsSync(python) || spawnSync("gcore", ["-h"]).error) return t.skip("no python3 or gcore");
  if (!registry.ids.includes("ckpt-elf")) return t.skip("no ckpt-elf");
  const directory = mkdtempSync(join(tmpdir(), "crimg-gcore-"));
  const first = join(directory, "first.txt");
  const second = join(directory, "second.txt");
  writeFileSync(join(directory, "count.py"), program);
  const counting = spawn(python, ["count.py"], { cwd: directory, stdio: ["ignore", openSync(first, "w"), "ignore"], detached: true });
  let resumed: ChildProcess | undefined;
  try {
    await until(() => numbersIn(first).length >= 3, "the program counts");
    const gcore = spawnSync("gcore", ["-o", join(directory, "core"), String(counting.pid)], { encoding: "utf8", timeout: 60_000 });
    const core = join(directory, `core.${counting.pid}`);
    assert.ok(existsSync(core), gcore.stderr);
    const gone = new Promise((resolve) => counting.once("exit", resolve));
    counting.kill("SIGKILL");
    await gone;
    const last = numbersIn(first).at(-1) ?? 0;

    const image = join(directory, "image.elf");
    const { losses } = await convert(core, image);
    assert.ok(losses.some(({ code }) => code === "core.descriptors"));
    resumed = spawn(image, [], { cwd: directory, stdio: ["ignore", openSync(second, "w"), "ignore"], detached: true });
    await until(() => numbersIn(second).length >= 5, "the resumed program counts");
    const numbers = numbersIn(second);
    const start = numbers[0] ?? 0;
    // gcore stopped it somewhere before it was killed: it repeats what it counted after that.
    assert.ok(start > 1 && start <= last + 1, `first ${start}, last before ${last}`);
    assert.deepEqual(numbers, numbers.map((_number, index) => start + index));
  } finally {
    await end(counting);
    // SIGTERM is passed on to the program. The program itself is looked for too: it must not outlive the test.
    if (resumed) await end(resumed);
    if (counting.pid !== undefined && isCounting(counting.pid)) process.kill(counting.pid, "SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  }
});
