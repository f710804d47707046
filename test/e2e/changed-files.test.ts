// SPDX-License-Identifier: Apache-2.0
/** Files that are not what they were when a tree was dumped: which the image takes, which it tells of, which it refuses. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, copyFileSync, existsSync, readFileSync, renameSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, run, spawned, start, temporaryDirectory, until, type Outcome } from "../support/processes.js";

const loops = `import sys, time
files = [open(name, mode) for name, mode in zip(sys.argv[1::2], sys.argv[2::2])]
n = 0
while True:
    n += 1
    print(n, file=open("ticks", "w"))
    time.sleep(0.05)
`;

/** Dumps a python that has files open; each is a name and a mode of open(). */
async function dumpWithFiles(t: TestContext, directory: string, ...files: readonly string[]): Promise<string> {
  writeFileSync(join(directory, "loops.py"), loops);
  const { pid } = start(t, "/usr/bin/python3", [join(directory, "loops.py"), ...files], { cwd: directory });
  await until("it runs", () => ticksIn(directory) > 1);
  return dumpOf(pid, directory);
}

function dumpOf(pid: number, directory: string): string {
  const image = join(directory, "image.elf");
  const { status, stderr } = crimg("dump", String(pid), "-o", image, "--force");
  assert.equal(status, 0, stderr);
  return image;
}

function ticksIn(directory: string): number {
  const path = join(directory, "ticks");
  return existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
}

/** Runs an image until its program has gone on, and ends it; what it said. Fails if it refuses. */
async function goesOn(t: TestContext, image: string, directory: string, ...options: readonly string[]): Promise<string> {
  const child = spawn(image, [...options], { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  const { pid } = child;
  assert.ok(pid !== undefined);
  spawned.add(pid);
  t.after(() => endTree(pid));
  let said = "";
  child.stderr.on("data", (chunk) => (said += String(chunk)));
  const before = ticksIn(directory);
  await until("the program goes on", () => {
    assert.equal(child.exitCode, null, said);
    return ticksIn(directory) > before + 1;
  });
  endTree(pid);
  await until("it is gone", () => !existsSync(`/proc/${pid}`) || child.signalCode !== null || child.exitCode !== null);
  return said;
}

function refuses(image: string, reason: RegExp, ...options: readonly string[]): void {
  const outcome: Outcome = run(image, options);
  assert.equal(outcome.status, 125, outcome.stderr);
  assert.match(outcome.stderr, reason);
}

/** A program with a library whose function gives a version, and what it last said. */
function withLibrary(directory: string): { readonly program: string; build(version: number): void } {
  writeFileSync(join(directory, "l.c"), "int version(void) { return V; }\n");
  writeFileSync(
    join(directory, "m.c"),
    "#include <stdio.h>\n#include <unistd.h>\nint version(void);\n" +
      'int main(void) { for (int n = 1;; n++) { FILE *f = fopen("ticks", "w"); fprintf(f, "%d", n * 10 + version());' +
      " fclose(f); usleep(50000); } }\n",
  );
  const cc = (...args: string[]): void => {
    const { status, stderr } = spawnSync("cc", args, { cwd: directory, encoding: "utf8" });
    assert.equal(status, 0, stderr);
  };
  const build = (version: number): void => {
    cc(`-DV=${version}`, "-shared", "-fPIC", "-Wl,--build-id", "-o", "new.so", "l.c");
    utimesSync(join(directory, "new.so"), 1, 1);
    renameSync(join(directory, "new.so"), join(directory, "libx.so"));
  };
  build(1);
  cc("-o", "m", "m.c", "-L.", "-lx", `-Wl,-rpath,${directory}`);
  return { program: join(directory, "m"), build };
}

test("a library of another build is refused, whatever its size and time; the same build may have another time", async (t) => {
  const directory = temporaryDirectory(t);
  const { program, build } = withLibrary(directory);
  const library = join(directory, "libx.so");
  const { pid } = start(t, program, [], { cwd: directory });
  await until("it runs", () => ticksIn(directory) > 10);
  const image = dumpOf(pid, directory);
  copyFileSync(library, join(directory, "kept.so"));
  build(2);
  refuses(image, /libx\.so mapped by .* is another build than at the dump/);
  assert.match(crimg("validate", "--profile", "host", image).stdout, /libx\.so, which the tree has mapped, is another build/);
  renameSync(join(directory, "kept.so"), library);
  utimesSync(library, 12345, 12345);
  assert.equal(crimg("validate", "--profile", "host", image).status, 0);
  refuses(image, /libx\.so mapped by .* its modification time is another/, "--files", "strict");
  assert.equal(await goesOn(t, image, directory), "");
  build(2);
  await goesOn(t, image, directory, `--files=any:${library}`);
  assert.match(readFileSync(join(directory, "ticks"), "utf8"), /2$/, "the other build runs if it was asked for");
});

test("a file without a build-id that is mapped must be untouched", async (t) => {
  const directory = temporaryDirectory(t);
  const data = join(directory, "data");
  writeFileSync(data, Buffer.alloc(8192, "x"));
  writeFileSync(
    join(directory, "maps.py"),
    'import mmap, time\nf = open("data", "rb")\nm = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)\n' +
      'f.close()\nn = 0\nwhile True:\n    n += 1\n    print(n, file=open("ticks", "w"))\n    time.sleep(0.05)\n',
  );
  const { pid } = start(t, "/usr/bin/python3", ["maps.py"], { cwd: directory });
  await until("it runs", () => ticksIn(directory) > 1);
  const image = dumpOf(pid, directory);
  utimesSync(data, 1, 1);
  refuses(image, /data mapped by .* its modification time is another\n.*--files any:/);
  assert.equal(await goesOn(t, image, directory, "--files", "strict", "--files", `any:${data}`), "", "a later policy counts");
});

test("opened files: grown and cut-off logs pass, other content does not, and what was written since is told", async (t) => {
  const directory = temporaryDirectory(t);
  for (const name of ["log", "read", "both", "long"]) writeFileSync(join(directory, name), `${name} `.repeat(100));
  const image = await dumpWithFiles(t, directory, "log", "a", "read", "r", "both", "r+", "long", "r");
  const original = readFileSync(join(directory, "read"));
  appendFileSync(join(directory, "read"), "more");
  truncateSync(join(directory, "log"), 0);
  assert.equal(await goesOn(t, image, directory), "", "only grown, only appended to");
  writeFileSync(join(directory, "read"), original);
  assert.match(await goesOn(t, image, directory), /read for fd \d+ of .* has been written since the dump; the program goes on/);
  refuses(image, /read for fd \d+ of .* its modification time is another/, "--files", `strict:${join(directory, "read")}`);
  writeFileSync(join(directory, "both"), "BOTH ".repeat(100));
  assert.match(await goesOn(t, image, directory), /both for fd \d+ of .* has been written since the dump/);
  assert.match(
    crimg("validate", "--profile", "host", image).stdout,
    /note host\.file-written: .*both, which the tree has opened, has other content/,
  );
  writeFileSync(join(directory, "long"), "other".repeat(200));
  refuses(image, /long for fd \d+ of .* its content is another/);
  writeFileSync(join(directory, "long"), "long ");
  refuses(image, /long for fd \d+ of .* is shorter than at the dump/);
  assert.equal(await goesOn(t, image, directory, "--files", "any"), "");
});

test("a policy that makes no sense is a wrong option", async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, "read"), "read");
  const image = await dumpWithFiles(t, directory, "read", "r");
  for (const [policy, reason] of [
    ["anything", /takes same, strict or any/],
    ["any:/nowhere", /names a file that this image does not look at/],
    ["any:", /names a file/],
  ] as const) {
    const { status, stderr } = run(image, ["--files", policy]);
    assert.equal(status, 126);
    assert.match(stderr, reason);
    assert.equal(run(image, [`--files=${policy}`]).status, 126);
  }
  assert.equal(crimg("exec", "--files", "anything", image).status, 126);
});
