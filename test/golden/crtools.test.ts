// SPDX-License-Identifier: Apache-2.0
/** The sets that the tool of 2011 wrote: read, written again, and held against what was seen of the processes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { format as crtools } from "../../formats/crtools/index.js";
import { format as ckptElfV1, replayLkmlLoader } from "../../formats/ckpt-elf-v1/index.js";
import { MemoryBytes } from "../../src/bytes/random-bytes.js";
import type { Gpregs } from "../../src/gen/tables.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { imagesOf, outputIn, pidsOf, readFor, scratch, set2011, sets2011, truthOf } from "../support/fixtures-2011.js";
import { crimg } from "../support/processes.js";

for (const set of sets2011) {
  test(`${set}: every file of the set comes back byte for byte`, async (t) => {
    const checkpoint = await readFor(t, crtools, set2011(set));
    const folder = scratch(t);
    await crtools.write?.(checkpoint, outputIn(t, folder), {});
    for (const file of imagesOf(set)) {
      assert.ok(readFileSync(join(set2011(set), file)).equals(readFileSync(join(folder, file))), `${file} differs`);
    }
    assert.deepEqual(crtools.losses?.(checkpoint, {}), [], "a set loses nothing in a set");
  });

  test(`${set}: each process becomes the ELF file that the original converter made`, async (t) => {
    const checkpoint = await readFor(t, crtools, set2011(set));
    for (const pid of pidsOf(set)) {
      const folder = scratch(t);
      await ckptElfV1.write?.(checkpoint, outputIn(t, folder), { pid });
      assert.ok(
        readFileSync(join(folder, "image.elf")).equals(readFileSync(join(set2011(set), "elf", `${pid}.elf`))),
        `${pid}.elf differs`,
      );
    }
  });

  test(`${set}: the model says what was seen of the processes`, async (t) => {
    const checkpoint = await readFor(t, crtools, set2011(set));
    const { tables } = checkpoint;
    for (const truth of truthOf(set)) {
      const task = checkpoint.taskIndexOf(truth.pid);
      assert.ok(task !== undefined, `process ${truth.pid}`);
      const row = tables.tasks[task];
      const mm = tables.mms[row?.mm ?? -1];
      assert.ok(row && mm);
      const isSpoilt = truth.comm.includes(")");
      const thread = tables.threads[checkpoint.threadsOf(task)[0] ?? -1];
      assert.equal(row.personality, Number(truth.personality));
      if (!isSpoilt) assert.equal(thread?.comm, truth.comm);
      assertRegisters(thread?.regs, truth.threads[0]?.regs ?? {});
      // What a name with a parenthesis spoilt is taken from the areas, so that code and data are whole areas.
      if (!isSpoilt) {
        assert.equal(row.taskFlags, Number(truth.task_flags));
        const fields = {
          startcode: mm.startCode,
          endcode: mm.endCode,
          start_data: mm.startData,
          end_data: mm.endData,
          start_brk: mm.startBrk,
        };
        for (const [name, value] of Object.entries(fields)) assert.equal(value, BigInt(truth.mm[name] ?? 0), name);
      }
      const derived = { startstack: mm.startStack, arg_start: mm.argStart, arg_end: mm.argEnd, env_start: mm.envStart, env_end: mm.envEnd };
      for (const [name, value] of Object.entries(derived)) assert.equal(value, BigInt(truth.mm[name] ?? 0), `${name} from the stack`);
      assert.equal(tables.objects[mm.exe ?? -1]?.path, truth.exe);
      assert.deepEqual(
        words(mm.auxv),
        truth.auxv.flatMap(([type, value]) => [BigInt(type), BigInt(value)]),
      );
      assert.deepEqual(
        checkpoint.vmasOf(row.mm ?? -1).map((index) => {
          const vma = tables.vmas[index];
          const object = tables.objects[vma?.object ?? -1];
          return vma && [vma.start, vma.end, vma.prot, vma.kind.endsWith("_shared"), vma.offset, object?.ino ?? 0n];
        }),
        truth.vmas.map((vma) => [BigInt(vma.start), BigInt(vma.end), vma.prot_bits, vma.shared, BigInt(vma.offset), BigInt(vma.inode)]),
      );
      const files = checkpoint.descriptorsOf(task).map((index) => {
        const descriptor = tables.descriptors[index];
        const file = tables.files[descriptor?.file ?? -1];
        const pipe = file?.kind === "pipe" ? tables.pipes[file.detail ?? -1] : undefined;
        return [descriptor?.fd, pipe ? `pipe:[${pipe.ino}]` : (tables.objects[file?.object ?? -1]?.path ?? "inherited"), Number(file?.pos)];
      });
      assert.deepEqual(
        files,
        truth.fds.map((fd) => [fd.fd, fd.fd < 3 ? "inherited" : fd.target, fd.fd < 3 ? 0 : fd.pos]),
      );
      assertMemory(new MemoryView(checkpoint, row.mm ?? -1), truth.memory);
    }
  });
}

/** Names of user_regs_struct beside those of /proc and ptrace. */
function assertRegisters(regs: Gpregs | undefined, truth: Readonly<Record<string, string>>): void {
  assert.ok(regs);
  const names: Readonly<Record<string, keyof Gpregs>> = {
    rax: "ax",
    rbx: "bx",
    rcx: "cx",
    rdx: "dx",
    rsi: "si",
    rdi: "di",
    rbp: "bp",
    rsp: "sp",
    rip: "ip",
    orig_rax: "origAx",
    eflags: "flags",
    fs_base: "fsBase",
    gs_base: "gsBase",
  };
  for (const [name, value] of Object.entries(truth)) {
    assert.equal(regs[names[name] ?? (name as keyof Gpregs)], BigInt(value), name);
  }
}

/** Contents of the program's own ranges; shared file mappings are not stored. */
function assertMemory(
  view: MemoryView,
  ranges: readonly { readonly name: string; readonly start: string; readonly length: number; readonly sha256: string }[],
): void {
  for (const { name, start, length, sha256 } of ranges) {
    if (name === "fileshared") continue;
    assert.equal(
      createHash("sha256")
        .update(view.read(BigInt(start), length))
        .digest("hex"),
      sha256,
      `memory ${name}`,
    );
  }
  view.close();
}

function words(bytes: Uint8Array): bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / 8 }, (_none, index) => view.getBigUint64(index * 8, true));
}

test("tree3: who is whose child, which pipes and memory are shared", async (t) => {
  const checkpoint = await readFor(t, crtools, set2011("tree3"));
  const { tables } = checkpoint;
  assert.deepEqual(
    tables.tasks.map(({ pid, parent, ppid }) => [pid, parent, ppid]),
    [
      [480, null, 0],
      [481, 0, 480],
      [482, 0, 480],
    ],
  );
  assert.deepEqual(
    tables.pipes.map(({ data }) => data.length),
    [333, 0],
  );
  const shared = tables.vmas.filter((vma) => vma.kind === "anon_shared");
  assert.equal(shared.length, 3);
  assert.equal(new Set(shared.map((vma) => vma.object)).size, 1, "one object for all three");
  const pages = checkpoint.extentsOf({ object: shared[0]?.object ?? -1 }).reduce((sum, extent) => sum + extent.length, 0n);
  assert.equal(pages, 3n * 4096n, "each page once, though every process has them all");
});

test("a set of one process out of a tree names that process as its root", async (t) => {
  const checkpoint = await readFor(t, crtools, set2011("tree3"));
  const folder = scratch(t);
  await crtools.write?.(checkpoint, outputIn(t, folder), { pid: 482 });
  const again = await readFor(t, crtools, folder);
  assert.deepEqual(
    again.tables.tasks.map(({ pid, parent }) => [pid, parent]),
    [[482, null]],
  );
  assert.match(
    crtools
      .losses?.(checkpoint, { pid: 482 })
      .map(({ code }) => code)
      .join() ?? "",
    /tree\.processes/,
  );
});

for (const set of sets2011) {
  test(`${set}: a v1 image comes back byte for byte, and the loader of 2011 would take it`, async (t) => {
    for (const pid of pidsOf(set)) {
      const path = join(set2011(set), "elf", `${pid}.elf`);
      const bytes = readFileSync(path);
      const checkpoint = await readFor(t, ckptElfV1, path);
      assert.equal(checkpoint.tables.tasks[0]?.pid, pid);
      const folder = scratch(t);
      await ckptElfV1.write?.(checkpoint, outputIn(t, folder), {});
      assert.ok(readFileSync(join(folder, "image.elf")).equals(bytes), `${pid}.elf differs`);
      const replay = replayLkmlLoader(new MemoryBytes(bytes, path));
      assert.equal(replay.refusal, undefined);
      assert.equal(replay.steps.at(-1)?.step, "finish");
    }
  });
}

test("files that the image of a process maps are named by the fdinfo image of the set beside it", async (t) => {
  const beside = await ckptElfV1.read?.(join(set2011("single"), "elf/475.elf"), {});
  assert.ok(beside);
  t.after(() => beside.close());
  assert.deepEqual(
    beside.tables.objects.filter(({ kind }) => kind === "file").map(({ path }) => path),
    ["/opt/demo/bin/alpha", "/opt/demo/run/alpha-private.dat", "/opt/demo/run/alpha-shared.dat"],
  );
});

test("shared memory comes along into a v1 image when it is asked for, and comes back", async (t) => {
  const checkpoint = await readFor(t, crtools, set2011("single"));
  const folder = join(scratch(t), "alone");
  mkdirSync(folder);
  await ckptElfV1.write?.(checkpoint, outputIn(t, folder), { extra: { "shared-memory": true } });
  const again = await readFor(t, ckptElfV1, join(folder, "image.elf"));
  const truth = truthOf("single")[0]?.memory.find(({ name }) => name === "shared");
  const object = again.tables.objects.findIndex(({ kind }) => kind === "shared_memory");
  const stored = again.extentsOf({ object });
  assert.equal(stored.length, 1);
  const view = new MemoryView(again, 0);
  const bytes = view.read(BigInt(truth?.start ?? 0), truth?.length ?? 0);
  assert.equal(createHash("sha256").update(bytes).digest("hex"), truth?.sha256);
});

for (const set of sets2011) {
  test(`${set}: through an executable image and through JSON, the set comes back byte for byte`, { timeout: 120_000 }, (t) => {
    const folder = scratch(t);
    for (const [between, format] of [
      ["image.elf", "ckpt-elf"],
      ["image.json", "json"],
    ] as const) {
      const there = crimg("convert", set2011(set), join(folder, between), "--to", format);
      assert.equal(there.status, 0, there.stderr);
      const back = crimg("convert", join(folder, between), join(folder, `${between}.set`), "--to", "crtools");
      assert.equal(back.status, 0, back.stderr);
      for (const file of imagesOf(set)) {
        assert.ok(readFileSync(join(set2011(set), file)).equals(readFileSync(join(folder, `${between}.set`, file))), `${file} differs`);
      }
    }
  });
}
