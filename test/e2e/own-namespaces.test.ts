// SPDX-License-Identifier: Apache-2.0
/** A tree in namespaces of its own comes back in such ones, twice, as the ordinary user who made them, and as root. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { closeLeaks, endTree, run, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const nobody = 65534;
const isRoot = process.getuid?.() === 0;
const unprivileged = isRoot
  ? ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
  : ["env"];

/** Makes what a mount, network, uts and pid namespace can hold, and reports what it sees of it every 50 ms. */
const program = `
import ctypes, fcntl, json, os, signal, socket, stat, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
def mount(source, target, kind, flags, data=""):
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        raise OSError(ctypes.get_errno(), target)
def lo_up():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x1043))
socket.sethostname("box")
lo_up()
mount("none", "tmp", "tmpfs", 0, "size=1m,mode=755")
os.makedirs("tmp/a/b")
open("tmp/a/b/file", "w").write("x" * 5000)
os.link("tmp/a/b/file", "tmp/hard"); os.symlink("a/b", "tmp/link"); os.mkfifo("tmp/fifo"); open("tmp/empty", "w")
os.mkdir("tmp/a/covered"); open("tmp/a/covered/file", "w").write("covered")
os.chmod("tmp/a", 0o711); os.utime("tmp/a/b/file", (1e9, 1e9))
os.mkdir("tmp/bound"); mount("tmp/a", "tmp/bound", "", 0x1000); mount("none", "tmp/bound", "", 0x1021)
mount("none", "tmp/a/covered", "tmpfs", 0)
held = open("tmp/a/b/file", "r+"); held.seek(7)
gone = open("tmp/gone", "w+"); gone.write("gone"); gone.flush(); os.unlink("tmp/gone")
server = socket.socket(); server.bind(("127.0.0.1", 4711)); server.listen()
unix = socket.socket(socket.AF_UNIX); unix.bind("tmp/sock"); unix.listen()
child = os.fork()
if child == 0:
    while True: time.sleep(1)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
def ok(build):
    try: return build()
    except OSError as error: return error.errno
def connect(family, address):
    s = socket.socket(family); s.connect(address)
    (server if family == socket.AF_INET else unix).accept()[0].close(); s.close(); return "connected"
count = asked = 0
answers = {}
while True:
    count += 1
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    here = os.path.realpath(".")
    report = dict(count=count, pid=os.getpid(), parent=os.getppid(), child=child, host=socket.gethostname(),
        uids=os.getresuid(), groups=os.getgroups(),
        caps=[status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        maps=[open("/proc/self/" + name).read().split() for name in ("uid_map", "gid_map", "setgroups")],
        processes=sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        mounts=[line.split(" - ")[0].split(" ")[3:6] + line.split(" - ")[1].split(" ")[:1]
            for line in open("/proc/self/mountinfo").read().splitlines() if here in line or " /proc " in line],
        files=sorted((path[len("tmp"):], oct(os.lstat(os.path.join(path, name)).st_mode), name)
            for path, _, names in os.walk("tmp") for name in names),
        text=len(open("tmp/bound/b/file").read()), links=os.stat("tmp/hard").st_nlink, link=os.readlink("tmp/link"),
        time=os.stat("tmp/a/b/file").st_mtime, held=[held.tell(), os.fstat(held.fileno()).st_ino == os.stat("tmp/hard").st_ino],
        gone=ok(lambda: os.pread(gone.fileno(), 9, 0).decode()), readonly=ok(lambda: open("tmp/bound/new", "w") and "made"),
        covered=ok(lambda: open("tmp/bound/covered/file").read()), devices=open("/proc/net/dev").read().count(":"))
    if os.path.exists("ask"):
        # A connection that is just being made would be in a dump's way.
        os.unlink("ask")
        asked += 1
        answers = dict(tcp=ok(lambda: connect(socket.AF_INET, ("127.0.0.1", 4711))), unix=ok(lambda: connect(socket.AF_UNIX, "tmp/sock")),
            outside=ok(lambda: connect(socket.AF_INET, ("10.255.255.1", 9))))
    report.update(answers, asked=asked)
    with open("report.new", "w") as out: json.dump(report, out)
    os.rename("report.new", "report")
    time.sleep(0.05)
`;

interface Report {
  readonly count: number;
  readonly pid: number;
  readonly host: string;
  readonly tcp: string | number;
  readonly covered: string | number;
  readonly asked: number;
}

function readReport(directory: string): Report | undefined {
  const path = join(directory, "report");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Report) : undefined;
}

async function cycle(t: TestContext, starter: readonly string[], resumer: readonly string[]): Promise<void> {
  const started: number[] = [];
  // Before the directory goes, in which they write.
  t.after(() => {
    for (const pid of started) endTree(pid);
  });
  const directory = temporaryDirectory(t);
  const script = join(directory, "program.py");
  writeFileSync(script, program);
  chmodSync(directory, 0o755);
  spawnSync("mkdir", [join(directory, "tmp")]);
  if (isRoot) for (const path of [directory, join(directory, "tmp")]) chownSync(path, nobody, nobody);
  const launch = (command: readonly string[]): number => {
    const { pid } = spawn("bash", ["-c", `${closeLeaks}; exec "$@"`, "bash", ...command], {
      cwd: directory,
      stdio: ["ignore", "ignore", "inherit"],
    });
    started.push(pid ?? 0);
    return pid ?? assert.fail(`cannot start ${command[0]}`);
  };
  const outside = launch([...starter, "python3", script, directory]);
  const ask = async (): Promise<Report> => {
    const before = readReport(directory)?.asked ?? 0;
    writeFileSync(join(directory, "ask"), "");
    return await until("the program reports", () => {
      const report = readReport(directory);
      return report !== undefined && report.asked > before && report;
    });
  };
  const first = await ask();
  assert.equal(first.pid, 1);
  assert.equal(first.tcp, "connected");
  assert.equal(first.covered, "covered");
  let pid = await until("the program is there", () => treeOf(outside).at(1));
  for (const image of ["first.elf", "second.elf"].map((name) => join(directory, name))) {
    const namespaces = ["user", "mnt", "net", "uts", "pid", "ipc"].map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`));
    const [name = "", ...words] = resumer;
    const dumped = run(name, [...words, crimgCommand, "dump", String(pid), "-o", image]);
    assert.equal(dumped.status, 0, dumped.stderr);
    const before = readReport(directory) ?? assert.fail("no report");
    const waiter = launch([...resumer, image]);
    // What makes the tree lets it go before it is gone itself.
    await ask();
    const last = await ask();
    assert.deepEqual({ ...last, count: 0, asked: 0 }, { ...first, count: 0, asked: 0 });
    assert.ok(last.count < before.count + 100, "it goes on where it was");
    pid = await until("the program is there", () => treeOf(waiter).at(1));
    const again = ["user", "mnt", "net", "uts", "pid", "ipc"].map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`));
    const ours = ["user", "mnt", "net", "uts", "pid", "ipc"].map((kind) => readlinkSync(`/proc/self/ns/${kind}`));
    for (const [index, link] of again.entries()) {
      // What was crimg's own stays the caller's; what was the tree's is none of the caller's.
      if (namespaces[index] === ours[index]) assert.equal(link, ours[index]);
      else assert.notEqual(link, ours[index]);
    }
  }
}

const canMake = spawnSync(unprivileged[0] ?? "", [...unprivileged.slice(1), "unshare", "-Urpfmniu", "true"]).status === 0;
const canRead = spawnSync(unprivileged[0] ?? "", [...unprivileged.slice(1), "test", "-x", crimgCommand]).status === 0;

const why = !canRead ? "the checkout is not readable for an ordinary user" : !canMake ? "no unprivileged user namespaces here" : false;

test("an ordinary user's tree in all kinds of namespaces, twice", { skip: why, timeout: 120_000 }, (t) =>
  cycle(t, [...unprivileged, "unshare", "-Urpfmniu", "--mount-proc"], unprivileged),
);

test("the same, dumped and resumed by root", { skip: why || (!isRoot && "only root may become another user"), timeout: 120_000 }, (t) =>
  cycle(t, [...unprivileged, "unshare", "-Urpfmniu", "--mount-proc"], ["env"]),
);

test("root's tree in namespaces without a user namespace", { skip: !isRoot && "only root makes them", timeout: 120_000 }, (t) =>
  cycle(t, ["unshare", "-pfmniu", "--mount-proc"], ["env"]),
);
