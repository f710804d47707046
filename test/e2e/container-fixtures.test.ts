// SPDX-License-Identifier: Apache-2.0
/** Checkpoints that Podman and runc made become executables that go on as the containers did, without their engine. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, run, temporaryDirectory, treeOf, until } from "../support/processes.js";
import { fixtures } from "../support/project.js";

const skip = process.getuid?.() !== 0 && "containers of root's";
const directory = join(fixtures, "containers");

interface TrueFile {
  readonly fd: number;
  readonly what: string;
  readonly flags: string;
  readonly position: number;
  readonly other_end?: string;
}

interface TrueProcess {
  readonly pid: number;
  readonly comm: string;
  readonly exe: string;
  readonly cwd: string;
  readonly cmdline: readonly string[];
  readonly environ: readonly string[];
  readonly CapEff: string;
  readonly CapBnd: string;
  readonly NoNewPrivs: string;
  readonly Seccomp: string;
  readonly threads: readonly { readonly tid: number; readonly comm: string }[];
  readonly fds: readonly TrueFile[];
}

interface Truth {
  readonly hostname: string;
  readonly last_number_printed: number;
  readonly processes: readonly TrueProcess[];
  readonly mounts: readonly { readonly mountpoint: string; readonly fstype: string; readonly options: string }[];
}

const truths = (JSON.parse(readFileSync(join(directory, "truth.json"), "utf8")) as { archives: Record<string, Truth> }).archives;

/** The root file system of all of them, unpacked. */
function unpackedRoot(to: string): string {
  const root = join(to, "rootfs");
  mkdirSync(root);
  const { status } = spawnSync("tar", ["xf", join(directory, "rootfs.tar"), "-C", root]);
  assert.equal(status, 0);
  return root;
}

/** Every file of a directory with what tells whether it was changed. */
function contents(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((name) => `${name} ${statSync(join(root, name)).mode} ${statSync(join(root, name)).size}`)
    .sort();
}

interface Running {
  /** Outside. */
  readonly pid: number;
  readonly waiter: number;
  lines(): string[];
}

/** Executes an image in the foreground; what it prints goes to a file. */
async function resumed(t: TestContext, image: string, words: readonly string[] = [], as: readonly string[] = []): Promise<Running> {
  const out = `${image}.out`;
  const fd = openSync(out, "w", 0o666);
  const [head = "", ...rest] = [...as, image, ...words];
  const child = spawn(head, rest, { stdio: ["ignore", fd, fd] });
  closeSync(fd);
  const waiter = child.pid ?? assert.fail("no process");
  t.after(() => endTree(waiter));
  const lines = (): string[] => readFileSync(out, "utf8").split("\n").slice(0, -1);
  await until("ten numbers", () => {
    assert.equal(child.exitCode, null, lines().join("\n"));
    return lines().length >= 10;
  });
  // Of an ordinary user there is another first process, which made the tree.
  const isFirst = (status: string): boolean => /^Name:\tcounter$/m.test(status) && /^NSpid:.*\t1$/m.test(status);
  const pid = treeOf(waiter).find((one) => isFirst(readFileSync(`/proc/${one}/status`, "utf8")));
  return { pid: pid ?? assert.fail("no first process"), waiter, lines };
}

/** The numbers go on where they were, none is missing, and the program found nothing changed. */
function assertGoesOn(lines: readonly string[], from: number): void {
  assert.deepEqual(
    lines.slice(0, 10),
    Array.from({ length: 10 }, (_, index) => String(from + index)),
  );
}

/** What /proc tells of the processes is what it told before the checkpoint. */
function assertTrue({ pid }: Running, truth: Truth): void {
  for (const wanted of truth.processes) {
    const own = treeOf(pid).find((one) => new RegExp(`^NSpid:.*\\t${wanted.pid}$`, "m").test(readFileSync(`/proc/${one}/status`, "utf8")));
    assert.ok(own !== undefined, `process ${wanted.pid}`);
    const read = (name: string): string => readFileSync(`/proc/${own}/${name}`, "utf8");
    const status = read("status");
    for (const field of ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] as const)
      assert.match(status, new RegExp(`^${field}:\\s*${wanted[field]}$`, "m"), `${field} of ${wanted.pid}`);
    assert.deepEqual(read("cmdline").split("\0").slice(0, -1), wanted.cmdline);
    assert.deepEqual(read("environ").split("\0").slice(0, -1), wanted.environ);
    assert.equal(readlinkSync(`/proc/${own}/exe`), wanted.exe);
    assert.equal(readlinkSync(`/proc/${own}/cwd`), wanted.cwd);
    const threads = readdirSync(`/proc/${own}/task`).map((tid) => read(`task/${tid}/comm`).trim());
    assert.deepEqual(threads.sort(), wanted.threads.map(({ comm }) => comm).sort());
    for (const { fd, what, flags, position, other_end: end } of wanted.fds) {
      // What the engine held is the caller's now.
      if (end === "outside" || what.startsWith("/dev/pts/")) continue;
      const link = readlinkSync(`/proc/${own}/fd/${fd}`);
      assert.ok(what === "pipe" ? link.startsWith("pipe:") : link === what, `fd ${fd} of ${wanted.pid}: ${link}`);
      const info = read(`fdinfo/${fd}`);
      assert.match(info, new RegExp(`^pos:\\s*${position}\nflags:\\s*${flags}$`, "m"), `fd ${fd} of ${wanted.pid}`);
    }
  }
  const found = new Map(
    readFileSync(`/proc/${pid}/mountinfo`, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => [line.split(" ")[4] ?? "", line] as const),
  );
  for (const { mountpoint, fstype, options } of truth.mounts) {
    // What the engine made for the container is a file of the root, control groups are the machine's, the console the caller's.
    if (/^\/(etc\/|run\/|sys\/fs\/cgroup\/|dev\/console)/.test(mountpoint) || mountpoint === "/") continue;
    const line = found.get(mountpoint) ?? assert.fail(`nothing is mounted at ${mountpoint}`);
    // Whoever may not make devices shows the machine's, whose mount has its own flags.
    if (line.includes(" - devtmpfs ")) continue;
    if (mountpoint !== "/data") assert.ok(line.includes(` - ${fstype} `), `${line}: ${fstype}`);
    const [own, before] = [line.split(" ")[5] ?? "", options].map((text) => text.split(",").sort());
    assert.deepEqual(own, before, mountpoint);
  }
  const [other] = [...treeOf(pid)];
  const name = run("nsenter", ["-t", String(other), "-u", "hostname"]).stdout.trim();
  assert.equal(name, truth.hostname);
}

interface Case {
  readonly file: string;
  readonly truth: string;
  readonly mounts?: readonly string[];
}

const [terminal, memory, volume, plain]: readonly [Case, Case, Case, Case] = [
  { file: "counter-tty.tar.zst", truth: "counter-tty.tar.zst" },
  { file: "counter-shm.tar.zst", truth: "counter-shm.tar.zst" },
  { file: "counter-volume.tar.gz", truth: "counter-volume.tar", mounts: ["--mount", `/data=${join(directory, "demo-volume")}`] },
  { file: "runc-counter", truth: "runc-counter" },
];
const cases = [terminal, memory, volume, plain];
const nobody = 65534;
const asNobody = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
interface Person {
  readonly who: string;
  readonly as: readonly string[];
}
const root: Person = { who: "root", as: [] };
const ordinary: Person = { who: "an ordinary user", as: asNobody };

for (const { file, truth: name, mounts = [] } of cases) {
  const truth = truths[name];
  for (const { who, as } of [root, ordinary]) {
    test(`${file} goes on with a directory as its root, for ${who}`, { skip, timeout: 60_000 }, async (t) => {
      assert.ok(truth);
      const to = temporaryDirectory(t);
      const root = unpackedRoot(to);
      const image = join(to, "image.elf");
      const converted = crimg("convert", join(directory, file), image, "--rootfs", root, ...mounts);
      assert.equal(converted.status, 0, converted.stderr);
      if (as.length > 0) {
        chmodSync(to, 0o755);
        for (const path of [image, root, ...readdirSync(root, { recursive: true, encoding: "utf8" }).map((one) => join(root, one))])
          chownSync(path, nobody, nobody);
      }
      const judged = crimg("validate", "--profile", "host", image).stdout;
      assert.doesNotMatch(judged, /^error|host\.pid-taken/m);
      const before = contents(root);
      const running = await resumed(t, image, [], as);
      assertGoesOn(running.lines(), truth.last_number_printed + 1);
      assertTrue(running, truth);
      // The engine's own layer is memory; the root of a runtime is the directory, where mount points may have come to be.
      if (file === "runc-counter") return;
      assert.deepEqual(contents(root), before);
    });
  }
}

const alone = [
  { of: memory, how: "bundled", by: root },
  { of: volume, how: "bundled", by: ordinary },
  { of: plain, how: "bundled", by: root },
  { of: terminal, how: "from a tar of its root", by: ordinary },
];

for (const {
  of: { file, truth: name, mounts = [] },
  how,
  by: { who, as },
} of alone) {
  test(`${file} goes on as one file, ${how}, for ${who}`, { skip, timeout: 60_000 }, async (t) => {
    const truth = truths[name] ?? assert.fail(name);
    const to = temporaryDirectory(t);
    const image = join(to, "image.elf");
    const root = how === "bundled" ? unpackedRoot(to) : join(directory, "rootfs.tar");
    const converted = crimg(
      "convert",
      join(directory, file),
      image,
      "--rootfs",
      root,
      ...mounts,
      ...(how === "bundled" ? ["--bundle"] : []),
    );
    assert.equal(converted.status, 0, converted.stderr);
    if (how === "bundled") rmSync(root, { recursive: true });
    chmodSync(to, 0o755);
    if (as.length > 0) chownSync(image, nobody, nobody);
    const running = await resumed(t, image, [], as);
    assertGoesOn(running.lines(), truth.last_number_printed + 1);
    assertTrue(running, truth);
  });
}

for (const how of ["a directory as its root", "one file"]) {
  test(`a resumed container is dumped and goes on again, with ${how}, for root`, { skip, timeout: 90_000 }, async (t) => {
    const truth = truths[volume.truth] ?? assert.fail();
    const to = temporaryDirectory(t);
    const image = join(to, "image.elf");
    const files = unpackedRoot(to);
    writeFileSync(join(files, "etc/old"), "old\n");
    const options = how === "one file" ? ["--bundle"] : [];
    const converted = crimg("convert", join(directory, volume.file), image, "--rootfs", files, ...(volume.mounts ?? []), ...options);
    assert.equal(converted.status, 0, converted.stderr);
    const first = await resumed(t, image);
    const inside = (path: string): string => `/proc/${first.pid}/root${path}`;
    // What the program has in its own layer now: a new file, one changed, one removed.
    writeFileSync(inside("/var/new"), "new\n");
    rmSync(inside("/etc/old"), { force: true });
    writeFileSync(inside("/bin/counter.txt"), "counts\n");
    const again = join(to, "again.elf");
    const dumped = crimg("dump", String(first.pid), "-o", again, "--ignore", "cgroup");
    assert.equal(dumped.status, 0, dumped.stderr);
    const last = Number(first.lines().at(-1));
    assert.deepEqual(
      [...first.lines()].map(Number),
      Array.from({ length: last - truth.last_number_printed }, (_, index) => truth.last_number_printed + 1 + index),
    );
    if (how === "one file") rmSync(files, { recursive: true });
    const second = await resumed(t, again);
    assertGoesOn(second.lines(), last + 1);
    assert.equal(readFileSync(`/proc/${second.pid}/root/var/new`, "utf8"), "new\n");
    assert.equal(readFileSync(`/proc/${second.pid}/root/bin/counter.txt`, "utf8"), "counts\n");
    assert.ok(!readdirSync(`/proc/${second.pid}/root/etc`).includes("old"));
    assert.deepEqual(readdirSync(`/proc/${second.pid}/root/var/demo`), ["written.dat"]);
  });
}
