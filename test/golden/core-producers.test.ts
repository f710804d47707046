// SPDX-License-Identifier: Apache-2.0
/** Cores that no kernel and no gcore wrote (test/fixtures/core-producers, with how they were made): what they say, and what not. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { convert, CrimgError, open, type OpenedCheckpoint } from "../../src/index.js";
import { fixtures } from "../support/project.js";
import { crimg, run } from "../support/processes.js";

const folder = join(fixtures, "core-producers");
const directory = mkdtempSync(join(tmpdir(), "crimg-producers-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));

interface Case {
  readonly name: string;
  /** Threads, and how many of them are told to be in pause(2). */
  readonly threads: number;
  readonly inPause: number;
  /** Why no executable can be made; absent where one can. */
  readonly refusal?: RegExp;
  /** Its memory lacks something. */
  readonly isPartial?: boolean;
  readonly losses: readonly string[];
}

const emulated = (name: string) => new RegExp(`${name} made the core: it holds the registers of an emulated processor`);
const noThreadPointer = /holds no thread pointer/;
const cases: readonly Case[] = [
  { name: "valgrind.core.zst", threads: 4, inPause: 0, refusal: emulated("valgrind"), losses: [] },
  { name: "qemu-user.core.zst", threads: 4, inPause: 0, refusal: emulated("qemu-user"), losses: [] },
  { name: "delve.core.zst", threads: 4, inPause: 4, losses: [] },
  { name: "lldb14-stack.dmp.zst", threads: 4, inPause: 0, refusal: noThreadPointer, isPartial: true, losses: ["minidump.registers"] },
  {
    name: "lldb19-modified-memory.dmp.zst",
    threads: 4,
    inPause: 0,
    refusal: noThreadPointer,
    isPartial: true,
    losses: ["minidump.registers", "minidump.partial-pages"],
  },
  {
    name: "lldb19-stack.dmp.zst",
    threads: 4,
    inPause: 0,
    refusal: noThreadPointer,
    isPartial: true,
    losses: ["minidump.registers", "minidump.partial-pages"],
  },
  // Run by hand, it finds no stack: /proc/PID/stat shows stack pointers only of processes that the kernel dumps.
  {
    name: "minicoredumper.core.tar.gz",
    threads: 1,
    inPause: 0,
    refusal: /the stack of thread [0-9]+ .* is not in the checkpoint/,
    isPartial: true,
    losses: ["core.absent", "core.partial-pages"],
  },
];

function inPause(checkpoint: OpenedCheckpoint): number {
  return checkpoint.model.tables.threads.filter(({ inSyscall, regs }) => inSyscall === 1 && regs.origAx === 34n).length;
}

for (const { name, threads, inPause: paused, refusal, isPartial, losses } of cases) {
  test(`${name} is read as what it is`, { timeout: 60_000 }, async () => {
    const path = join(folder, name);
    const checkpoint = await open(path);
    try {
      const [task] = checkpoint.tasks;
      assert.ok(task && task.pid > 1);
      assert.equal(task.threads.length, threads);
      assert.equal(task.threads[0]?.tid, task.pid, "the leader comes first");
      assert.equal(inPause(checkpoint), paused);
      for (const { registers } of task.threads) {
        assert.equal(registers.cs, 0x33n);
        assert.ok(task.maps.some(({ start, end, protection }) => start <= registers.ip && registers.ip < end && protection.endsWith("x")));
      }
      const { absentRegions } = checkpoint.model.tables;
      assert.equal(absentRegions.length > 0, isPartial === true);
      for (const code of losses)
        assert.ok(
          checkpoint.losses.some((loss) => loss.code === code),
          code,
        );
      if (name.startsWith("lldb") && name.includes("modified")) {
        const data = task.maps.find((map) => map.protection === "rw-" && map.name.endsWith("crash-threads"));
        assert.ok(data);
        const bytes = Buffer.from(task.memory.read(data.start, Number(data.end - data.start)));
        assert.ok(bytes.includes("written\0"));
      }
    } finally {
      checkpoint.close();
    }
    const image = join(directory, "image.elf");
    if (refusal)
      await assert.rejects(convert(path, image, { force: true }), (error) => error instanceof CrimgError && refusal.test(error.message));
    else await convert(path, image, { force: true });

    // Nothing is lost or made up on the way through a core of ours, however often.
    const [first, second] = [join(directory, "first.core"), join(directory, "second.core")];
    await convert(path, first, { force: true });
    await convert(first, second, { force: true });
    if (name !== "minicoredumper.core.tar.gz") assert.deepEqual(readFileSync(second), readFileSync(first));
    const again = await open(first);
    assert.equal(again.tasks[0]?.threads.length, threads);
    assert.equal(again.model.tables.absentRegions.length > 0, isPartial === true);
    again.close();
  });
}

test("gdb finds all threads in cores made of a delve core and of a minidump", { timeout: 120_000 }, async (t) => {
  if (run("sh", ["-c", "command -v gdb"]).status !== 0) return t.skip("no gdb");
  for (const name of ["delve.core.zst", "lldb14-stack.dmp.zst", "qemu-user.core.zst"]) {
    const core = join(directory, "gdb.core");
    await convert(join(folder, name), core, { force: true });
    const { stdout } = run("gdb", ["-nx", "-batch", "-ex", "info threads", "-c", core], { seconds: 60 });
    assert.equal(stdout.match(/^[* ] +[0-9]+ +(Thread|LWP)/gm)?.length, 4, `${name}\n${stdout}`);
  }
});

test("cores of 32-bit programs, of other machines and systems, and dumps that are no cores are named as what they are", async () => {
  const { spawnSync } = await import("node:child_process");
  const named = (path: string): string => crimg("show", path).stderr;
  assert.match(named(join(folder, "i386.core.zst")), /the core dump of a 32-bit program \(i386\)/);
  const core = Buffer.from(readFileSync(join(fixtures, "core", "kernel-segv", "core")));
  const file = (name: string, bytes: Uint8Array | string): string => {
    const path = join(directory, name);
    writeFileSync(path, bytes);
    return path;
  };
  const machine = Buffer.from(core);
  machine.writeUInt16LE(183, 18);
  assert.match(named(file("aarch64.core", machine)), /the core of a program for AArch64/);
  const big = Buffer.from(core);
  big[5] = 2;
  big.writeUInt16BE(4, 16);
  big.writeUInt16BE(22, 18);
  assert.match(named(file("s390.core", big)), /64-bit big-endian program \(s390\)/);
  const kernel = Buffer.from(core);
  // The owner of the first note, "CORE", becomes that of a vmcore; its name needs 11 bytes, so the note is written anew.
  const notes = Number(kernel.readBigUInt64LE(64 + 8));
  kernel.writeUInt32LE(11, notes);
  kernel.writeUInt32LE(332, notes + 4);
  kernel.write("VMCOREINFO\0", notes + 12, "latin1");
  assert.match(named(file("vmcore", kernel)), /the memory of a kernel \(a vmcore\)/);
  assert.match(named(file("erl_crash.dump", "=erl_crash_dump:0.5\nFri Nov 27 12:00:00 2026\n")), /an Erlang crash dump/);
  assert.match(named(file("kdump", Buffer.concat([Buffer.from("KDUMP   "), Buffer.alloc(5000)]))), /a compressed dump of a kernel/);
  const dump = spawnSync("zstd", ["-dcq", join(folder, "lldb19-stack.dmp.zst")], { maxBuffer: 1 << 26 });
  if (dump.error) return;
  for (const [platform, words] of [
    [2, /a minidump of a program for Windows \(x86-64\)/],
    [0x8101, /for macOS/],
  ] as const) {
    const bytes = Buffer.from(dump.stdout);
    const directoryOffset = bytes.readUInt32LE(12);
    for (let index = 0; index < bytes.readUInt32LE(8); index++) {
      const entry = directoryOffset + index * 12;
      if (bytes.readUInt32LE(entry) === 7) bytes.writeUInt32LE(platform, bytes.readUInt32LE(entry + 8) + 20);
    }
    assert.match(named(file("other.dmp", bytes)), words);
  }
});

test("a dump list of minicoredumper that points outside is refused, one that names other memory leaves nothing", async () => {
  const { gunzipSync, gzipSync } = await import("node:zlib");
  const tar = gunzipSync(readFileSync(join(folder, "minicoredumper.core.tar.gz")));
  const owner = tar.indexOf("minicoredumper\0");
  const changed = (change: (list: Buffer) => void): string => {
    const bytes = Buffer.from(tar);
    // n_namesz, n_descsz and n_type stand before the owner, 16 bytes with its padding.
    change(bytes.subarray(owner + 16, owner + 16 + bytes.readUInt32LE(owner - 8)));
    const path = join(directory, "changed.tar.gz");
    writeFileSync(path, gzipSync(bytes));
    return path;
  };
  const outside = changed((list) => list.fill(0xff, 16, 32));
  await assert.rejects(
    open(outside),
    (error) => error instanceof CrimgError && error.code === "core.note" && /beyond 2\^64/.test(error.message),
  );
  const elsewhere = await open(changed((list) => list.fill(0)));
  assert.equal(elsewhere.model.tables.extents.length, 0);
  assert.ok(elsewhere.model.tables.absentRegions.length > 0);
  elsewhere.close();
});

test("damaged minidumps, and ones with lying counts, end in located errors", { timeout: 120_000 }, async () => {
  const { spawnSync } = await import("node:child_process");
  const { stdout: good, error } = spawnSync("zstd", ["-dcq", join(folder, "lldb19-stack.dmp.zst")], { maxBuffer: 1 << 26 });
  assert.ok(!error, "zstd is needed");
  const path = join(directory, "damaged.dmp");
  const look = async (bytes: Uint8Array): Promise<CrimgError | undefined> => {
    writeFileSync(path, bytes);
    try {
      const checkpoint = await open(path);
      for (const task of checkpoint.tasks) [task.maps, task.threads, [...task.memory.runs(0n, 1n << 64n)]];
      checkpoint.close();
      return undefined;
    } catch (caught) {
      assert.ok(caught instanceof CrimgError, caught instanceof Error ? caught.stack : String(caught));
      return caught;
    }
  };
  const before = process.memoryUsage().rss;
  const streams = good.readUInt32LE(8);
  const directoryOffset = good.readUInt32LE(12);
  for (let index = 0; index < streams; index++) {
    const type = good.readUInt32LE(directoryOffset + index * 12);
    const at = good.readUInt32LE(directoryOffset + index * 12 + 8);
    const lying = Buffer.from(good);
    lying.writeUInt32LE(0xffffffff, at);
    const found = await look(lying);
    // The lists of threads and of memory begin with their counts.
    if (type === 3 || type === 5) assert.ok(found && /^bytes\.|^minidump\./.test(found.code), `stream ${type}`);
  }
  const many = Buffer.from(good);
  many.writeUInt32LE(0xffffffff, 8);
  assert.equal((await look(many))?.code, "minidump.count");
  for (let length = 0; length < good.length; length += 977) await look(good.subarray(0, length));
  for (let round = 0; round < 300; round++) {
    const damaged = Buffer.from(good);
    for (let count = 0; count < 3; count++)
      damaged[(round * 7919 + count * 104729) % (round % 2 === 0 ? 4000 : damaged.length)] =
        [0, 0xff, 0x80, round & 0xff][(round + count) % 4] ?? 0;
    await look(damaged);
  }
  assert.ok(process.memoryUsage().rss - before < 300 << 20);
});
