// SPDX-License-Identifier: Apache-2.0
/** What the model says of the fixtures against what was recorded of the live processes. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { DescriptorRow, Gpregs, OpenFileRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { readSet } from "../support/criu.js";
import { fixtures } from "../support/project.js";

interface Truth {
  readonly processes: readonly TruthProcess[];
}
interface TruthProcess {
  readonly pid: number;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  readonly exe: string;
  readonly cwd: string;
  readonly personality: string;
  readonly task_flags: string;
  readonly status: Record<string, string>;
  readonly mm: Record<string, string>;
  readonly threads: readonly TruthThread[];
  readonly shared_pending: readonly { siginfo_hex: string }[];
  readonly vmas: readonly { start: string; end: string; prot: string; shared: boolean; file: string | null; offset: string }[];
  readonly fds: readonly { fd: number; target: string; pos: number; flags: string }[];
  readonly memory: readonly { name: string; start: string; length: number; sha256: string }[];
  readonly declared: readonly Record<string, string>[];
}
interface TruthThread {
  readonly tid: number;
  readonly comm: string;
  readonly sigmask: string;
  readonly regs: Record<string, string>;
  readonly fpregs: Record<string, string>;
  readonly xsave: { xfeatures: string; ymm_hi?: readonly string[] };
  readonly pending: readonly { siginfo_hex: string }[];
}

const ptraceNames: Partial<Record<keyof Gpregs, string>> = {
  ax: "rax",
  bx: "rbx",
  cx: "rcx",
  dx: "rdx",
  si: "rsi",
  di: "rdi",
  bp: "rbp",
  sp: "rsp",
  ip: "rip",
  origAx: "orig_rax",
  flags: "eflags",
  fsBase: "fs_base",
  gsBase: "gs_base",
};
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Registers of a live stop in the form that CRIU stores: interrupted calls are rewound. */
function rewoundTruth(regs: Record<string, string>): Record<string, bigint> {
  const values = Object.fromEntries(Object.entries(regs).map(([name, value]) => [name, BigInt(value)]));
  const ax = BigInt.asIntN(64, values["rax"] ?? 0n);
  // The tool ends a sleep that only the kernel could go on with.
  if (ax === -516n) return { ...values, rax: BigInt.asUintN(64, -4n) };
  if ([-512n, -513n, -514n].includes(ax)) return { ...values, rax: values["orig_rax"] ?? 0n, rip: (values["rip"] ?? 0n) - 2n };
  return values;
}

function checkThread(checkpoint: Checkpoint, row: number, truth: TruthThread): void {
  const thread = checkpoint.tables.threads[row];
  assert.ok(thread);
  assert.equal(thread.tid, truth.tid);
  assert.equal(thread.comm, truth.comm);
  assert.equal(thread.sigMask, BigInt(truth.sigmask));
  const expected = rewoundTruth(truth.regs);
  for (const [name, value] of Object.entries(thread.regs) as [keyof Gpregs, bigint][]) {
    const wanted = expected[ptraceNames[name] ?? name] ?? 0n;
    // A task that spins in user mode may be at another instruction of its loop; its flags with it.
    if (truth.comm.includes("spin") && ["ip", "flags", "ax", "cx"].includes(name)) continue;
    // A spinning task is in no call: orig_ax is -1 in either width.
    if (name === "origAx" && BigInt.asIntN(64, wanted) < 0n) assert.ok(BigInt.asIntN(64, value) < 0n);
    else assert.equal(value, wanted, `${truth.tid} ${name}`);
  }
  const view = new DataView(thread.xstate.buffer, thread.xstate.byteOffset, thread.xstate.length);
  assert.equal(view.getUint16(0, true), Number(truth.fpregs["cwd"]));
  assert.equal(view.getUint32(24, true), Number(truth.fpregs["mxcsr"]));
  assert.equal(view.getBigUint64(512, true), BigInt(truth.xsave.xfeatures));
  const st = truth.fpregs["st"] as unknown as string[];
  const xmm = truth.fpregs["xmm"] as unknown as string[];
  st.forEach((value, index) => assert.equal(hex(thread.xstate.subarray(32 + index * 16, 48 + index * 16)), value));
  xmm.forEach((value, index) => assert.equal(hex(thread.xstate.subarray(160 + index * 16, 176 + index * 16)), value));
  truth.xsave.ymm_hi?.forEach((value, index) => assert.equal(hex(thread.xstate.subarray(576 + index * 16, 592 + index * 16)), value));
  const pending = checkpoint.tables.pendingSignals.filter((signal) => signal.thread === row);
  assert.deepEqual(
    pending.map((signal) => hex(signal.siginfo)),
    truth.pending.map((signal) => signal.siginfo_hex),
  );
}

/** Areas as CRIU sees them: the kernel's [vvar] parts are one. */
function joined(vmas: TruthProcess["vmas"]): { start: bigint; end: bigint; prot: string; shared: boolean; file: string }[] {
  const areas: { start: bigint; end: bigint; prot: string; shared: boolean; file: string }[] = [];
  for (const vma of vmas) {
    const last = areas.at(-1);
    const file = vma.file ?? "";
    if (last && file.startsWith("[vvar") && last.file.startsWith("[vvar")) last.end = BigInt(vma.end);
    else areas.push({ start: BigInt(vma.start), end: BigInt(vma.end), prot: vma.prot, shared: vma.shared, file });
  }
  return areas;
}

function checkAreas(checkpoint: Checkpoint, mm: number, truth: TruthProcess): void {
  const { tables } = checkpoint;
  const areas = checkpoint.vmasOf(mm).map((row) => {
    const vma = tables.vmas[row];
    assert.ok(vma);
    return vma;
  });
  const expected = joined(truth.vmas);
  assert.equal(areas.length, expected.length);
  areas.forEach((vma, index) => {
    const wanted = expected[index];
    assert.ok(wanted);
    assert.deepEqual([vma.start, vma.end], [wanted.start, wanted.end]);
    const prot = `${(vma.prot & 1) !== 0 ? "r" : "-"}${(vma.prot & 2) !== 0 ? "w" : "-"}${(vma.prot & 4) !== 0 ? "x" : "-"}`;
    assert.equal(prot, wanted.prot.slice(0, 3));
    assert.equal(vma.kind === "file_shared" || vma.kind === "anon_shared", wanted.shared);
    if (wanted.file.startsWith("/") && !wanted.file.startsWith("/dev/zero"))
      assert.equal(tables.objects[vma.object ?? -1]?.path, wanted.file);
    if (wanted.file === "[stack]") assert.equal(vma.isStack, 1);
    if (wanted.file === "[vdso]") assert.equal(vma.kind, "vdso");
  });
}

/** Memory as the model gives it: stored pages over the mapped file's bytes over zeros. */
function readMemory(checkpoint: Checkpoint, mm: number, start: bigint, length: number, files: string): Buffer {
  const bytes = Buffer.alloc(length);
  const end = start + BigInt(length);
  for (const row of checkpoint.vmasOf(mm)) {
    const vma = checkpoint.tables.vmas[row];
    if (!vma || vma.end <= start || vma.start >= end) continue;
    const object = vma.object === null ? undefined : checkpoint.tables.objects[vma.object];
    if (object?.kind === "file") {
      const content = readFileSync(
        object.path.startsWith("/opt/demo/bin/")
          ? join(files, "../../../bin", object.path.slice(14))
          : join(files, object.path.slice(object.path.lastIndexOf("/") + 1)),
      );
      content.subarray(Number(vma.offset)).copy(bytes, Number(vma.start > start ? vma.start - start : 0n), 0, Number(vma.end - vma.start));
    }
    const isObject = object?.kind === "shared_memory";
    const extents = isObject && vma.object !== null ? checkpoint.extentsOf({ object: vma.object }) : checkpoint.extentsOf({ mm });
    for (const extent of extents) {
      const address = isObject ? vma.start + extent.address - vma.offset : extent.address;
      const from = address > start ? address : start;
      const to = address + extent.length < end ? address + extent.length : end;
      if (from >= to) continue;
      const piece = new Uint8Array(Number(to - from));
      checkpoint.sources[extent.source]?.read(extent.fileOffset + (from - address), piece);
      bytes.set(piece, Number(from - start));
    }
  }
  return bytes;
}

function checkDeclared(checkpoint: Checkpoint, task: number, truth: TruthProcess): void {
  const { tables } = checkpoint;
  for (const one of truth.declared) {
    if (one["kind"] === "sigaction") {
      const action = tables.signalActions.find((row) => row.task === task && row.signal === Number(one["sig"]));
      assert.ok(action, `signal ${one["sig"]}`);
      assert.deepEqual(
        [action.handler, action.flags, action.restorer, action.mask],
        [one["handler"], one["flags"], one["restorer"], one["mask"]].map((value) => BigInt(value ?? 0)),
      );
    } else if (one["kind"] === "itimer") {
      const timer = tables.intervalTimers.find((row) => row.task === task && row.which === one["which"]);
      assert.equal(timer?.intervalUs, BigInt(one["interval_us"] ?? 0));
      const left = BigInt(one["armed_for_s"] ?? 0) * 1_000_000n - (timer?.valueUs ?? 0n);
      // CPU time timers are rounded up to the next tick.
      assert.ok(left > -1_000_000n && left < 60_000_000n);
    } else if (one["kind"] === "posixtimer") {
      const timer = tables.posixTimers.find((row) => row.task === task && row.timerId === Number(one["id"]));
      assert.ok(timer);
      assert.deepEqual([timer.clock, timer.notify, timer.signal], [Number(one["clock"]), Number(one["notify"]), Number(one["signo"])]);
      assert.equal(timer.sigval, BigInt(one["value"] ?? 0));
      assert.equal(timer.intervalNs, BigInt((one["interval_ns"] ?? "0").replace(/^0+(?=\d)/, "")));
    } else if (one["kind"] === "altstack") {
      const thread = tables.threads.find((row) => row.tid === Number(one["tid"]));
      assert.deepEqual(
        [thread?.altstackSp, thread?.altstackSize, thread?.altstackFlags],
        [BigInt(one["sp"] ?? 0), BigInt(one["size"] ?? 0), Number(one["flags"])],
      );
    } else if (one["kind"] === "data" && one["what"] === "pipe-in-flight") {
      assert.equal(hex(tables.pipes[0]?.data ?? new Uint8Array(0)), one["hex"]);
    }
  }
}

for (const fixture of ["single", "threads4", "ctree", "live"]) {
  test(`${fixture}: the model says what was recorded`, async () => {
    const directory = join(fixtures, "criu", fixture);
    const truth = JSON.parse(readFileSync(join(directory, "truth.json"), "utf8")) as Truth;
    const losses: string[] = [];
    const checkpoint = await readSet(directory, losses);
    const { tables } = checkpoint;
    assert.deepEqual(losses, []);
    assert.equal(tables.tasks.length, truth.processes.length);
    for (const process of truth.processes) {
      const row = checkpoint.taskIndexOf(process.pid);
      const task = row === undefined ? undefined : tables.tasks[row];
      assert.ok(row !== undefined && task && task.mm !== null);
      assert.deepEqual([task.pgid, task.sid], [process.pgrp, process.session]);
      assert.equal(task.personality, Number(process.personality));
      assert.equal(task.taskFlags & ~0x1000_0000, Number(process.task_flags) & ~0x1000_0000);
      assert.equal(task.umask, Number.parseInt(process.status["Umask"] ?? "", 8));
      assert.equal(tables.objects[task.cwd ?? -1]?.path, process.cwd);
      const mm = tables.mms[task.mm];
      assert.ok(mm);
      assert.equal(tables.objects[mm.exe ?? -1]?.path, process.exe);
      const fields = {
        startcode: mm.startCode,
        endcode: mm.endCode,
        startstack: mm.startStack,
        start_data: mm.startData,
        end_data: mm.endData,
        start_brk: mm.startBrk,
        arg_start: mm.argStart,
        arg_end: mm.argEnd,
        env_start: mm.envStart,
        env_end: mm.envEnd,
      };
      for (const [name, value] of Object.entries(fields)) assert.equal(value, BigInt(process.mm[name] ?? 0), name);
      const threads = checkpoint.threadsOf(row);
      assert.deepEqual(
        threads.map((one) => tables.threads[one]?.tid),
        process.threads.map((one) => one.tid),
      );
      threads.forEach((one, index) => checkThread(checkpoint, one, process.threads[index] as TruthThread));
      const creds = tables.creds[tables.threads[threads[0] ?? -1]?.creds ?? -1];
      assert.equal(creds?.capEffective, BigInt(`0x${process.status["CapEff"]}`));
      assert.equal(creds?.capBounding, BigInt(`0x${process.status["CapBnd"]}`));
      const shared = tables.pendingSignals.filter((signal) => signal.task === row && signal.thread === null);
      assert.deepEqual(
        shared.map((signal) => hex(signal.siginfo)),
        process.shared_pending.map((signal) => signal.siginfo_hex),
      );
      checkAreas(checkpoint, task.mm, process);
      for (const fd of process.fds) {
        const descriptor: DescriptorRow | undefined = checkpoint
          .descriptorsOf(row)
          .map((one) => tables.descriptors[one])
          .find((one) => one?.fd === fd.fd);
        const file: OpenFileRow | undefined = tables.files[descriptor?.file ?? -1];
        assert.ok(descriptor && file, `fd ${fd.fd}`);
        assert.equal(file.pos, BigInt(fd.pos));
        assert.equal(file.flags | (descriptor.flags !== 0 ? 0o2000000 : 0), Number(fd.flags));
        if (fd.target.startsWith("/")) assert.equal(tables.objects[file.object ?? -1]?.path, fd.target);
      }
      for (const range of process.memory) {
        if (range.name === "fileshared") continue;
        const bytes = readMemory(checkpoint, task.mm, BigInt(range.start), range.length, join(directory, "files"));
        assert.equal(createHash("sha256").update(bytes).digest("hex"), range.sha256, `${process.pid} ${range.name}`);
      }
      checkDeclared(checkpoint, row, process);
    }
    checkpoint.close();
  });
}
