// SPDX-License-Identifier: Apache-2.0
/** --rehearse: an image is resumed up to where it would run, and discarded; nothing outside changes. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, lstatSync, readFileSync, readdirSync, renameSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { inOwnWorld } from "../support/own-world.js";
import { compile, crimg, isAlive, list, run, start, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand, projectRoot } from "../support/project.js";

/** Whether sockets, queues and mounts that are seen are those of this file's own programs. */
const isOwn = inOwnWorld(import.meta.url);
const nobody = 65534;
const isRoot = process.getuid?.() === 0;
const installed = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
/** Not everybody may make namespaces. */
const skip = spawnSync("unshare", [...(isRoot ? [] : ["-r"]), "-pfmnui", "true"]).status !== 0 && "no private namespaces here";

/**
 * What somebody outside can see: every name below a directory with inode, size, mode, owner and times; sockets, queues and
 * System V objects; mounts. Without a world of its own other programs change these too: then sockets (abstract ones
 * too) and mounts that name the directory are all that is compared.
 */
function outside(directory: string): Map<string, string> {
  const seen = new Map<string, string>();
  const visit = (path: string): void => {
    const { ino, size, mode, uid, gid, nlink, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
    seen.set(path, [ino, size, mode, uid, gid, nlink, mtimeNs, ctimeNs].join(" "));
    if ((Number(mode) & 0o170000) === 0o040000) for (const name of readdirSync(path)) visit(join(path, name));
  };
  visit(directory);
  if (isOwn) for (const place of ["/dev/mqueue", "/dev/shm"]) seen.set(place, list(place).sort().join(" "));
  const shared = ["net/tcp", "net/tcp6", "net/udp", "net/udp6", "sysvipc/shm", "sysvipc/sem", "sysvipc/msg"];
  // Columns of tcp, udp and unix that count time and memory change by themselves: local address, state and inode are taken.
  for (const file of [...(isOwn ? shared : []), "net/unix", "self/mountinfo"]) {
    const all = readFileSync(`/proc/${file}`, "utf8").split("\n").slice(1);
    const lines = isOwn ? all : all.filter((line) => line.includes(directory));
    const columns = file === "net/unix" ? [4, 5, 6, 7] : file.startsWith("net/") ? [1, 2, 3, 9] : undefined;
    const text = columns ? lines.map((line) => columns.map((at) => line.trim().split(/\s+/)[at]).join(" ")).sort() : lines;
    seen.set(file, text.join("\n"));
  }
  return seen;
}

/** Runs `work` while the tree stands still, and fails if it changed anything, even for a moment, in the directory. */
async function assertNothingChanges(directory: string, work: () => void | Promise<void>): Promise<void> {
  const events: string[] = [];
  const watcher = watch(directory, (event, name) => events.push(`${event} ${name}`));
  try {
    const before = outside(directory);
    await work();
    await new Promise((done) => setTimeout(done, 50));
    const after = outside(directory);
    for (const [what, state] of before) assert.equal(after.get(what), state, what);
    assert.deepEqual([...after.keys()], [...before.keys()]);
    assert.deepEqual(events, []);
  } finally {
    watcher.close();
  }
}

interface Subject {
  readonly name: string;
  readonly needs?: string;
  readonly begin: (directory: string) => readonly [string, ...string[]];
  readonly isReady: (directory: string) => boolean;
}

/** Everything that a restore makes where others could see it. */
const visible = `
import os, socket, time
held = []
def keep(one): held.append(one); return one
keep(socket.create_server(("127.0.0.1", 0)))
keep(socket.create_server(("0.0.0.0", 0)))
keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).connect(("127.0.0.1", 9))
for name in ("sock", "gone", "\\0%s/rehearsed" % os.getcwd()):
    one = keep(socket.socket(socket.AF_UNIX)); one.bind(name); one.listen()
os.unlink("gone")
ghost = keep(open("ghost", "w+")); ghost.write("x" * 9000); ghost.flush(); os.unlink("ghost")
os.mkdir("folder"); keep(os.open("folder", os.O_RDONLY)); os.rmdir("folder")
os.mkfifo("fifo"); fifo = keep(os.open("fifo", os.O_RDWR)); os.write(fifo, b"waiting")
named = keep(open("named", "w+")); named.write("y" * 100); named.flush()
import fcntl
fcntl.flock(named, fcntl.LOCK_EX); fcntl.lockf(ghost, fcntl.LOCK_EX)
other = keep(open("first-name", "w+")); os.link("first-name", "second-name"); os.unlink("first-name")
open("ready", "w").close()
time.sleep(600)
`;

const log = (directory: string): string => join(directory, "log");
const hasLines = (directory: string): boolean => existsSync(log(directory)) && readFileSync(log(directory), "utf8").split("\n").length > 4;
const testProgram = (name: string): string => join(projectRoot, "test/programs", name);

const subjects: readonly Subject[] = [
  {
    name: "all that could be seen outside",
    begin: (directory) => ["python3", "-c", `import os\nos.chdir(${JSON.stringify(directory)})\n${visible}`],
    isReady: (directory) => existsSync(join(directory, "ready")),
  },
  { name: "python with threads", begin: (directory) => ["python3", testProgram("threads.py"), log(directory)], isReady: hasLines },
  { name: "a bash pipeline", begin: (directory) => ["bash", testProgram("pipeline.sh"), log(directory)], isReady: hasLines },
  {
    name: "redis",
    needs: "redis-server",
    begin: (directory) => ["redis-server", "--port", "0", "--unixsocket", join(directory, "sock"), "--save", "", "--dir", directory],
    isReady: (directory) => run("redis-cli", ["-s", join(directory, "sock"), "ping"]).stdout.trim() === "PONG",
  },
  {
    name: "nginx",
    needs: "nginx",
    begin: (directory) => {
      const port = 20_000 + (process.pid % 20_000);
      writeFileSync(
        join(directory, "nginx.conf"),
        `daemon off; worker_processes 2; error_log ${directory}/error.log; pid ${directory}/pid;
events {} http { access_log ${directory}/access.log; server { listen 127.0.0.1:${port}; location / { return 200 yes; } } }\n`,
      );
      return ["nginx", "-p", directory, "-c", join(directory, "nginx.conf")];
    },
    isReady: (directory) => existsSync(join(directory, "pid")) && readFileSync(join(directory, "pid"), "utf8").length > 0,
  },
];

for (const subject of subjects) {
  test(`${subject.name}: passes, and nothing outside changes`, { skip, timeout: 180_000 }, async (t) => {
    if (subject.needs !== undefined && !installed(subject.needs)) return t.skip(`${subject.needs} is not installed`);
    const directory = temporaryDirectory(t);
    const images = temporaryDirectory(t);
    const [command, ...args] = subject.begin(directory);
    const { pid } = start(t, command, args, { cwd: directory });
    await until("it runs", () => subject.isReady(directory));
    const image = join(images, "image.elf");
    // Left stopped, so that whatever changes is a rehearsal's doing.
    const dumped = crimg("dump", String(pid), "-o", image, "--leave-stopped", "--rehearse");
    assert.equal(dumped.status, 0, dumped.stderr);
    assert.deepEqual(readdirSync(images), ["image.elf"]);
    await assertNothingChanges(directory, () => {
      const again = crimg("dump", String(pid), "-o", join(images, "again.elf"), "--leave-stopped", "--rehearse");
      assert.equal(again.status, 0, again.stderr);
      const checked = crimg("check", image, "--rehearse");
      assert.equal(checked.status, 0, checked.stderr);
      assert.match(checked.stdout, /resumes here/);
    });
    process.kill(pid, "SIGCONT");
  });
}

test("what would not resume is refused, with the op that fails, and the program goes on", { skip, timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  chmodSync(directory, 0o755);
  const words = isRoot
    ? ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    : ["env"];
  if (isRoot) chownSync(directory, nobody, nobody);
  const [head = "", ...rest] = words;
  const { pid } = start(t, head, [...rest, compile("counter.c", directory), log(directory)], { cwd: directory });
  await until("it counts", () => hasLines(directory));
  const before = readdirSync(directory);
  // Whoever dumps has a lower hard limit than the program, and may not raise it.
  const dump = (...args: string[]): ReturnType<typeof run> =>
    run(head, [...rest, "prlimit", "--nofile=256:256", crimgCommand, "dump", String(pid), "--rehearse", ...args]);
  const { status, stderr } = dump("-o", join(directory, "image.elf"));
  assert.equal(status, 4, stderr);
  assert.match(stderr, /the image would not resume here: task \d+ \(counter\): set limit nofile to \d+, hard \d+: Operation not permitted/);
  assert.match(stderr, /The program continues/);
  assert.deepEqual(readdirSync(directory), before);
  assert.ok(isAlive(pid));
  const { size } = lstatSync(log(directory));
  await until("it goes on", () => lstatSync(log(directory)).size > size);
  assert.match(dump("-o", "-").stderr, /--rehearse is for executable images/);
});

test("an image whose file is missing does not pass", { skip, timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const { pid } = start(t, compile("counter.c", directory), [log(directory)], { cwd: directory });
  await until("it counts", () => hasLines(directory));
  const image = join(directory, "image.elf");
  assert.equal(crimg("dump", String(pid), "-o", image, "--leave-running").status, 0);
  renameSync(log(directory), join(directory, "moved"));
  const { status, stderr } = crimg("check", image, "--rehearse");
  assert.equal(status, 1, stderr);
  assert.match(stderr, /image\.elf would not resume here: .*open .*log for fd \d+.*: No such file or directory/);
  assert.ok(isAlive(pid));
  assert.equal(crimg("check", image).status, 2);
  assert.equal(crimg("check", "--rehearse").status, 2);
});
