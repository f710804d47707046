// SPDX-License-Identifier: Apache-2.0
/** Whether what a program made in the model is what the tables say. */
import assert from "node:assert/strict";
import type { VmaRow } from "../../../src/gen/tables.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import type { Machine } from "./machine.js";
import type { Mapping } from "./memory.js";
import type { Process } from "./process.js";

const byKernel: ReadonlySet<VmaRow["kind"]> = new Set(["vdso", "vvar", "vsyscall", "special"]);

/** Ranges with what must be equal, neighbours put together. */
function joined(ranges: readonly Pick<Mapping, "start" | "end" | "prot" | "isShared">[]): string[] {
  const result: { start: bigint; end: bigint; key: string }[] = [];
  for (const { start, end, prot, isShared } of ranges) {
    const key = `${prot} ${isShared ? "shared" : "private"}`;
    const last = result.at(-1);
    if (last?.end === start && last.key === key) last.end = end;
    else result.push({ start, end, key });
  }
  return result.map(({ start, end, key }) => `${start.toString(16)}-${end.toString(16)} ${key}`);
}

/** Every task is there, with its parent, session, group, mappings, stored bytes and descriptors, and nothing else. */
export function assertTreeMade(machine: Machine, checkpoint: Checkpoint): void {
  const { tables } = checkpoint;
  for (const [row, task] of tables.tasks.entries()) {
    const process = machine.processes.find(
      ({ pid, exitStatus }) => pid === task.pid && (exitStatus === undefined || task.state === "zombie"),
    );
    assert.ok(process, `task ${task.pid} was made`);
    const parent = task.parent === null ? machine.first.pid : tables.tasks[task.parent]?.pid;
    assert.equal(process.parent?.pid, parent, `parent of ${task.pid}`);
    if (task.state === "zombie") {
      assert.notEqual(process.exitStatus, undefined);
      continue;
    }
    assertMemory(machine, checkpoint, task.mm ?? assert.fail("no mm"), process);
    if (task.descriptorTable === null) assertDescriptors(checkpoint, row, process);
    for (const index of checkpoint.threadsOf(row)) {
      const tid = tables.threads[index]?.tid;
      assert.ok(
        machine.threads.some((thread) => thread.tid === tid && thread.process === process),
        `thread ${tid} of ${task.pid} was made`,
      );
    }
  }
}

function assertMemory(machine: Machine, checkpoint: Checkpoint, mm: number, process: Process): void {
  const rows = checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
  const wanted = rows.filter(({ kind }) => !byKernel.has(kind));
  const shared = (kind: VmaRow["kind"]): boolean => kind === "anon_shared" || kind === "file_shared";
  assert.deepEqual(
    joined(process.mappings.list),
    joined(wanted.map(({ start, end, prot, kind }) => ({ start, end, prot, isShared: shared(kind) }))),
    `mappings of ${process.pid}`,
  );
  const read = (machine.loaded.get(process) ?? []).flatMap(({ start, end, fileOffset }) => pagesOf(start, end - start, fileOffset));
  const droppable = rows.filter(({ vmFlags }) => ((vmFlags >> 39n) & 1n) !== 0n);
  const stored = checkpoint
    .extentsOf({ mm })
    .filter(({ address }) => !droppable.some(({ start, end }) => start <= address && address < end))
    .flatMap(({ address, length, fileOffset }) => pagesOf(address, length, fileOffset));
  assert.deepEqual(read.sort(), stored.sort(), `stored pages of ${process.pid}`);
}

function pagesOf(start: bigint, length: bigint, fileOffset: bigint): string[] {
  return Array.from(
    { length: Number(length >> 12n) },
    (_, index) => `${start + BigInt(index * 4096)} from ${fileOffset + BigInt(index * 4096)}`,
  );
}

function assertDescriptors(checkpoint: Checkpoint, row: number, process: Process): void {
  const rows = checkpoint.descriptorsOf(row).map((index) => checkpoint.tables.descriptors[index] ?? assert.fail());
  const wanted = rows.map(({ fd, flags }) => `${fd}${(flags & 1) !== 0 ? " cloexec" : ""}`).sort();
  const found = [...process.descriptors].map(([fd, { isCloexec }]) => `${fd}${isCloexec ? " cloexec" : ""}`).sort();
  assert.deepEqual(found, wanted, `descriptors of ${process.pid}`);
  // One description where the tables say one, and two where they say two.
  const files = new Map<number, unknown>();
  for (const { fd, file } of rows) {
    const here = process.descriptors.get(fd)?.file;
    assert.equal(files.get(file) ?? here, here, `descriptor ${fd} of ${process.pid} shares its open file`);
    files.set(file, here);
  }
}
