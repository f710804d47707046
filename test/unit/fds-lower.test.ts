// SPDX-License-Identifier: Apache-2.0
/** Descriptors in restore programs: which number gets what, how sockets come to be, what is said of each op. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import {
  descriptorRow,
  emptyTables,
  eventfdRow,
  type MutableTables,
  objectRow,
  openFileRow,
  pipeRow,
  rlimitRow,
  socketMessageRow,
  socketRow,
  taskRow,
} from "../../src/gen/tables.js";
import type { LowerContext } from "../../src/lower/context.js";
import { fileLowerings } from "../../src/lower/fds/kinds.js";
import { DescriptorProgram } from "../../src/lower/fds/lowering.js";
import { rangesToClose } from "../../src/lower/fds/place.js";
import { deviceNumber } from "../../src/lower/fds/removed.js";
import { planOrigins } from "../../src/kinds/socket/unix/lower-plan.js";
import { chooseHighFds } from "../../src/lower/high-fds.js";
import type { OpStamp } from "../../src/lower/op-store.js";
import { type Arg, Slot } from "../../src/lower/operands.js";
import { ProgramBuilder } from "../../src/lower/program-builder.js";
import { nr } from "../../src/linux/syscall-numbers.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { type DraftOp, draftsOf } from "../support/draft-ops.js";

const firstHighFd = 1000;

function contextOf(tables: MutableTables): LowerContext {
  const builder = new ProgramBuilder();
  return {
    checkpoint: new Checkpoint({ tables, sources: [] }),
    builder,
    firstHighFd,
    imageFd: builder.slot("image"),
    keepHigh: () => undefined,
    keepLast: () => undefined,
    lastOf: () => undefined,
    openObject: (object, flags) => {
      const slot = builder.slot(`object ${object}`);
      builder.syscall("openat", [-100, builder.string(tables.objects[object]?.path ?? "?"), flags, 0], { store: slot });
      return slot;
    },
    checkOpened: () => undefined,
    taskSubject: (task) => `task ${tables.tasks[task]?.pid ?? "?"}`,
    taskPid: (task) => tables.tasks[task]?.pid ?? 0,
    runAs: (_identity, build) => build(),
    untilEnd: () => undefined,
    threadId: (thread) => tables.threads[thread]?.tid ?? 0,
  };
}

const calls = (ops: readonly DraftOp[], name: keyof typeof nr): DraftOp[] =>
  ops.filter((op) => op.kind === "syscall" && op.nr === nr[name]);

/** Runs dup3 and close_range on a table of numbers, as the kernel would. */
function runPlacement(ops: readonly DraftOp[], table: Map<number, string>, nameOf: (arg: Arg | undefined) => string): void {
  for (const op of ops) {
    const [a, b] = op.args;
    if (op.nr === nr.dup3) {
      assert.ok(typeof b === "number" && b < firstHighFd);
      table.set(b, nameOf(a));
    } else if (op.nr === nr.close_range) {
      assert.ok(typeof a === "number" && typeof b === "number" && a <= b && b < firstHighFd);
      for (const number of [...table.keys()]) if (number >= a && number <= b) table.delete(number);
    }
  }
}

test("every descriptor ends at its number and nothing else is open below the high numbers", () => {
  const rows = fc.uniqueArray(fc.record({ fd: fc.nat({ max: firstHighFd - 1 }), file: fc.nat({ max: 5 }), flags: fc.nat({ max: 1 }) }), {
    selector: ({ fd }) => fd,
    maxLength: 40,
  });
  fc.assert(
    fc.property(rows, fc.uniqueArray(fc.nat({ max: firstHighFd - 1 })), (descriptors, openBefore) => {
      const tables = emptyTables();
      tables.tasks.push(taskRow({ pid: 1 }));
      for (let index = 0; index < 6; index++) {
        tables.objects.push(objectRow({ kind: "file", path: `/f${index}` }));
        tables.files.push(openFileRow({ kind: "path", object: index }));
      }
      for (const row of descriptors) tables.descriptors.push(descriptorRow({ task: 0, ...row }));
      const context = contextOf(tables);
      const program = new DescriptorProgram(context);
      program.openFiles();
      const from = context.builder.ops.length;
      program.placeDescriptors(0);
      const table = new Map(openBefore.map((number) => [number, "stranger"]));
      runPlacement(draftsOf(context.builder, from), table, (arg) => (arg instanceof Slot ? arg.name : "?"));
      assert.deepEqual(table, new Map(descriptors.map(({ fd, file }) => [fd, `object ${file}`])));
    }),
  );
});

test("ranges to close and numbers kept are a partition", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat({ max: 99 })), (numbers) => {
      const closed = rangesToClose(numbers, 100).flatMap(({ first, last }) =>
        Array.from({ length: last - first + 1 }, (_, index) => first + index),
      );
      assert.deepEqual(
        [...closed, ...numbers].sort((a, b) => a - b),
        Array.from({ length: 100 }, (_, index) => index),
      );
    }),
  );
});

test("numbers beyond the sources of dup3 leave the ranges below alone", () => {
  const ranges = rangesToClose([0, 1, 2, 7, 150, 199], 100);
  assert.deepEqual(ranges, [
    { first: 3, last: 6 },
    { first: 8, last: 99 },
  ]);
});

test("where the hard limit leaves no room above, the restore keeps its descriptors in a gap", () => {
  const tables = emptyTables();
  for (const fd of [0, 1, 70, 1000, 1023]) tables.descriptors.push(descriptorRow({ task: 0, fd, file: 0 }));
  const checkpoint = new Checkpoint({ tables, sources: [] });
  assert.deepEqual(chooseHighFds(checkpoint), {
    first: 1024,
    last: 0xffff_ffff,
    firstLasting: 1088,
    firstUntilEnd: 1088,
    firstOfThreads: 1088,
  });
  tables.rlimits.push(rlimitRow({ task: 0, resource: "nofile", soft: 1024n, hard: 1024n }));
  assert.deepEqual(chooseHighFds(checkpoint), { first: 71, last: 999, firstLasting: 135, firstUntilEnd: 135, firstOfThreads: 135 });
  tables.rlimits[0] = rlimitRow({ task: 0, resource: "nofile", soft: 1024n, hard: 4096n });
  assert.deepEqual(chooseHighFds(checkpoint), {
    first: 1024,
    last: 0xffff_ffff,
    firstLasting: 1088,
    firstUntilEnd: 1088,
    firstOfThreads: 1088,
  });
});

test("a pipe is made once, filled, and its ends are the files that name it", () => {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ pid: 7 }));
  tables.pipes.push(pipeRow({ ino: 5n, capacity: 65536, data: new Uint8Array(10) }));
  tables.files.push(openFileRow({ kind: "pipe", detail: 0, flags: 0 }), openFileRow({ kind: "pipe", detail: 0, flags: 0o4001 }));
  tables.descriptors.push(descriptorRow({ task: 0, fd: 3, file: 0 }), descriptorRow({ task: 0, fd: 4, file: 1 }));
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  const ops = draftsOf(context.builder);
  assert.equal(calls(ops, "pipe2").length, 1);
  assert.deepEqual(
    calls(ops, "write").map((op) => op.options.expect),
    [10],
  );
  assert.equal(calls(ops, "openat").length, 0);
  // O_NONBLOCK stays only where it was
  assert.deepEqual(
    calls(ops, "fcntl")
      .filter((op) => op.args[1] === 4)
      .map((op) => op.args[2]),
    [0, 0o4000],
  );
});

test("packets are written one by one", () => {
  const tables = emptyTables();
  tables.pipes.push(
    pipeRow({ capacity: 4096, isPacket: 1, data: new Uint8Array(6), packets: new Uint8Array(Uint32Array.from([1, 2, 3]).buffer) }),
  );
  tables.files.push(openFileRow({ kind: "pipe", detail: 0, flags: 0o40001 }));
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  assert.deepEqual(
    calls(draftsOf(context.builder), "write").map((op) => op.args[2]),
    [1, 2, 3],
  );
});

test("a terminal on standard output is the caller's stream of the same number", () => {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ pid: 7 }));
  tables.files.push(openFileRow({ kind: "inherited", detail: 0 }));
  for (const fd of [0, 1, 2, 255]) tables.descriptors.push(descriptorRow({ task: 0, fd, file: 0 }));
  const context = contextOf(tables);
  const program = new DescriptorProgram(context);
  program.openFiles();
  const from = context.builder.ops.length;
  program.placeDescriptors(0);
  const table = new Map<number, string>();
  runPlacement(draftsOf(context.builder, from), table, (arg) => (arg instanceof Slot ? arg.name : "?"));
  assert.deepEqual(
    [...table],
    [
      [0, "standard stream 0"],
      [1, "standard stream 1"],
      [2, "standard stream 2"],
      [255, "standard stream 0"],
    ],
  );
});

const unix = (fields: Parameters<typeof socketRow>[0]): ReturnType<typeof socketRow> => socketRow({ family: 1, type: 1, ...fields });
const address = (text: string): Uint8Array => Uint8Array.from([1, 0, ...Buffer.from(text), 0]);

test("unnamed connected sockets are pairs; accepted ones come from their listener", () => {
  assert.deepEqual(planOrigins([unix({ state: "connected", isPaired: 1, peer: 1 }), unix({ state: "connected", isPaired: 1, peer: 0 })]), [
    { how: "pair", other: 1 },
    { how: "pair", other: 0 },
  ]);
  assert.deepEqual(
    planOrigins([
      unix({ state: "connected", isPaired: 1, peer: 2, peerAddress: address("/s") }),
      unix({ state: "listening", localAddress: address("/s") }),
      unix({ state: "connected", isPaired: 1, peer: 0, localAddress: address("/s") }),
      unix({ state: "unconnected" }),
    ]),
    [{ how: "client", listener: 1, accepted: 2 }, { how: "alone" }, { how: "accepted", listener: 1, client: 0 }, { how: "alone" }],
  );
});

test("an end whose peer is gone still gets the bytes that wait in it", () => {
  const tables = emptyTables();
  tables.sockets.push(unix({ state: "connected" }));
  tables.socketMessages.push(socketMessageRow({ socket: 0, data: new Uint8Array(9) }));
  tables.files.push(openFileRow({ kind: "socket", detail: 0, flags: 2 }));
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  assert.equal(calls(draftsOf(context.builder), "socketpair").length, 1);
  assert.deepEqual(
    calls(draftsOf(context.builder), "sendto").map((op) => op.options.expect),
    [9],
  );
});

test("bound sockets: a stale file is replaced only if nobody answers, a deleted name is gone again at the end", () => {
  const tables = emptyTables();
  tables.objects.push(objectRow({ kind: "unix_socket", path: "/d/s", mode: 0o140755 }));
  tables.sockets.push(
    unix({ state: "listening", backlog: 5, localAddress: address("./s"), object: 0 }),
    unix({ type: 2, state: "unconnected", localAddress: address("/d/gone"), isDeleted: 1 }),
  );
  tables.files.push(openFileRow({ kind: "socket", detail: 0, flags: 2 }), openFileRow({ kind: "socket", detail: 1, flags: 2 }));
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  const ops = draftsOf(context.builder);
  // the probe and the bind both happen in the directory that the relative name counts from
  assert.equal(calls(ops, "chdir").length, 2);
  assert.equal(calls(ops, "connect").length, 1);
  const names = ops.map((op) => (op.kind === "syscall" ? op.nr : -1));
  assert.ok(names.lastIndexOf(nr.unlinkat) > names.lastIndexOf(nr.bind));
  assert.equal(calls(ops, "renameat").length, 2);
});

test("a reference that leads nowhere is an error of the image, not a crash", () => {
  for (const kind of ["pipe", "socket", "eventfd", "timerfd", "signalfd"] as const) {
    const tables = emptyTables();
    tables.files.push(openFileRow({ kind, detail: 3 }));
    assert.throws(() => new DescriptorProgram(contextOf(tables)).openFiles(), { code: "lower.reference" });
  }
});

test("a file that its kind leaves unopened is an error: its task would lack it in silence", () => {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ pid: 7 }));
  tables.eventfds.push(eventfdRow({ count: 1n }));
  tables.files.push(openFileRow({ kind: "eventfd", detail: 0 }));
  tables.descriptors.push(descriptorRow({ task: 0, fd: 3, file: 0 }));
  const forgetful = { ...fileLowerings, eventfd: { open: () => ({ slots: new Map() }) } };
  assert.throws(() => new DescriptorProgram(contextOf(tables), forgetful).openFiles(), {
    code: "lower.unopened",
    message: /the eventfd for fd 3 of task 7/,
  });
  new DescriptorProgram(contextOf(tables)).openFiles();
});

test("device numbers are those of makedev(3)", () => {
  assert.equal(deviceNumber(1, 3), 0x103n);
  assert.equal(deviceNumber(0x12345, 0x678), 0x0001200000634578n);
});

test("what lies in /proc of a process of the tree is opened by its holder, when that process exists", () => {
  const tables = emptyTables();
  tables.tasks.push(taskRow({ pid: 7 }), taskRow({ pid: 9, parent: 0 }));
  tables.objects.push(objectRow({ kind: "file", path: "/proc/9/stat" }), objectRow({ kind: "file", path: "/proc/8/stat" }));
  tables.files.push(
    openFileRow({ kind: "path", object: 0 }),
    openFileRow({ kind: "path", object: 1 }),
    openFileRow({ kind: "pidfd", detail: 9 }),
  );
  tables.files.forEach((_, file) => tables.descriptors.push(descriptorRow({ task: 0, fd: 3 + file, file })));
  const context = contextOf(tables);
  const program = new DescriptorProgram(context);
  program.openFiles();
  assert.equal(calls(draftsOf(context.builder), "openat").length, 1, "only the one of a stranger");
  const from = context.builder.ops.length;
  program.finishDescriptors(0);
  const late = draftsOf(context.builder, from);
  assert.equal(calls(late, "openat").length, 1);
  assert.deepEqual(
    calls(late, "pidfd_open").map((op) => op.args[0]),
    [9],
  );
});

test("pidfds of one dead process are of one process again", () => {
  const tables = emptyTables();
  tables.objects.push(objectRow({ kind: "other", ino: 5n }));
  tables.files.push(openFileRow({ kind: "pidfd", object: 0 }), openFileRow({ kind: "pidfd", object: 0 }), openFileRow({ kind: "pidfd" }));
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  const ops = draftsOf(context.builder);
  assert.equal(calls(ops, "clone3").length, 2);
  assert.equal(calls(ops, "pidfd_open").length, 3);
  assert.equal(calls(ops, "wait4").length, 2);
});

test("a client that is not accepted connects last and is not accepted", () => {
  const tables = emptyTables();
  tables.sockets.push(
    unix({ state: "connected", peer: 1, peerAddress: address("/s") }),
    unix({ state: "listening", backlog: 3, localAddress: address("/s") }),
  );
  tables.files.push(openFileRow({ kind: "socket", detail: 0, flags: 2 }), openFileRow({ kind: "socket", detail: 1, flags: 2 }));
  assert.deepEqual(planOrigins(tables.sockets), [{ how: "pending", listener: 1 }, { how: "alone" }]);
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  const names = draftsOf(context.builder).map((op) => (op.kind === "syscall" ? op.nr : -1));
  assert.equal(calls(draftsOf(context.builder), "accept4").length, 0);
  assert.ok(names.lastIndexOf(nr.connect) > names.indexOf(nr.listen));
});

test("a TCP connection that is over is broken off by a listener of the restore", () => {
  const tables = emptyTables();
  tables.sockets.push(socketRow({ family: 2, type: 1, protocol: 6, state: "closed" }));
  tables.files.push(openFileRow({ kind: "socket", detail: 0, flags: 2 }));
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  assert.equal(calls(draftsOf(context.builder), "accept4").length, 1);
  assert.equal(calls(draftsOf(context.builder), "bind").length, 1, "the port it had is not taken");
});

test("descriptors in flight are sent with their message", () => {
  const tables = emptyTables();
  tables.sockets.push(unix({ state: "connected", isPaired: 1, peer: 1 }), unix({ state: "connected", isPaired: 1, peer: 0 }));
  tables.objects.push(objectRow({ kind: "file", path: "/f" }));
  tables.files.push(
    openFileRow({ kind: "socket", detail: 0 }),
    openFileRow({ kind: "socket", detail: 1 }),
    openFileRow({ kind: "path", object: 0 }),
  );
  tables.socketMessages.push(socketMessageRow({ socket: 0, data: new Uint8Array(1) }));
  tables.messageFiles.push({ message: 0, file: 2 });
  const context = contextOf(tables);
  new DescriptorProgram(context).openFiles();
  assert.deepEqual(
    calls(draftsOf(context.builder), "sendmsg").map((op) => op.options.expect),
    [1],
  );
});

test("ops that are copied for a file that is opened often are those that would be made", () => {
  const programOf = (isCopied: boolean): Buffer => {
    const builder = new ProgramBuilder();
    const policy = builder.slot("policy");
    const stat = builder.buffer(144);
    const inode = builder.buffer(16);
    const open = (fd: Slot, message: string): void => {
      const done = builder.label("done");
      builder.syscall("openat", [-100, builder.string("/f"), 0, 0], { store: fd, message });
      builder.jumpIf(policy, "eq", 2, done);
      builder.syscall("fstat", [fd, stat], { message: "examine" });
      builder.compare(stat, inode, 16, { orElse: done });
      builder.place(done);
    };
    builder.compute(policy, "move", 0);
    let stamp: OpStamp | undefined;
    for (let index = 0; index < 5000; index++) {
      const fd = builder.slot(`fd ${index}`);
      const first = builder.ops.length;
      if (isCopied && stamp !== undefined && builder.ops.fits(stamp)) builder.ops.put(stamp, fd, `open ${index}`);
      else open(fd, `open ${index}`);
      if (index === 0) stamp = builder.ops.stampOf(first, fd, `open ${index}`);
    }
    builder.compute(policy, "move", 0);
    const layout = { zeroedOffset: 1 << 20, numCounters: 1, numLastingPids: 1, holeSize: 4096 };
    return Buffer.concat(builder.ops.finish(layout, new DataView(new ArrayBuffer(0))));
  };
  assert.ok(programOf(true).equals(programOf(false)));
});
