// SPDX-License-Identifier: Apache-2.0
/**
 * System V message queues. One that is there and that only processes of the tree have used is emptied and filled again;
 * one that others use is left as it is: what was in it at the dump is still there.
 */
import { type SysvMessageRow, type SysvQueueRow, sysvQueueFlagsBits } from "../../gen/tables.js";
import { IPC, ipcOffset, ipcStructSize, MSG } from "../../linux/sysv-ipc.js";
import type { Lowering } from "../lowering.js";
import type { Label } from "../operands.js";
import { findObject, makeObject, setOwner, systemVName } from "./make.js";

/** Ops of the first process: all queues. */
export function makeQueues(l: Lowering): void {
  const { sysvQueues, sysvMessages } = l.checkpoint.tables;
  sysvQueues.forEach((queue, index) =>
    makeQueue(
      l,
      queue,
      sysvMessages.filter((message) => message.queue === index),
    ),
  );
}

function makeQueue(l: Lowering, queue: SysvQueueRow, messages: readonly SysvMessageRow[]): void {
  const { builder: b } = l;
  const { id, key, capacity } = queue;
  const name = systemVName("message queue", queue);
  const [absent, empty, done] = [b.label(`${name} is to be made`), b.label(`${name} is empty`), b.label(`${name} is done`)];
  const found = findObject(l, "msg", queue, name, [], absent);
  if ((queue.flags & sysvQueueFlagsBits.outside) === 0) {
    leaveIfOthersUsedIt(l, queue, found.at(ipcOffset.msgSender).u4, name, done);
    leaveIfOthersUsedIt(l, queue, found.at(ipcOffset.msgReceiver).u4, name, done);
    drain(l, id);
    b.jump(empty);
  } else {
    b.jump(done);
  }
  b.place(absent);
  makeObject(l, "msg", queue, name, queue.lastSender, (mode) => {
    const got = b.slot(`new ${name}`);
    b.syscall("msgget", [key, mode], { store: got, message: `make ${name}`, hint: "the limit on queues is a sysctl (kernel.msgmni)" });
    return got;
  });
  b.place(empty);
  const stat = b.buffer(ipcStructSize);
  const needed = messages.reduce((sum, { data }) => sum + BigInt(data.length), 0n);
  // It may hold more than it may take now.
  const room = needed > capacity ? needed : capacity;
  b.store8(stat.at(ipcOffset.msgCapacity), room);
  setOwner(
    l,
    "msg",
    queue,
    name,
    stat,
    `raise the limit on the capacity of queues (sysctl -w kernel.msgmnb=${room}), or resume with CAP_SYS_RESOURCE`,
  );
  if (queue.lastReceiver !== 0) {
    const nothing = b.u8s(1);
    l.runAs({ pid: queue.lastReceiver, uid: 0, gid: 0, groups: undefined }, () => {
      b.syscall("msgsnd", [id, nothing, 0, IPC.nowait], { message: `use ${name}` });
      b.syscall("msgrcv", [id, b.buffer(8), 0, 0, IPC.nowait], { message: `use ${name}` });
    });
  }
  l.runAs({ pid: queue.lastSender, uid: 0, gid: 0, groups: undefined }, () => {
    for (const { type, data } of messages) {
      const message = new Uint8Array(8 + data.length);
      new DataView(message.buffer).setBigInt64(0, type, true);
      message.set(data, 8);
      b.syscall("msgsnd", [id, b.bytes(message), data.length, IPC.nowait], {
        message: `put a message of ${data.length} bytes back into ${name}`,
        hint: "the limit on the length of messages is a sysctl (kernel.msgmax)",
      });
    }
  });
  if (room !== capacity) {
    b.store8(stat.at(ipcOffset.msgCapacity), capacity);
    setOwner(l, "msg", queue, name, stat);
  }
  b.place(done);
}

/** Messages of others are not to be lost: the queue stays as it is, the tree's messages are still in it. */
function leaveIfOthersUsedIt(
  l: Lowering,
  queue: SysvQueueRow,
  pid: Parameters<Lowering["builder"]["jumpIf"]>[0],
  name: string,
  done: Label,
): void {
  const { builder: b } = l;
  const isOurs = b.label(`${name} is the tree's`);
  const known = new Set([0, queue.lastSender, queue.lastReceiver, ...l.checkpoint.tables.tasks.map((task) => task.pid)]);
  for (const one of known) b.jumpIf(pid, "eq", one, isOurs);
  b.print(`${name}: others have used it since the dump; it stays as it is now`);
  b.jump(done);
  b.place(isOurs);
}

function drain(l: Lowering, id: number): void {
  const { builder: b } = l;
  const [more, drained] = [b.label("more messages"), b.label("no more messages")];
  const byte = b.buffer(16);
  b.place(more);
  b.syscall("msgrcv", [id, byte, 1, 0, IPC.nowait | MSG.noerror], { orElse: drained });
  b.jump(more);
  b.place(drained);
}
