// SPDX-License-Identifier: Apache-2.0
/**
 * POSIX message queues. One that is there under its name gets the messages of the dump again, unless others have it open
 * too or have put more into it; one that is not is made. Notifications are asked for at last: closing any descriptor of a
 * queue ends that of its process.
 */
import { type OpenFileRow, posixQueueFlagsBits as bits, type PosixQueueRow } from "../../gen/tables.js";
import type { FileLowering } from "../../lower/fds/kind.js";
import { detailOf, type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";

const accessMode = 3;
/** struct mq_attr: flags, the number of messages, their size, how many there are; 8 bytes each. */
const attributeOffset = { maxMessages: 8, messageSize: 16, count: 24 } as const;
const attributesSize = 64;

export const lowering: FileLowering = { open: openQueues, finishTask: askForNotifications };

function openQueues(slots: FileSlots, members: readonly number[]): { readonly slots: ReadonlyMap<number, Slot> } {
  const opened = new Map<number, Slot>();
  const byQueue = new Map<number, number[]>();
  for (const file of members) {
    const detail = slots.file(file).detail ?? -1;
    byQueue.set(detail, [...(byQueue.get(detail) ?? []), file]);
  }
  for (const [detail, files] of byQueue) {
    const queue = detailOf(slots.context.checkpoint.tables.posixQueues, slots.file(files[0] ?? -1), "posix_queues");
    const name = makeQueue(slots, queue, detail);
    for (const file of files) opened.set(file, openQueue(slots, slots.file(file), name, queue, slots.purposeOf(file)));
    if ((queue.flags & bits.deleted) !== 0) {
      slots.context.builder.syscall("mq_unlink", [name], { message: `remove the name of message queue ${queue.name}` });
    }
  }
  return { slots: opened };
}

function openQueue({ context }: FileSlots, file: OpenFileRow, name: Slot, queue: PosixQueueRow, purpose: string): Slot {
  const slot = context.builder.slot(`message queue ${queue.name} ${purpose}`);
  context.builder.syscall("mq_open", [name, file.flags & (accessMode | openFlags.NONBLOCK), 0, 0], {
    store: slot,
    message: `open message queue ${queue.name} ${purpose}`,
  });
  context.keepHigh(slot);
  return slot;
}

/** Ops: the queue is there with its messages. Returns the slot of its name's address: that of a removed one may be taken. */
function makeQueue({ context }: FileSlots, queue: PosixQueueRow, detail: number): Slot {
  const b = context.builder;
  const has = (bit: number): boolean => (queue.flags & bit) !== 0;
  const what = `message queue ${queue.name}`;
  // The kernel takes names without the slash that the C library takes.
  const bare = queue.name.replace(/^\//, "");
  const [name, fd] = [b.slot(`name of ${what}`), b.slot(`fd of ${what}`)];
  const [absent, made, filled] = [b.label(`${what} is to be made`), b.label(`${what} is made`), b.label(`${what} has its messages`)];
  const attributes = b.u8s(0, queue.maxMessages, queue.messageSize, 0);
  const make = openFlags.CREAT | openFlags.EXCL | openFlags.RDWR | openFlags.NONBLOCK;
  const hint = "limits on queues are sysctls (fs.mqueue.*) and a resource limit (ulimit -q)";
  const messages = context.checkpoint.tables.posixMessages.filter((message) => message.queue === detail);
  b.compute(name, "move", b.string(bare));
  if (has(bits.deleted)) {
    const isTaken = b.label(`the name of ${what} is taken`);
    b.syscall("mq_open", [name, make, queue.mode, attributes], { store: fd, orElse: isTaken });
    b.jump(made);
    b.place(isTaken);
    b.compute(name, "move", b.string(`${bare.slice(0, 200)}.${detail}`));
  } else {
    b.syscall("mq_open", [name, openFlags.RDWR | openFlags.NONBLOCK, 0, 0], { store: fd, orElse: absent });
    const now = b.buffer(attributesSize);
    const [other, same, more] = [b.label(`${what} is another`), b.label(`${what} is the same`), b.label(`${what} has more`)];
    b.syscall("mq_getsetattr", [fd, 0, now], { message: `look at ${what}` });
    b.jumpIf(now.at(attributeOffset.maxMessages).u8, "ne", queue.maxMessages, other);
    b.jumpIf(now.at(attributeOffset.messageSize).u8, "eq", queue.messageSize, same);
    b.place(other);
    b.fail(`${what} is another one now`, "remove it if nobody needs it, or resume in an IPC namespace of its own (unshare --ipc IMAGE)");
    b.place(same);
    if (has(bits.outside)) b.jump(filled);
    else {
      b.jumpIf(messages.length, "lt", now.at(attributeOffset.count).u8, more);
      drain(b, fd, Number(queue.messageSize));
      b.jump(made);
      b.place(more);
      b.print(`${what}: others have put messages into it since the dump; it stays as it is now`);
      b.jump(filled);
    }
    b.place(absent);
  }
  b.syscall("mq_open", [name, make, queue.mode, attributes], { store: fd, message: `make ${what}`, hint });
  b.place(made);
  const message = `set owner and permissions of ${what}`;
  b.syscall("fchown", [fd, queue.uid, queue.gid], { message, hint: "resume as root" });
  b.syscall("fchmod", [fd, queue.mode], { message });
  for (const { data, priority } of messages) {
    b.syscall("mq_timedsend", [fd, b.bytes(data), data.length, priority, 0], {
      message: `put a message of ${data.length} bytes back into ${what}`,
    });
  }
  b.place(filled);
  b.syscall("close", [fd]);
  return name;
}

function drain(b: FileSlots["context"]["builder"], fd: Slot, size: number): void {
  const [more, empty] = [b.label("more messages"), b.label("the queue is empty")];
  const buffer = b.buffer(size);
  b.place(more);
  b.syscall("mq_timedreceive", [fd, buffer, size, 0, 0], { orElse: empty });
  b.jump(more);
  b.place(empty);
}

function askForNotifications({ context }: FileSlots, task: number): void {
  const { posixQueues, files, descriptors } = context.checkpoint.tables;
  posixQueues.forEach(({ name, notify, notifySignal, notifyTask }, detail) => {
    if (notifyTask !== task || notify === 0) return;
    const own = descriptors.find((row) => row.task === task && files[row.file]?.kind === "mqueue" && files[row.file]?.detail === detail);
    if (own === undefined) return;
    // struct sigevent: sigev_value, then sigev_signo and sigev_notify.
    const event = context.builder.u8s(0, BigInt(notifySignal) | (BigInt(notify - 1) << 32n), 0, 0, 0, 0, 0, 0);
    context.builder.syscall("mq_notify", [own.fd, event], {
      message: `be told of messages in ${name}`,
      hint: "another process has asked for that meanwhile",
    });
  });
}
