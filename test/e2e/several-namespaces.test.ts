// SPDX-License-Identifier: Apache-2.0
/** Processes of one tree in several mount and uts namespaces, with settings of their own, come back where they lived, twice. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { closeLeaks, endTree, run, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const isRoot = process.getuid?.() === 0;

/** The parent mounts "both" before it forks, and "outer" afterwards; the child, in namespaces of its own by then, "inner". */
const program = `
import ctypes, json, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
def mount(source, target, kind, flags):
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, b"") != 0: raise OSError(ctypes.get_errno(), target)
def write(path, text):
    with open(path, "w") as out: out.write(text)
write("/proc/sys/net/ipv4/ip_default_ttl", "77")
write("/proc/sys/kernel/msgmax", "12345")
mount("none", "both", "tmpfs", 0)
write("both/file", "of both")
there, told = os.pipe()
child = os.fork()
name = "outer" if child else "inner"
if child == 0:
    if libc.unshare(0x20000 | 0x4000000) != 0: raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname("inner-host")
    os.write(told, b"x")
else:
    os.read(there, 1)
    socket.sethostname("outer-host")
mount("none", name, "tmpfs", 0)
write(name + "/file", "of " + name)
mount(name, "part", "", 0x1000)
held = open(name + "/file", "r+")
held.seek(3)
gone = open(name + "/gone", "w+"); gone.write("gone"); gone.flush(); os.unlink(name + "/gone")
os.chdir("part")
# A file system context, which no image keeps, is left out: what was collected before it was met is collected anew.
libc.syscall(430, b"tmpfs", 0)
def text(path):
    try: return open(path).read()
    except OSError as error: return error.errno
count = 0
while True:
    count += 1
    report = dict(count=count, pid=os.getpid(), host=socket.gethostname(), part=text("file"), here=os.listdir("."),
        held=[held.tell(), os.fstat(held.fileno()).st_ino == os.stat("file").st_ino, os.fstat(held.fileno()).st_nlink],
        gone=os.pread(gone.fileno(), 9, 0).decode(), seen=[text("../" + where + "/file") for where in ("both", "outer", "inner")],
        ttl=text("/proc/sys/net/ipv4/ip_default_ttl"), msgmax=text("/proc/sys/kernel/msgmax"),
        mine=len([line for line in open("/proc/self/mountinfo") if sys.argv[1] in line]))
    write("../report.new-" + name, json.dumps(report))
    os.rename("../report.new-" + name, "../report-" + name)
    time.sleep(0.05)
`;

interface Report {
  readonly count: number;
  readonly host: string;
  readonly seen: readonly (string | number)[];
  readonly ttl: string;
}

test("a child in mount and uts namespaces of its own, twice", { skip: !isRoot && "only root makes them", timeout: 60_000 }, async (t) => {
  const started: number[] = [];
  t.after(() => {
    for (const pid of started) endTree(pid);
  });
  const directory = temporaryDirectory(t);
  const script = join(directory, "program.py");
  writeFileSync(script, program);
  for (const name of ["both", "outer", "inner", "part"]) mkdirSync(join(directory, name));
  const launch = (...command: string[]): number => {
    const { pid } = spawn("bash", ["-c", `${closeLeaks}; exec "$@"`, "bash", ...command], { stdio: ["ignore", "ignore", "inherit"] });
    started.push(pid ?? 0);
    return pid ?? assert.fail(`cannot start ${command[0]}`);
  };
  const read = (name: string): Report | undefined => {
    const path = join(directory, `report-${name}`);
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Report) : undefined;
  };
  const after = (name: string, count: number): Promise<Report> =>
    until(`${name} reports`, () => {
      const report = read(name);
      return report !== undefined && report.count > count && report;
    });
  const outside = launch("unshare", "-pfmniu", "--mount-proc", "python3", script, directory);
  const first = { outer: await after("outer", 1), inner: await after("inner", 1) };
  assert.deepEqual(first.inner.seen, ["of both", 2, "of inner"]);
  assert.deepEqual(first.outer.seen, ["of both", "of outer", 2]);
  assert.deepEqual([first.outer.host, first.inner.host, first.inner.ttl.trim()], ["outer-host", "inner-host", "77"]);
  let pid = await until("the program is there", () => treeOf(outside).at(1));
  for (const image of ["first.elf", "second.elf"].map((name) => join(directory, name))) {
    const dumped = run(crimgCommand, ["dump", String(pid), "-o", image, "--ignore", "descriptor"]);
    assert.equal(dumped.status, 0, dumped.stderr);
    const before = { outer: read("outer")?.count ?? 0, inner: read("inner")?.count ?? 0 };
    const waiter = launch(image);
    for (const name of ["outer", "inner"] as const) {
      const last = await after(name, before[name] + 1);
      assert.deepEqual({ ...last, count: 0 }, { ...first[name], count: 0 });
    }
    pid = await until("the program is there", () => treeOf(waiter).at(1));
  }
  const shown = run(crimgCommand, ["show", join(directory, "second.elf"), "namespaces"]);
  assert.match(shown.stdout, /inner-host/);
  // Without its namespaces nothing may be said any more of which files lay in which of them.
  const here = join(directory, "here.elf");
  assert.equal(run(crimgCommand, ["convert", join(directory, "second.elf"), here, "--here"]).status, 0);
  const validated = run(crimgCommand, ["validate", here]);
  assert.equal(validated.status, 0, validated.stdout + validated.stderr);
});
