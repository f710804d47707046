// SPDX-License-Identifier: Apache-2.0
/** Images that need none of the original files: executables, libraries and other mapped files are gone or others. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, run, spawned, start, temporaryDirectory, treeOf, until, type Outcome } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const isRoot = process.getuid?.() === 0;
/** Somebody without rights. */
const nobody = 65534;

// It counts in the target of a symbolic link, so that no dump finds it with a file open that an empty root has not.
const countUp = `import mmap, os, sys, time, json, zlib
f = open("shared", "r+b")
m = mmap.mmap(f.fileno(), 4096)
f.close()
n = 0
while True:
    n += 1
    m[0:8] = n.to_bytes(8, "little")
    os.symlink(f"{n} {len(json.dumps([n]))} {zlib.crc32(b'x')}", "ticks.new")
    os.rename("ticks.new", "ticks")
    time.sleep(0.05)
`;

function ticksIn(directory: string): number {
  try {
    return Number(readlinkSync(join(directory, "ticks")).split(" ")[0]);
  } catch {
    return 0;
  }
}

async function goesOn(directory: string): Promise<void> {
  const before = ticksIn(directory);
  await until("the program goes on", () => ticksIn(directory) > before + 2);
}

/** Names that /proc/PID/maps shows, without those in brackets. */
function mappedNames(pid: number): string[] {
  const names = readFileSync(`/proc/${pid}/maps`, "utf8")
    .split("\n")
    .map((line) => line.slice(73))
    .filter((name) => name.startsWith("/"));
  return [...new Set(names)].sort();
}

/** A python whose executable is a copy in the directory, running `countUp`. */
async function startPython(t: TestContext, directory: string, prefix: readonly string[] = []): Promise<number> {
  const python = join(directory, "python");
  copyFileSync("/usr/bin/python3", python);
  chmodSync(python, 0o755);
  writeFileSync(join(directory, "shared"), Buffer.alloc(4096));
  if (prefix.length > 0) for (const path of [directory, join(directory, "shared")]) chownSync(path, nobody, nobody);
  const [command, ...args] = [...prefix, python, "-c", countUp];
  const { pid } = start(t, command as string, args, { cwd: directory });
  await until("it counts", () => ticksIn(directory) > 2);
  return pid;
}

function succeed({ status, stderr }: Outcome): string {
  assert.equal(status, 0, stderr);
  return stderr;
}

/** Runs an image in the foreground until its program is there: that one, and what the image said. */
async function resume(t: TestContext, directory: string, image: string, prefix: readonly string[] = []): Promise<Resumed> {
  const pidfile = join(directory, "pid");
  rmSync(pidfile, { force: true });
  const [command, ...args] = [...prefix, image, "--pidfile", pidfile];
  const waiter = spawn(command as string, args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
  const { pid } = waiter;
  assert.ok(pid !== undefined);
  spawned.add(pid);
  t.after(() => endTree(pid));
  const resumed = { waiter, pid: 0, said: "" };
  waiter.stderr.on("data", (chunk) => (resumed.said += String(chunk)));
  await until("the tree runs", () => {
    assert.equal(waiter.exitCode, null, resumed.said);
    return existsSync(pidfile) && readFileSync(pidfile, "utf8").endsWith("\n");
  });
  // The program, or in a pid namespace the first process of it and then the program.
  resumed.pid = treeOf(pid).at(-1) ?? 0;
  return resumed;
}

interface Resumed {
  readonly waiter: ChildProcess;
  readonly pid: number;
  readonly said: string;
}

test("with all files there, a bundled image resumes as a plain one does, and holds them once", async (t) => {
  const directory = temporaryDirectory(t);
  const pid = await startPython(t, directory);
  const names = mappedNames(pid);
  const image = join(directory, "image.elf");
  succeed(crimg("dump", String(pid), "-o", image, "--bundle"));
  const sizes = names.reduce((sum, name) => sum + statSync(name).size, 0);
  assert.ok(statSync(image).size > sizes, "the files are in it");
  assert.ok(statSync(image).size < sizes + (64 << 20), "once");
  await until("it is gone", () => !existsSync(`/proc/${pid}`));
  const resumed = await resume(t, directory, image);
  assert.equal(resumed.said, "");
  await goesOn(directory);
  assert.deepEqual(mappedNames(resumed.pid), names);
  assert.equal(succeed(run(crimgCommand, ["validate", image])), "");
});

for (const [who, prefix] of [
  ["root", []],
  ["an ordinary user", ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"]],
] as const) {
  test(`executable and mapped file gone, another one in their place: ${who}`, { skip: !isRoot && "needs root" }, async (t) => {
    const directory = temporaryDirectory(t);
    const pid = await startPython(t, directory, prefix);
    const image = join(directory, "image.elf");
    const [command, ...args] = [...prefix, crimgCommand, "dump", String(pid), "-o", image, "--bundle"];
    succeed(run(command as string, args));
    await until("it is gone", () => !existsSync(`/proc/${pid}`));
    copyFileSync("/usr/bin/true", join(directory, "python"));
    rmSync(join(directory, "shared"));
    assert.equal(run(crimgCommand, ["validate", "--profile", "host", image]).stdout.includes("error"), false);
    const resumed = await resume(t, directory, image, prefix);
    assert.match(resumed.said, /python is gone or another file now: its bytes come from the image/);
    await goesOn(directory);
    const program = resumed.pid;
    assert.equal(readlinkSync(`/proc/${program}/exe`), `/memfd:${join(directory, "python")} (deleted)`);
    assert.ok(mappedNames(program).includes(join(directory, "shared")), "what it shares with others is under its name again");
    assert.ok(readFileSync(join(directory, "shared")).readBigUInt64LE() > 2n, "and shared");
    // The next image has all of it, too.
    const again = join(directory, "again.elf");
    const [next, ...nextArgs] = [...prefix, crimgCommand, "dump", String(program), "-o", again];
    succeed(run(next as string, nextArgs));
    rmSync(image);
    await until("it is gone again", () => !existsSync(`/proc/${program}`));
    await resume(t, directory, again, prefix);
    await goesOn(directory);
  });
}

test("nothing at all is there but /proc: python in an empty root", { skip: !isRoot && "needs root" }, async (t) => {
  const directory = temporaryDirectory(t);
  const pid = await startPython(t, directory);
  const image = join(directory, "image.elf");
  succeed(crimg("dump", String(pid), "-o", image, "--bundle"));
  await until("it is gone", () => !existsSync(`/proc/${pid}`));
  const empty = join(directory, "empty");
  const inside = join(empty, directory);
  for (const folder of [join(empty, "proc"), join(empty, "dev"), inside]) mkdirSync(folder, { recursive: true });
  copyFileSync(image, join(empty, "image.elf"));
  chmodSync(join(empty, "image.elf"), 0o700);
  const script = [
    `mount -t proc proc ${empty}/proc`,
    `touch ${empty}/dev/null && mount --bind /dev/null ${empty}/dev/null`,
    `exec chroot ${empty} /image.elf --detach --pidfile ${directory}/pid`,
  ].join(" && ");
  const said = succeed(run("unshare", ["-m", "sh", "-c", script]));
  assert.match(said, /come from the image/);
  const resumed = Number(readFileSync(join(inside, "pid"), "utf8"));
  t.after(() => endTree(resumed));
  await goesOn(inside);
  for (const name of mappedNames(resumed)) assert.match(name, /^\/memfd:\/.* \(deleted\)$|\/shared$/);
});

test("a static program, and an image that is bundled afterwards", async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(
    join(directory, "s.c"),
    `#include <stdio.h>
#include <unistd.h>
int main(void) {
  char s[16];
  for (int n = 1;; usleep(50000)) {
    sprintf(s, "%d", n++);
    symlink(s, "ticks.new");
    rename("ticks.new", "ticks");
  }
}
`,
  );
  const program = join(directory, "s");
  assert.equal(spawnSync("cc", ["-static", "-o", program, join(directory, "s.c")]).status, 0);
  const { pid } = start(t, program, [], { cwd: directory });
  await until("it counts", () => ticksIn(directory) > 2);
  const [plain, bundled] = [join(directory, "plain.elf"), join(directory, "bundled.elf")];
  succeed(crimg("dump", String(pid), "-o", plain));
  succeed(crimg("convert", plain, bundled, "--bundle"));
  await until("it is gone", () => !existsSync(`/proc/${pid}`));
  writeFileSync(program, "something else");
  assert.match(run(plain, []).stderr, /changed since the dump|another build/);
  const refused = crimg("convert", plain, join(directory, "late.elf"), "--bundle");
  assert.equal(refused.status, 4);
  assert.match(refused.stderr, /--bundle: .*\/s has \d+ bytes now/);
  assert.ok(!existsSync(join(directory, "late.elf")));
  await resume(t, directory, bundled);
  await goesOn(directory);
  // Its pages can be had from the image: a core has the program's text.
  succeed(crimg("convert", bundled, join(directory, "core.1"), "--full"));
});

test("what is left out of a bundle is told", async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, "config"), "read");
  const code = 'import time\na = open("config")\nb = open("log", "a")\nwhile True: time.sleep(0.1)\n';
  const { pid } = start(t, "/usr/bin/python3", ["-c", code], { cwd: directory });
  await until("it has its files", () => existsSync(join(directory, "log")));
  await new Promise((resolve) => setTimeout(resolve, 200));
  const image = join(directory, "image.elf");
  assert.match(
    succeed(crimg("dump", String(pid), "-o", image, "--bundle")),
    /^lost: not in the image, and so needed at the resume: \S*\/log \(the program writes it\) \[files, bundle.left-out\]\n$/,
  );
  await until("it is gone", () => !existsSync(`/proc/${pid}`));
  rmSync(join(directory, "config"));
  await resume(t, directory, image);
});

for (const isOwn of [true, false]) {
  test(`a program whose file was removed executes itself again: ${isOwn ? "this user" : "an ordinary user"}`, {
    skip: !isOwn && !isRoot && "needs root",
  }, async (t) => {
    const directory = temporaryDirectory(t);
    const prefix = isOwn ? [] : ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"];
    if (!isOwn) chownSync(directory, nobody, nobody);
    writeFileSync(
      join(directory, "r.c"),
      `#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static volatile int again;
static void onHup(int signal) { (void)signal; again = 1; }
int main(int argc, char **argv)
{
	int log = open("log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, 0);
	dprintf(log, "start %d\\n", argc);
	signal(SIGHUP, onHup);
	for (;;) { usleep(20000); if (again) execl("/proc/self/exe", argv[0], "again", (char *)0); }
}
`,
    );
    const program = join(directory, "r");
    assert.equal(spawnSync("cc", ["-o", program, join(directory, "r.c")]).status, 0);
    const [command, ...args] = [...prefix, program];
    const { pid } = start(t, command as string, args, { cwd: directory });
    const log = (): string => (existsSync(join(directory, "log")) ? readFileSync(join(directory, "log"), "utf8") : "");
    await until("it runs", () => log() === "start 1\n");
    rmSync(program);
    const image = join(directory, "image.elf");
    const [dumper, ...dumpArgs] = [...prefix, crimgCommand, "dump", String(pid), "-o", image];
    succeed(run(dumper as string, dumpArgs));
    await until("it is gone", () => !existsSync(`/proc/${pid}`));
    const resumed = await resume(t, directory, image, prefix);
    const root = resumed.pid;
    assert.equal(readlinkSync(`/proc/${root}/exe`), `${program} (deleted)`);
    process.kill(root, "SIGHUP");
    await until("it has executed itself", () => log() === "start 1\nstart 2\n");
    assert.equal(readlinkSync(`/proc/${root}/exe`), `${program} (deleted)`);
  });
}
