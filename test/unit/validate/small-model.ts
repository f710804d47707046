// SPDX-License-Identifier: Apache-2.0
/** A small valid checkpoint: two processes, three threads, shared memory, a pipe, a socket pair, an epoll set. */
import {
  type MutableTables,
  checkpointRow,
  credRow,
  descriptorRow,
  emptyTables,
  epollWatchRow,
  extentRow,
  intervalTimerRow,
  mmRow,
  objectRow,
  openFileRow,
  pendingSignalRow,
  pipeRow,
  posixTimerRow,
  rlimitRow,
  signalActionRow,
  socketRow,
  taskRow,
  threadRow,
  timerfdRow,
  vmaRow,
} from "../../../src/gen/tables.js";
import { gpregs } from "../../../src/gen/x86-64-regs.js";
import { Checkpoint } from "../../../src/model/checkpoint.js";
import { BufferPageSource } from "../../../src/pages/buffer-source.js";

const pages = 16;

/** Registers of user code. */
export function userRegs() {
  return gpregs({ ip: 0x401000n, sp: 0x7ffd0000f000n, cs: 0x33n, ss: 0x2bn, flags: 0x246n, origAx: 0xffffffffffffffffn });
}

/** siginfo_t of SIGUSR1. */
export function siginfo(signal = 10): Uint8Array {
  const bytes = Buffer.alloc(128);
  bytes.writeInt32LE(signal, 0);
  return bytes;
}

/** XSAVE area in the standard form: x87, SSE and AVX in use. */
export function xstate(): Uint8Array {
  const bytes = Buffer.alloc(832);
  bytes.writeUInt32LE(0x1f80, 24);
  bytes.writeBigUInt64LE(7n, 464);
  bytes.writeBigUInt64LE(7n, 512);
  return bytes;
}

/** AT_PAGESZ, AT_PHENT, AT_CLKTCK, AT_SYSINFO_EHDR, AT_NULL. */
function auxv(): Uint8Array {
  return new Uint8Array(BigUint64Array.from([6n, 4096n, 4n, 56n, 17n, 100n, 33n, 0x7ffd80002000n, 0n, 0n]).buffer);
}

/** Rows that a test may change before it makes a checkpoint of them. */
export function smallTables(): MutableTables {
  const tables = emptyTables();
  tables.checkpoint.push(checkpointRow({ createdNs: 1n, xfeatures: 7n, rootTask: 0, pageSize: 4096, creator: "test", machine: "x86_64" }));
  tables.creds.push(credRow({ capPermitted: 3n, capEffective: 1n, groups: new Uint8Array(8) }));
  tables.objects.push(
    objectRow({ kind: "file", path: "/bin/program", mode: 0o100755, nlink: 1, ino: 7n, size: 0x3000n }),
    objectRow({ kind: "directory", path: "/", mode: 0o40755, nlink: 1, ino: 2n }),
    objectRow({ kind: "shared_memory", ino: 99n, size: 0x4000n }),
    objectRow({ kind: "memfd", path: "name", ino: 100n, size: 0x1000n }),
  );
  for (const [index, pid] of [100, 101].entries()) {
    tables.mms.push(
      mmRow({
        exe: 0,
        dumpable: 1,
        startCode: 0x401000n,
        endCode: 0x402000n,
        startData: 0x403000n,
        endData: 0x403800n,
        startBrk: 0x500000n,
        brk: 0x501000n,
        startStack: 0x7ffd0000f800n,
        argStart: 0x7ffd0000f900n,
        argEnd: 0x7ffd0000f910n,
        envStart: 0x7ffd0000f910n,
        envEnd: 0x7ffd0000f920n,
        auxv: auxv(),
        vdsoBase: 0x7ffd80002000n,
      }),
    );
    tables.tasks.push(
      taskRow({
        pid,
        parent: index === 0 ? null : 0,
        ppid: index === 0 ? 1 : 100,
        pgid: 100,
        sid: 100,
        state: "running",
        exitSignal: 17,
        mm: index,
        cwd: 1,
        foregroundPgid: -1,
      }),
    );
    const own = { mm: index } as const;
    tables.vmas.push(
      vmaRow({ ...own, kind: "file_private", start: 0x401000n, end: 0x402000n, offset: 0x1000n, prot: 5, object: 0, vmFlags: 0x75n }),
      vmaRow({ ...own, kind: "file_private", start: 0x403000n, end: 0x404000n, offset: 0x2000n, prot: 3, object: 0 }),
      vmaRow({ ...own, kind: "anon_private", start: 0x500000n, end: 0x501000n, prot: 3, isHeap: 1 }),
      vmaRow({ ...own, kind: "anon_shared", start: 0x600000n, end: 0x604000n, prot: 3, object: 2 }),
      vmaRow({ ...own, kind: "anon_private", start: 0x7ffd00000000n, end: 0x7ffd00010000n, prot: 3, isStack: 1 }),
      vmaRow({ ...own, kind: "vvar", start: 0x7ffd80000000n, end: 0x7ffd80002000n, prot: 1, name: "[vvar]" }),
      vmaRow({ ...own, kind: "vdso", start: 0x7ffd80002000n, end: 0x7ffd80004000n, prot: 5, name: "[vdso]" }),
      vmaRow({ ...own, kind: "vsyscall", start: 0xffffffffff600000n, end: 0xffffffffff601000n, prot: 4, name: "[vsyscall]" }),
    );
    const base = BigInt(index * 3);
    tables.extents.push(
      extentRow({ ownerKind: "mm", owner: index, address: 0x403000n, length: 0x1000n, fileOffset: (1n + base) * 4096n }),
      extentRow({ ownerKind: "mm", owner: index, address: 0x7ffd0000e000n, length: 0x2000n, fileOffset: (2n + base) * 4096n }),
    );
    for (const resource of ["nofile", "stack"] as const) tables.rlimits.push(rlimitRow({ task: index, resource, soft: 8n, hard: 16n }));
  }
  tables.extents.push(extentRow({ ownerKind: "object", owner: 2, address: 0n, length: 0x2000n, fileOffset: 8n * 4096n }));
  const thread = { regs: userRegs(), creds: 0, comm: "program", xstate: xstate(), altstackFlags: 2, schedPolicy: "other" } as const;
  tables.threads.push(
    threadRow({ ...thread, task: 0, tid: 100 }),
    threadRow({ ...thread, task: 0, tid: 102 }),
    threadRow({ ...thread, task: 1, tid: 101 }),
  );
  tables.signalActions.push(signalActionRow({ task: 0, signal: 10, handler: 0x401100n, flags: 0x04000000n, restorer: 0x401200n }));
  tables.pendingSignals.push(pendingSignalRow({ task: 0, thread: 1, siginfo: siginfo() }));
  tables.intervalTimers.push(intervalTimerRow({ task: 0, which: "real", valueUs: 5n }));
  tables.posixTimers.push(posixTimerRow({ task: 0, timerId: 0, clock: 1, notify: 4, signal: 10, notifyTid: 102, valueNs: 5n }));
  tables.pipes.push(pipeRow({ ino: 11n, capacity: 65536, data: new Uint8Array(5) }));
  tables.timerfds.push(timerfdRow({ clock: 1, valueNs: 1n }));
  tables.sockets.push(
    socketRow({ ino: 21n, family: 1, type: 1, state: "connected", peer: 1, isPaired: 1 }),
    socketRow({ ino: 22n, family: 1, type: 1, state: "connected", peer: 0, isPaired: 1 }),
  );
  tables.files.push(
    openFileRow({ kind: "path", object: 0, flags: 0o100000 }),
    openFileRow({ kind: "pipe", detail: 0, flags: 0 }),
    openFileRow({ kind: "pipe", detail: 0, flags: 1 }),
    openFileRow({ kind: "socket", detail: 0, flags: 2 }),
    openFileRow({ kind: "socket", detail: 1, flags: 2 }),
    openFileRow({ kind: "epoll", flags: 2 }),
    openFileRow({ kind: "timerfd", detail: 0, flags: 2 }),
    openFileRow({ kind: "memfd", object: 3, flags: 2 }),
    openFileRow({ kind: "inherited", detail: 0, flags: 2 }),
  );
  for (const file of tables.files.keys()) tables.descriptors.push(descriptorRow({ task: 0, fd: file, file }));
  tables.descriptors.push(descriptorRow({ task: 1, fd: 3, file: 1 }));
  tables.epollWatches.push(epollWatchRow({ epoll: 5, fd: 3, file: 3, events: 1 }));
  return tables;
}

/** A checkpoint of rows; its pages are zeros. */
export function checkpointOf(tables: MutableTables, bytes = pages * 4096): Checkpoint {
  return new Checkpoint({ tables, sources: [new BufferPageSource("pages", new Uint8Array(bytes))] });
}
