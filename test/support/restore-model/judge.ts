// SPDX-License-Identifier: Apache-2.0
/** Whether what a program made in the model is what the tables say. */
import assert from "node:assert/strict";
import type { Gpregs, ThreadRow, VmaRow } from "../../../src/gen/tables.js";
import type { Checkpoint } from "../../../src/model/checkpoint.js";
import type { Loaded, Machine } from "./machine.js";
import type { Mapping } from "./memory.js";
import type { Process } from "./process.js";
import type { Frame } from "./sigframe.js";

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
  assertNobodyLeft(machine, checkpoint);
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
      const thread = tables.threads[index] ?? assert.fail("no thread");
      const { tid } = thread;
      assert.ok(
        machine.threads.some((one) => one.tid === tid && one.process === process),
        `thread ${tid} of ${task.pid} was made`,
      );
      const frame = machine.frames.get(tid);
      if (frame !== undefined) assertRegisters(frame, thread, tid);
    }
  }
}

/** What a task has made for a moment it has also waited for: it would be a zombie of somebody's. */
function assertNobodyLeft(machine: Machine, { tables }: Checkpoint): void {
  const pids = new Set(tables.tasks.map(({ pid }) => pid));
  const isLeft = ({ pid, maker, isReaped }: Process): boolean => !isReaped && !pids.has(pid) && maker !== undefined && pids.has(maker.pid);
  const left = machine.processes.filter(isLeft);
  assert.deepEqual(
    left.map(({ pid }) => pid),
    [],
    "processes left behind",
  );
}

function assertMemory(machine: Machine, checkpoint: Checkpoint, mm: number, process: Process): void {
  const rows = checkpoint.vmasOf(mm).map((index) => checkpoint.tables.vmas[index] as VmaRow);
  const wanted = rows.filter(({ kind }) => !byKernel.has(kind));
  const shared = (kind: VmaRow["kind"]): boolean => kind === "anon_shared" || kind === "file_shared" || kind === "aio_ring";
  assert.deepEqual(
    joined(process.mappings.list),
    joined(wanted.map(({ start, end, prot, kind }) => ({ start, end, prot, isShared: shared(kind) }))),
    `mappings of ${process.pid}`,
  );
  const droppable = rows.filter(({ vmFlags }) => ((vmFlags >> 39n) & 1n) !== 0n);
  const stored = checkpoint
    .extentsOf({ mm })
    .filter(({ address }) => !droppable.some(({ start, end }) => start <= address && address < end))
    .map(({ address, length, fileOffset, source }) => {
      const path = source === 0 ? machine.image.path : (checkpoint.tables.parents[source - 1]?.path ?? "");
      return { start: address, end: address + length, fileOffset, path };
    });
  const read = machine.loaded.get(process.mappings) ?? [];
  assert.deepEqual(runs(read), runs(stored), `stored pages of ${process.pid}`);
}

/** Stored bytes by address, pieces that follow each other in memory and in the file put together. */
function runs(pieces: readonly Loaded[]): string[] {
  const result: { start: bigint; end: bigint; fileOffset: bigint; path: string }[] = [];
  for (const { start, end, fileOffset, path } of [...pieces].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    const last = result.at(-1);
    if (last?.end === start && last.path === path && fileOffset - last.fileOffset === start - last.start) last.end = end;
    else result.push({ start, end, fileOffset, path });
  }
  return result.map(({ start, end, fileOffset, path }) => `${start.toString(16)}-${end.toString(16)} from ${fileOffset} of ${path}`);
}

/** Calls that a resumed thread makes again: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK (SPEC 8). */
const restarted: ReadonlySet<bigint> = new Set([-512n, -513n, -514n, -516n]);

/** A thread goes on with the registers that the table names, in the restartable form. */
function assertRegisters(frame: Frame, { regs, sigMask }: ThreadRow, tid: number): void {
  const isRestarted = BigInt.asIntN(64, regs.origAx) >= 0n && restarted.has(BigInt.asIntN(64, regs.ax));
  const { flags: _, ip, ax, ...others } = frame.registers;
  for (const [name, value] of Object.entries(others)) assert.equal(value, regs[name as keyof Gpregs], `register ${name} of ${tid}`);
  assert.equal(ip, isRestarted ? regs.ip - 2n : regs.ip, `register ip of ${tid}`);
  assert.equal(ax, isRestarted ? regs.origAx : regs.ax, `register ax of ${tid}`);
  assert.equal(frame.mask, sigMask, `signal mask of ${tid}`);
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
