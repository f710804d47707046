// SPDX-License-Identifier: Apache-2.0
/** Every rule over the model has an example that it finds fault with, and the valid model passes them all. */
import assert from "node:assert/strict";
import test from "node:test";
import {
  cgroupMemberRow,
  cgroupPropertyRow,
  cgroupRow,
  fanotifyMarkRow,
  ioUringBufferRow,
  ioUringRow,
  inotifyEventRow,
  inotifyWatchRow,
  mountEntryRow,
  mountRow,
  type MutableTables,
  namespaceRow,
  parentRow,
  seccompFilterRow,
  seccompStateRow,
  taskNamespaceRow,
} from "../../../src/gen/tables.js";
import {
  absentRegionRow,
  guardRegionRow,
  memoryPolicyRow,
  objectRow,
  posixMessageRow,
  posixQueueRow,
  semaphoreUndoRow,
  sysvMessageRow,
  sysvQueueRow,
  sysvSegmentRow,
  sysvSemaphoresRow,
  taskRow,
  tcpConnectionRow,
  terminalRow,
  threadRow,
  vmaRow,
} from "../../../src/gen/tables.js";
import { modelRules } from "../../../src/validate/catalogue.js";
import type { Finding } from "../../../src/validate/finding.js";
import { pathLocator } from "../../../src/validate/locate.js";
import { runRules } from "../../../src/validate/run-rules.js";
import { checkpointOf, siginfo, smallTables, userRegs, xstate } from "./small-model.js";

/** Changes one field of one row. */
function set<Name extends keyof MutableTables>(name: Name, row: number, fields: Partial<MutableTables[Name][number]>) {
  return (tables: MutableTables): void => {
    tables[name][row] = { ...tables[name][row], ...fields } as MutableTables[Name][number];
  };
}

/** Adds a copy of a row, changed. */
function copy<Name extends keyof MutableTables>(name: Name, row: number, fields: Partial<MutableTables[Name][number]> = {}) {
  return (tables: MutableTables): void => {
    (tables[name] as object[]).push({ ...tables[name][row], ...fields });
  };
}

function changedXstate(change: (bytes: Buffer) => void): Uint8Array {
  const bytes = Buffer.from(xstate());
  change(bytes);
  return bytes;
}

/** Adds an absent region. */
function absent(fields: Partial<MutableTables["absentRegions"][number]>) {
  return (tables: MutableTables): void => {
    const { start, end } = tables.vmas[0] ?? assert.fail();
    tables.absentRegions.push(absentRegionRow({ mm: 0, start, end, reason: "it was left out", ...fields }));
  };
}

/** Adds a guard region of the first mapping's address space. */
function guard(range: (vma: MutableTables["vmas"][number]) => { readonly start: bigint; readonly end: bigint }) {
  return (tables: MutableTables): void => {
    const vma = tables.vmas[0] ?? assert.fail();
    tables.guardRegions.push(guardRegionRow({ mm: vma.mm, ...range(vma) }));
  };
}

/** Adds a System V segment with memory of its own. */
function segment(fields: Partial<MutableTables["sysvSegments"][number]>, memory: Partial<MutableTables["objects"][number]>) {
  return (tables: MutableTables): void => {
    const object = tables.objects.push(objectRow({ kind: "shared_memory", ...memory })) - 1;
    tables.sysvSegments.push(sysvSegmentRow({ object, size: 4096n, ...fields }));
  };
}

/** Adds a POSIX message queue with two messages. */
function queue(
  fields: Partial<MutableTables["posixQueues"][number]>,
  first: Partial<MutableTables["posixMessages"][number]> = {},
  second: typeof first = {},
) {
  return (tables: MutableTables): void => {
    const row = tables.posixQueues.push(posixQueueRow({ name: "/q", maxMessages: 2n, messageSize: 2n, ...fields })) - 1;
    for (const message of [first, second]) {
      tables.posixMessages.push(posixMessageRow({ queue: row, priority: 1, data: new Uint8Array(2), ...message }));
    }
  };
}

/** Adds a set of one semaphore, and something to undo. */
function undo(fields: Partial<MutableTables["semaphoreUndos"][number]>) {
  return (tables: MutableTables): void => {
    const values = new Uint8Array(4);
    const row = tables.sysvSemaphoreSets.push(sysvSemaphoresRow({ values, pids: values })) - 1;
    tables.semaphoreUndos.push(semaphoreUndoRow({ set: row, task: 0, number: 0, adjustment: 1, ...fields }));
  };
}

function auxv(...entries: readonly (readonly [bigint, bigint])[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(entries.flat()).buffer);
}

const notCanonical = 0x0100_0000_0000_0000n;

/** For each rule, changes to the valid model, each of which breaks the rule. */
const broken: Readonly<Record<string, readonly ((tables: MutableTables) => void)[]>> = {
  "checkpoint.one-row": [copy("checkpoint", 0), (tables) => void tables.checkpoint.pop()],
  "checkpoint.page-size": [set("checkpoint", 0, { pageSize: 16384 })],
  "reference.dangling": [
    set("tasks", 1, { mm: 9 }),
    set("descriptors", 0, { file: 99 }),
    set("extents", 0, { owner: 7 }),
    set("files", 1, { detail: 5 }),
  ],
  "gpu.process": [
    (tables) => void tables.cudaProcesses.push({ task: 0, restoreThread: 0 }, { task: 0, restoreThread: 0 }),
    (tables) => {
      tables.cudaProcesses.push({ task: 1, restoreThread: 2 });
      set("tasks", 1, { state: "zombie" })(tables);
    },
  ],
  "gpu.thread": [(tables) => void tables.cudaProcesses.push({ task: 1, restoreThread: 0 })],
  "gpu.name": [
    (tables) => void tables.cudaProcesses.push({ task: 0, restoreThread: 0 }),
    (tables) => void tables.gpus.push({ uuid: "GPU-0", name: "", memoryBytes: 0n, usedBytes: 0n, driver: "", cudaVersion: 0 }),
  ],
  "ipc.id": [
    (tables) => void tables.sysvQueues.push(sysvQueueRow({ id: 5 }), sysvQueueRow({ id: 5 })),
    (tables) => void tables.sysvQueues.push(sysvQueueRow({ id: 0x8000_0000 })),
  ],
  "ipc.segment": [
    segment({}, { kind: "file" }),
    (tables) => {
      segment({}, {})(tables);
      copy("sysvSegments", 0, { id: 8 })(tables);
    },
    (tables) => {
      segment({ size: 5000n }, {})(tables);
      tables.vmas.push(vmaRow({ mm: 0, kind: "anon_shared", start: 0x1000n, end: 0x4000n, object: tables.objects.length - 1 }));
    },
  ],
  "ipc.semaphores": [
    (tables) => void tables.sysvSemaphoreSets.push(sysvSemaphoresRow({ values: new Uint8Array(8), pids: new Uint8Array(4) })),
    (tables) => void tables.sysvSemaphoreSets.push(sysvSemaphoresRow({ values: new Uint8Array(4).fill(1), pids: new Uint8Array(4) })),
    undo({ adjustment: 0 }),
    undo({ adjustment: 40_000 }),
    undo({ number: 1 }),
    (tables) => {
      undo({ task: 1 })(tables);
      set("tasks", 1, { state: "zombie" })(tables);
    },
  ],
  "ipc.message": [
    (tables) => {
      tables.sysvQueues.push(sysvQueueRow());
      tables.sysvMessages.push(sysvMessageRow({ type: 0n }));
    },
  ],
  "fd.mqueue": [
    queue({ name: "none" }),
    queue({ maxMessages: 1n }),
    queue({ messageSize: 1n }),
    queue({}, { priority: 40_000 }),
    queue({}, {}, { priority: 2 }),
  ],
  "tree.one-root": [set("tasks", 1, { parent: null }), set("checkpoint", 0, { rootTask: 1 })],
  "tree.parent-first": [set("tasks", 0, { parent: 1 }), set("tasks", 1, { parent: 1 })],
  "tree.pid-range": [set("tasks", 1, { pid: 0 }), set("threads", 1, { tid: 0x7fffffff })],
  "tree.pid-twice": [set("tasks", 1, { pid: 100 })],
  "tree.tid-twice": [set("threads", 1, { tid: 101 })],
  "tree.ppid": [set("tasks", 1, { ppid: 55 })],
  "tree.session": [set("tasks", 0, { sid: 101 }), set("tasks", 0, { pgid: 1 })],
  "tree.group-session": [set("tasks", 1, { sid: 5 })],
  "tree.zombie": [set("tasks", 1, { state: "zombie" }), set("tasks", 1, { mm: null })],
  "tree.stop-signal": [set("tasks", 1, { state: "stopped", stopSignal: 0 })],
  "tree.leader": [set("threads", 2, { tid: 103 }), (tables) => void tables.threads.pop()],
  "state.memory-policy": [
    set("memoryPolicies", 0, memoryPolicyRow({ mm: 0, start: 0x500000n, end: 0x900000n, mode: 3 })),
    set("memoryPolicies", 0, memoryPolicyRow({ mm: 0, start: 0x500000n, end: 0x500000n, mode: 3 })),
  ],
  "state.value": [set("tasks", 0, { umask: 0o7777 }), set("threads", 0, { nice: 20 }), set("mms", 0, { dumpable: 3 })],
  "tree.comm": [set("threads", 0, { comm: "a name of sixteen" })],
  "memory.vma-empty": [set("vmas", 0, { end: 0x401000n })],
  "memory.vma-alignment": [set("vmas", 2, { start: 0x500010n }), set("vmas", 0, { offset: 5n })],
  "memory.vma-range": [set("vmas", 7, { end: 0xffffffffff700000n, kind: "anon_private" })],
  "memory.guard": [
    guard(({ start }) => ({ start: start + 1n, end: start + 0x1000n })),
    guard(({ start }) => ({ start, end: start })),
    guard(({ end }) => ({ start: end, end: end + 0x1000n })),
    (tables) => {
      const { owner, address } = tables.extents[0] ?? assert.fail();
      tables.guardRegions.push(guardRegionRow({ mm: owner, start: address, end: address + 0x1000n }));
    },
  ],
  "memory.vma-overlap": [set("vmas", 1, { start: 0x401000n }), set("vmas", 2, { end: 0x601000n })],
  "memory.vma-prot": [set("vmas", 0, { prot: 8 })],
  "memory.vma-flags": [set("vmas", 0, { vmFlags: 3n }), set("vmas", 2, { vmFlags: 0xbn })],
  "memory.vma-object": [
    set("vmas", 0, { object: null }),
    set("vmas", 2, { object: 0 }),
    set("vmas", 3, { object: 0 }),
    set("vmas", 0, { object: 1 }),
  ],
  "memory.mm-unused": [copy("mms", 0)],
  "memory.mm-fields": [set("mms", 0, { endCode: 1n }), set("mms", 0, { brk: notCanonical })],
  "memory.auxv": [set("mms", 0, { auxv: new Uint8Array(7) })],
  "memory.auxv-values": [
    set("mms", 0, { auxv: auxv([6n, 8192n], [0n, 0n]) }),
    set("mms", 0, { auxv: auxv([17n, 1000n], [0n, 0n]) }),
    set("mms", 0, { auxv: auxv([33n, 0x1000n], [0n, 0n]) }),
  ],
  "memory.vdso": [set("mms", 0, { vdsoBase: 0x1000n })],
  "pages.empty": [set("extents", 0, { length: 0n })],
  "pages.alignment": [set("extents", 0, { address: 0x403001n }), set("extents", 0, { length: 5n })],
  "pages.file-alignment": [set("extents", 0, { fileOffset: 4097n })],
  "pages.twice": [set("extents", 1, { address: 0x403000n }), (tables) => void tables.extents.push(...tables.extents.splice(0, 1))],
  "pages.file-twice": [set("extents", 1, { fileOffset: 4096n })],
  "pages.outside-mapping": [set("extents", 0, { address: 0x1000n }), set("extents", 1, { length: 0x4000n })],
  "pages.outside-object": [set("extents", 4, { address: 0x3000n })],
  "pages.parent": [(tables) => void tables.parents.push(parentRow({ path: "/base.elf" }))],
  "pages.source": [set("extents", 0, { source: 3 })],
  "pages.outside-file": [set("extents", 0, { fileOffset: 1n << 40n })],
  "absent.range": [absent({ start: 0x1000n, end: 0x2000n }), absent({ start: 0x403000n, end: 0x403000n })],
  "absent.memory": [absent({})],
  "absent.thread": [
    (tables) => {
      const { mm, ...vma } = tables.vmas.find(({ start, end }) => start <= userRegs().sp && userRegs().sp < end) ?? assert.fail();
      absent({ mm, start: vma.start, end: vma.end })(tables);
    },
  ],
  "absent.stored": [
    (tables) => absent({ start: tables.extents[0]?.address ?? 0n, end: (tables.extents[0]?.address ?? 0n) + 4096n })(tables),
  ],
  "fd.twice": [copy("descriptors", 0)],
  "fd.number": [set("descriptors", 0, { fd: 0x7fffffff })],
  "fd.detail": [set("files", 1, { detail: null }), set("files", 8, { detail: 7 }), set("files", 0, { object: null })],
  "fd.object-kind": [set("files", 7, { object: 0 })],
  "fd.unheld": [(tables) => void tables.descriptors.splice(0, 1)],
  "fd.pipe-content": [
    set("pipes", 0, { capacity: 4 }),
    set("pipes", 0, { packets: new Uint8Array(4), isPacket: 1 }),
    set("pipes", 0, { packets: new Uint8Array(3) }),
  ],
  "fd.terminal": [
    (tables) => void tables.terminals.push(terminalRow({ kind: "pty" })),
    (tables) => void tables.terminals.push(terminalRow({ kind: "outside", termios: new Uint8Array(4) })),
  ],
  "fd.epoll": [set("epollWatches", 0, { epoll: 0 })],
  "fd.socket-pair": [set("sockets", 0, { peer: null }), set("sockets", 1, { peer: 1 })],
  "fd.tcp-connection": [
    (tables) => void tables.tcpConnections.push(tcpConnectionRow({ socket: 0 })),
    (tables) => void tables.tcpConnections.push(tcpConnectionRow({ socket: 1, numUnsent: 1 })),
  ],
  "fd.socket-unheld": [copy("sockets", 0, { isPaired: 0 })],
  "fd.inotify": [
    (tables) => void tables.inotifyWatches.push(inotifyWatchRow({ file: 0, wd: 1 })),
    (tables) => void tables.inotifyWatches.push(inotifyWatchRow({ file: 0, wd: 0 })),
    (tables) => void tables.inotifyEvents.push(inotifyEventRow({ file: 0, wd: 1, mask: 0 })),
  ],
  "fd.fanotify": [(tables) => void tables.fanotifyMarks.push(fanotifyMarkRow({ file: 0 }))],
  "fd.io-uring": [
    (tables) => void tables.ioUrings.push(ioUringRow({ sqEntries: 8, cqEntries: 0 })),
    (tables) => void tables.ioUrings.push(ioUringRow({ sqEntries: 24, cqEntries: 64 })),
  ],
  "fd.io-uring-buffer": [(tables) => void tables.ioUringBuffers.push(ioUringBufferRow({ file: 0 }))],
  "state.seccomp": [
    (tables) => void tables.seccompFilters.push(seccompFilterRow({ instructions: new Uint8Array(12) })),
    (tables) => void tables.seccompFilters.push(seccompFilterRow({ previous: 0, instructions: new Uint8Array(8) })),
    (tables) => void tables.seccompStates.push(seccompStateRow({ thread: 0, mode: "filter" })),
    (tables) =>
      void tables.seccompStates.push(seccompStateRow({ thread: 0, mode: "strict" }), seccompStateRow({ thread: 0, mode: "strict" })),
  ],
  "state.cgroups": [
    (tables) => void tables.cgroups.push(cgroupRow({ path: "../up", root: "/" })),
    (tables) => void tables.cgroupProperties.push(cgroupPropertyRow({ name: "../cpu.max" })),
    (tables) => {
      tables.cgroups.push(cgroupRow({ path: "/a", root: "/" }));
      tables.cgroupMembers.push(cgroupMemberRow({ thread: 0, cgroup: 0 }), cgroupMemberRow({ thread: 0, cgroup: 0 }));
    },
  ],
  "namespace.owner": [(tables) => void tables.namespaces.push(namespaceRow({ kind: "uts" }), namespaceRow({ kind: "mount", owner: 0 }))],
  "namespace.member": [
    (tables) => {
      tables.namespaces.push(namespaceRow({ kind: "uts" }), namespaceRow({ kind: "uts" }));
      tables.taskNamespaces.push(taskNamespaceRow({ task: 0, namespace: 0 }), taskNamespaceRow({ task: 0, namespace: 1 }));
    },
  ],
  "namespace.first-process": [
    (tables) => {
      tables.namespaces.push(namespaceRow({ kind: "pid" }));
      for (const task of tables.tasks.keys()) tables.taskNamespaces.push(taskNamespaceRow({ task, namespace: 0 }));
    },
  ],
  "mount.order": [
    (tables) => void tables.mounts.push(mountRow({ point: "/", parent: 1 }), mountRow({ point: "/proc" })),
    (tables) => void tables.mounts.push(mountRow({ point: "proc" })),
  ],
  "mount.entry": [(tables) => void tables.mountEntries.push(mountEntryRow({ path: "../etc/passwd" }))],
  "signal.number": [set("signalActions", 0, { signal: 65 })],
  "signal.action-twice": [copy("signalActions", 0)],
  "signal.kill-stop": [set("signalActions", 0, { signal: 9 })],
  "signal.handler": [set("signalActions", 0, { handler: 0x500000n }), set("signalActions", 0, { handler: 0x2n })],
  "signal.mask": [set("threads", 0, { sigMask: 0x100n })],
  "signal.siginfo": [set("pendingSignals", 0, { siginfo: new Uint8Array(4) }), set("pendingSignals", 0, { siginfo: siginfo(0) })],
  "signal.pending-thread": [set("pendingSignals", 0, { thread: 2 })],
  "signal.altstack": [set("threads", 0, { altstackFlags: 0, altstackSp: 0x1000n, altstackSize: 8192n })],
  "timer.id-twice": [copy("posixTimers", 0)],
  "timer.target": [set("posixTimers", 0, { notifyTid: 7 }), set("posixTimers", 0, { signal: 0 })],
  "timer.negative": [set("posixTimers", 0, { valueNs: -1n }), set("timerfds", 0, { intervalNs: -1n })],
  "timer.interval-twice": [copy("intervalTimers", 0)],
  "register.canonical": [
    set("threads", 0, { regs: { ...userRegs(), ip: notCanonical } }),
    set("threads", 0, { regs: { ...userRegs(), fsBase: 1n << 63n } }),
  ],
  "register.ip": [
    set("threads", 0, { regs: { ...userRegs(), ip: 0x500000n } }),
    set("threads", 0, { regs: { ...userRegs(), ip: 0x1000n } }),
  ],
  "register.sp": [set("threads", 0, { regs: { ...userRegs(), sp: 0x401800n } }), set("threads", 0, { regs: { ...userRegs(), sp: 0n } })],
  "register.flags": [
    set("threads", 0, { regs: { ...userRegs(), flags: 0n } }),
    set("threads", 0, { regs: { ...userRegs(), flags: 0x24en } }),
  ],
  "register.segments": [
    set("threads", 0, { regs: { ...userRegs(), cs: 0x10n } }),
    set("threads", 0, { regs: { ...userRegs(), cs: 0x23n } }),
    set("threads", 0, { regs: { ...userRegs(), ss: 0x33n } }),
    set("threads", 0, { regs: { ...userRegs(), ds: 0x18n } }),
  ],
  "register.xstate": [
    set("threads", 0, { xstate: new Uint8Array(100) }),
    set("threads", 0, { xstate: changedXstate((bytes) => bytes.writeBigUInt64LE(0xffn, 512)) }),
    set("threads", 0, { xstate: changedXstate((bytes) => bytes.writeBigUInt64LE(1n << 63n, 520)) }),
    set("threads", 0, { xstate: changedXstate((bytes) => bytes.writeUInt32LE(0x10000, 24)) }),
    // Denormals are zeros, on a CPU that has no such mode.
    set("threads", 0, { xstate: changedXstate((bytes) => bytes.writeUInt32LE(0x1fc0, 24) && bytes.writeUInt32LE(0xffbf, 28)) }),
    set("threads", 0, { xstate: changedXstate((bytes) => bytes.writeUInt8(1, 575)) }),
  ],
  "cred.capabilities": [set("creds", 0, { capEffective: 4n }), set("creds", 0, { capAmbient: 1n })],
  "cred.groups": [set("creds", 0, { groups: new Uint8Array(3) })],
  "thread.directories": [
    (tables) => void tables.threadDirectories.push({ thread: 0, umask: 0, cwd: null, root: null }),
    (tables) => {
      const second = tables.threads.push({ ...(tables.threads[0] ?? assert.fail()), tid: 9999 }) - 1;
      for (let twice = 0; twice < 2; twice++) tables.threadDirectories.push({ thread: second, umask: 0, cwd: null, root: null });
    },
  ],
  "limit.order": [set("rlimits", 0, { soft: 17n })],
  "limit.twice": [copy("rlimits", 0)],
  "sched.values": [set("threads", 0, { nice: 20 }), set("threads", 0, { schedPriority: 5 }), set("threads", 0, { schedPolicy: "fifo" })],
};

function findings(tables: MutableTables): readonly Finding[] {
  const checkpoint = checkpointOf(tables);
  const context = { checkpoint, tables: checkpoint.tables, format: "ckpt-elf" };
  return runRules(modelRules, context, { source: "model", format: "ckpt-elf", locate: pathLocator }).findings;
}

test("a valid model has no findings", () => {
  assert.deepEqual(findings(smallTables()), []);
});

test("codes are unique, and every rule has examples here", () => {
  const codes = modelRules.map((rule) => rule.code);
  assert.equal(new Set(codes).size, codes.length);
  assert.deepEqual([...codes].sort(), Object.keys(broken).sort());
});

for (const [code, changes] of Object.entries(broken)) {
  test(`${code} finds what breaks it`, () => {
    for (const [index, change] of changes.entries()) {
      const tables = smallTables();
      change(tables);
      const found = findings(tables);
      assert.ok(
        found.some((finding) => finding.code === code),
        `example ${index} found only ${found.map((finding) => finding.code).join(", ") || "nothing"}`,
      );
    }
  });
}

test("findings of one rule are cut off", () => {
  const tables = smallTables();
  for (let index = 0; index < 1000; index += 1) tables.vmas.push(vmaRow({ mm: 0, kind: "anon_private", start: 5n, end: 5n }));
  const checkpoint = checkpointOf(tables);
  const run = runRules(modelRules, { checkpoint, tables, format: "json" }, { source: "model", locate: pathLocator });
  assert.ok(run.findings.length < 200);
  assert.ok(run.cutOff.includes("memory.vma-empty"));
});

test("rules stand models in which every reference dangles", () => {
  const tables = smallTables();
  tables.tasks.push(taskRow({ pid: 7, parent: 900, mm: 900 }));
  tables.threads.push(threadRow({ task: 900, tid: 8, creds: 900 }));
  for (const rows of [tables.vmas, tables.mms, tables.files, tables.objects, tables.sockets]) rows.length = 0;
  assert.ok(findings(tables).length > 0);
});
