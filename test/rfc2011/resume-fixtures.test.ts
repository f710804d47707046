// SPDX-License-Identifier: Apache-2.0
/**
 * Images that the original tool made in its time, resumed today: sets and version 1 images, with and without the
 * files that their processes mapped. Needs root: pids are the old ones, so each test has namespaces of its own for
 * pids and mounts.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { pidsOf, set2011, truthOf } from "../support/fixtures-2011.js";
import { endTree, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand, fixtures } from "../support/project.js";

const isRoot = process.getuid?.() === 0;
const skip = !isRoot ? "needs root" : spawnSync("unshare", ["-mpf", "--mount-proc", "true"]).status !== 0 ? "needs namespaces" : false;

/** What the resumed processes are, as a script inside the mount namespace sees them. */
interface Seen {
  readonly comm: string;
  readonly cmdline: string;
  readonly exe: string;
  readonly maps: string;
  readonly files: Readonly<Record<string, string>>;
  /** sha256 of the ranges asked for. */
  readonly memory: Readonly<Record<string, string>>;
  readonly ppid: number;
}

const looker = `
const fs = require("node:fs"), crypto = require("node:crypto");
const [, pids, ranges] = process.argv;
const seen = {};
for (const pid of JSON.parse(pids)) {
  const mem = fs.openSync("/proc/" + pid + "/mem", "r");
  const memory = {};
  for (const { name, start, length } of JSON.parse(ranges)[pid]) {
    const bytes = Buffer.alloc(length);
    fs.readSync(mem, bytes, 0, length, Number(start));
    memory[name] = crypto.createHash("sha256").update(bytes).digest("hex");
  }
  const files = {};
  for (const fd of fs.readdirSync("/proc/" + pid + "/fd")) {
    const [, pos] = /pos:\\s+(\\d+)/.exec(fs.readFileSync("/proc/" + pid + "/fdinfo/" + fd, "utf8"));
    files[fd] = fs.readlinkSync("/proc/" + pid + "/fd/" + fd) + " " + pos;
  }
  const text = (name) => fs.readFileSync("/proc/" + pid + "/" + name, "utf8");
  const exe = fs.readlinkSync("/proc/" + pid + "/exe");
  const ppid = Number(/^PPid:\\s+(\\d+)/m.exec(text("status"))[1]);
  seen[pid] = { comm: text("comm").trim(), cmdline: text("cmdline"), exe, maps: text("maps"), files, memory, ppid };
}
console.log(JSON.stringify(seen));
`;

/** Runs a shell script in namespaces where /opt/demo/{bin,run} are folders of the test. */
function inNamespace(directory: string, script: string): ReturnType<typeof spawn> {
  const setUp =
    `mount -t tmpfs none /opt && mkdir -p /opt/demo/bin /opt/demo/run && mount --bind "$1/bin" /opt/demo/bin && mount ` +
    `--bind "$1/run" /opt/demo/run && cd /opt/demo/run &&`;
  return spawn("unshare", ["-mpf", "--mount-proc", "--kill-child", "sh", "-c", `${setUp} ${script}`, "sh", directory, crimgCommand], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
}

/** Folders bin and run as the original had them; `files` says what is in run. */
function folders(t: TestContext, programs: readonly string[], files: Readonly<Record<string, Uint8Array>>): string {
  const directory = temporaryDirectory(t);
  for (const name of ["bin", "run"]) mkdirSync(join(directory, name));
  for (const name of programs) {
    copyFileSync(join(fixtures, "bin", name), join(directory, "bin", name));
    spawnSync("chmod", ["755", join(directory, "bin", name)]);
  }
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, "run", name), bytes);
  return directory;
}

/** Resumes an image, looks at its processes, and ends them. */
async function resumed(
  t: TestContext,
  directory: string,
  image: string,
  pids: readonly number[],
  ranges: Readonly<Record<number, readonly { name: string; start: string; length: number }[]>>,
  options = "",
): Promise<Readonly<Record<number, Seen>>> {
  writeFileSync(join(directory, "look.cjs"), looker.replace("const [, pids, ranges]", "const [, , pids, ranges]"));
  const wait =
    `i=0; while [ $i -lt 100 ] && ! grep -q '^TracerPid:.0$' /proc/${pids[0]}/status 2>/dev/null; do i=$((i+1)); sleep ` +
    `0.05; done; sleep 0.3;`;
  const script =
    `"$2" exec ${options.includes("5<") ? "--map-fd" : ""} '${image}' ${options} & ${wait} ${process.execPath} ` +
    `"$1/look.cjs" '${JSON.stringify(pids)}' '${JSON.stringify(ranges)}'; kill -9 ${[...pids].reverse().join(" ")}; wait`;
  const child = inNamespace(directory, script);
  t.after(() => endTree(child.pid ?? 0));
  let [out, complaints] = ["", ""];
  child.stdout?.on("data", (chunk) => (out += String(chunk)));
  child.stderr?.on("data", (chunk) => (complaints += String(chunk)));
  await until("the processes were looked at", () => child.exitCode !== null || child.signalCode !== null, 30);
  assert.ok(out.startsWith("{"), `${complaints}${out}`);
  return JSON.parse(out) as Record<number, Seen>;
}

/** The program's own ranges of each process; shared files are the host's. */
function rangesOf(set: string): Record<number, { name: string; start: string; length: number }[]> {
  return Object.fromEntries(
    truthOf(set).map(({ pid, memory }) => [
      pid,
      memory.filter(({ name }) => name !== "fileshared").map(({ name, start, length }) => ({ name, start, length })),
    ]),
  );
}

function assertSeen(set: string, seen: Readonly<Record<number, Seen>>): void {
  for (const truth of truthOf(set)) {
    const process = seen[truth.pid];
    assert.ok(process, `process ${truth.pid}`);
    if (!truth.comm.includes(")")) assert.equal(process.comm, truth.comm);
    assert.equal(process.cmdline, `${truth.exe}\0manifest\0`);
    for (const { name, sha256 } of truth.memory)
      if (name !== "fileshared") assert.equal(process.memory[name], sha256, `memory ${name} of ${truth.pid}`);
    const ranges = process.maps
      .trim()
      .split("\n")
      .map((line) => line.split(" ").slice(0, 2).join(" "));
    const letters = ({ prot_bits: prot, shared }: (typeof truth.vmas)[number]): string =>
      `${prot & 1 ? "r" : "-"}${prot & 2 ? "w" : "-"}${prot & 4 ? "x" : "-"}${shared ? "s" : "p"}`;
    assert.deepEqual(
      ranges,
      truth.vmas.map((vma) => `${vma.start.slice(2).padStart(8, "0")}-${vma.end.slice(2).padStart(8, "0")} ${letters(vma)}`),
    );
  }
}

/** Bytes of the files that the programs made: fill() of the fixtures' fx.h. */
function filled(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_none, index) => seed + index * 7 + (index >> 8));
}

for (const [set, program] of [
  ["tiny-sleep", "tiny"],
  ["tiny-norandom", "tiny"],
  ["comm-paren", "tiny-paren"],
] as const) {
  test(`${set}: the set and the ELF image run again`, { skip, timeout: 180_000 }, async (t) => {
    const directory = folders(t, [program], {});
    const pids = pidsOf(set);
    for (const image of [set2011(set), join(set2011(set), "elf", `${pids[0]}.elf`)]) {
      const seen = await resumed(t, directory, image, pids, rangesOf(set));
      assertSeen(set, seen);
      assert.equal(seen[pids[0] ?? 0]?.exe, `/opt/demo/bin/${program}`);
    }
  });
}

test("tree3: three processes, their pipes, shared memory and file offsets", { skip, timeout: 180_000 }, async (t) => {
  const directory = folders(t, ["tree3"], { "tree3-file.dat": filled(512, 33) });
  const pids = pidsOf("tree3");
  const seen = await resumed(t, directory, set2011("tree3"), pids, rangesOf("tree3"));
  assertSeen("tree3", seen);
  assert.deepEqual([seen[481]?.ppid, seen[482]?.ppid], [480, 480]);
  for (const truth of truthOf("tree3")) {
    for (const { fd, target, pos } of truth.fds) {
      if (fd > 2 && target.startsWith("/")) assert.equal(seen[truth.pid]?.files[fd], `${target} ${pos}`);
    }
  }
  assert.equal(seen[480]?.files[4], seen[481]?.files[4], "one pipe");
  assert.equal(seen[480]?.files[7], seen[482]?.files[7]);
});

test("single: private pages come from the image, the shared mapping from the file", { skip, timeout: 180_000 }, async (t) => {
  const content = filled(3 * 4096, 17);
  const directory = folders(t, ["alpha"], {
    "alpha-private.dat": content,
    "alpha-shared.dat": content,
    "alpha-log.dat": new Uint8Array(15),
  });
  const seen = await resumed(t, directory, set2011("single"), [475], rangesOf("single"));
  assertSeen("single", seen);
  assert.match(seen[475]?.maps ?? "", /10600000-10602000 rw-s 00001000 .*\/opt\/demo\/run\/alpha-shared\.dat/);
});

test("a version 1 image without names of files runs on from its stored pages", { skip, timeout: 180_000 }, async (t) => {
  const directory = folders(t, [], {});
  const image = join(directory, "lone.elf");
  copyFileSync(join(set2011("tree3"), "elf/482.elf"), image);
  const ranges = (rangesOf("tree3")[482] ?? []).filter(({ name }) => name !== "shared");
  const seen = await resumed(t, directory, image, [482], { 482: ranges });
  for (const { name } of ranges)
    assert.equal(seen[482]?.memory[name], truthOf("tree3")[2]?.memory.find((one) => one.name === name)?.sha256, name);
  assert.doesNotMatch(seen[482]?.maps ?? "", /opt\/demo/);
});

test("an area whose file is not known and not stored is refused by name", { skip, timeout: 180_000 }, async (t) => {
  const directory = folders(t, [], {});
  const image = join(directory, "lone.elf");
  copyFileSync(join(set2011("single"), "elf/475.elf"), image);
  const { status, stderr } = spawnSync(crimgCommand, ["exec", image], { encoding: "utf8", timeout: 30_000 });
  assert.equal(status, 125, stderr);
  assert.match(stderr, /0x10600000-0x10602000 of 475, which maps a file that is not known \(inode 1630250 on 254:0\)/);
  assert.doesNotMatch(stderr, /0x401000/, "what is stored in full is no obstacle");
});

test("descriptors that are patched into a version 1 image are those of the command", { skip, timeout: 180_000 }, async (t) => {
  const directory = folders(t, [], { "other.dat": filled(3 * 4096, 17) });
  const image = join(directory, "fixed.elf");
  const bytes = readFileSync(join(set2011("single"), "elf/475.elf"));
  // Area 11 is the shared mapping; its fd field is at 40 of 64 bytes, behind 20 headers.
  bytes.writeBigInt64LE(5n, 64 + 20 * 56 + 11 * 64 + 40);
  writeFileSync(image, bytes);
  const ranges = rangesOf("single")[475] ?? [];
  const seen = await resumed(t, directory, image, [475], { 475: ranges }, "5</opt/demo/run/other.dat");
  assert.match(seen[475]?.maps ?? "", /10600000-10602000 rw-s 00001000 .*\/opt\/demo\/run\/other\.dat/);
  const digest = (name: string): string | undefined => seen[475]?.memory[name];
  for (const { name, sha256 } of truthOf("single")[0]?.memory ?? [])
    if (!["fileshared", "shared"].includes(name)) assert.equal(digest(name), sha256, name);
});

test("with the binfmt_misc rule, the kernel executes a version 1 image as in 2011", { skip, timeout: 180_000 }, async (t) => {
  const directory = folders(t, ["tiny"], {});
  const image = join(directory, "old.elf");
  copyFileSync(join(set2011("tiny-sleep"), "elf/489.elf"), image);
  const script = `chmod 755 "$1/old.elf"; mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 9
    trap '"$2" binfmt --remove' EXIT; "$2" binfmt --install || exit 8
    "$1/old.elf" & i=0; while [ $i -lt 200 ] && ! grep -q '^00401000' /proc/489/maps 2>/dev/null; do i=$((i+1)); sleep 0.05; done
    tr '\\0' ' ' < /proc/489/cmdline; kill -9 489; wait`;
  const child = inNamespace(directory, script);
  t.after(() => endTree(child.pid ?? 0));
  let [out, complaints] = ["", ""];
  child.stdout?.on("data", (chunk) => (out += String(chunk)));
  child.stderr?.on("data", (chunk) => (complaints += String(chunk)));
  await until("the script has ended", () => child.exitCode !== null, 50);
  if (child.exitCode === 9) return t.skip("binfmt_misc cannot be mounted");
  assert.equal(out, "/opt/demo/bin/tiny manifest ", complaints);
});
