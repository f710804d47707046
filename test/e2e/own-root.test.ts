// SPDX-License-Identifier: Apache-2.0
/** A tree with a root directory of its own, as container engines make it: dumped from outside, resumed with another copy of the root. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { compile, crimg, endTree, run, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const skip = process.getuid?.() !== 0 && "only root makes a container without a user namespace";

/** Enters new namespaces, makes a directory the root, and becomes /counter. */
const engine = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def ok(result):
    if result != 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def mount(source, target, kind, flags, data=None): ok(libc.mount(source, target, kind, flags, data))
root, hosts = sys.argv[1:3]
ok(libc.unshare(0x00020000 | 0x04000000 | 0x08000000 | 0x40000000 | 0x20000000))
if os.fork() == 0:
    os.setsid()
    libc.sethostname(b"box", 3)
    mount(None, b"/", None, 0x44000)
    mount(root.encode(), root.encode(), None, 0x5000)
    os.chdir(root)
    mount(b"proc", b"proc", b"proc", 0xe)
    mount(b"tmpfs", b"dev", b"tmpfs", 0xa, b"mode=755,size=64k")
    os.mknod("dev/null", 0o20666, os.makedev(1, 3)); os.chmod("dev/null", 0o666)
    os.symlink("/proc/self/fd", "dev/fd")
    mount(hosts.encode(), b"etc/hosts", None, 0x1000)
    mount(b"dev/null", b"proc/keys", None, 0x1000)
    mount(b"proc/sys", b"proc/sys", None, 0x1000)
    mount(None, b"proc/sys", None, 0x1021)
    ok(libc.syscall(155, b".", b"."))
    ok(libc.umount2(b".", 2))
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3): os.dup2(null, fd)
    os.closerange(3, 300)
    os.execve("/counter", ["/counter", "/log"], {})
os.wait()
`;

test("a container's process, dumped from outside and resumed with a copy of its root, twice", { skip, timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const root = join(directory, "root");
  for (const name of ["", "proc", "dev", "etc"]) mkdirSync(join(root, name), { recursive: true });
  writeFileSync(join(root, "etc/hosts"), "");
  const hosts = join(directory, "hosts");
  writeFileSync(hosts, "10.0.0.1 box\n");
  compile("counter.c", root, "-static");
  writeFileSync(join(directory, "engine.py"), engine);
  const start = (name: string, ...words: string[]): number => {
    const { pid } = spawn(name, words, { stdio: ["ignore", "inherit", "inherit"] });
    t.after(() => endTree(pid ?? 0));
    return pid ?? assert.fail(`cannot start ${name}`);
  };
  const outer = start("python3", join(directory, "engine.py"), root, hosts);
  await moreTicks(join(root, "log"), 3);
  let pid = await until("the program is there", () => treeOf(outer).at(1));
  const mounts = (): string[] =>
    readFileSync(`/proc/${pid}/mountinfo`, "utf8")
      .split("\n")
      .map((line) => line.replace(/^\d+ \d+ \S+ \S+ (\S+ \S+).*( - \S+).*$/, "$1$2"))
      // A file that the image brought is in a tmpfs now.
      .map((line) => line.replace(/^(\/etc\/hosts|\/) .*/, "$1"));
  const before = mounts();
  let image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image, "--ignore", "cgroup");
  assert.equal(dumped.status, 0, dumped.stderr);
  const [copy, moved] = [join(directory, "copy"), join(directory, "moved")];
  renameSync(root, copy);
  writeFileSync(hosts, "changed\n");

  const without = spawnSync(image, [], { encoding: "utf8" });
  assert.equal(without.status, 125, without.stderr);
  assert.match(without.stderr, /take .*\/root as root directory: No such file or directory\n.*--rootfs DIR/);

  const rehearsed = spawnSync(image, ["--rehearse", "--rootfs", copy], { encoding: "utf8" });
  assert.equal(rehearsed.status, 0, rehearsed.stderr);

  for (const name of ["first", "second"]) {
    // The directory may be part of the image, or be given to it.
    const placed = name === "first" ? join(directory, `${name}.elf`) : image;
    if (name === "first") {
      const converted = crimg("convert", image, placed, "--rootfs", copy);
      assert.equal(converted.status, 0, converted.stderr);
    } else {
      renameSync(copy, moved);
    }
    const waiter = start(placed, ...(name === "first" ? [] : ["--rootfs", moved]));
    await moreTicks(join(name === "first" ? copy : moved, "log"), 3);
    pid = await until("the program is back", () => treeOf(waiter).at(1));
    await until("it is alone", () => treeOf(waiter).length === 2);
    assert.deepEqual(mounts(), before);
    assert.equal(readFileSync(`/proc/${pid}/root/etc/hosts`, "utf8"), "10.0.0.1 box\n");
    assert.equal(spawnSync("nsenter", ["-t", String(pid), "-u", "hostname"], { encoding: "utf8" }).stdout.trim(), "box");
    assert.notEqual(readlinkSync(`/proc/${pid}/ns/net`), readlinkSync("/proc/self/ns/net"));
    image = join(directory, `${name}-again.elf`);
    const again = crimg("dump", String(pid), "-o", image);
    assert.equal(again.status, 0, again.stderr);
  }
  assertUnbroken(join(moved, "log"));

  // Not as a test's image: what it maps is not on this machine.
  const here = run(crimgCommand, ["convert", image, join(directory, "here.elf"), "--here"]);
  assert.equal(here.status, 0, here.stderr);
  assert.match(here.stderr, /less confined than it was: .*it reaches the files of this machine/);
});
