// SPDX-License-Identifier: Apache-2.0
/**
 * POSIX message queues. A queue's attributes can be asked for, and reading its descriptor tells of a notification
 * (ipc/mqueue.c in the kernel). Its messages can only be taken: they are taken and put back while the tree stands still,
 * unless somebody outside has the queue open, who would see it empty for a moment.
 */
import type { Collecting, Description } from "../../dump/fds/context.js";
import { nameOf, refuseDescription } from "../../dump/fds/context.js";
import type { DescriptorFacts } from "../../dump/fds/facts.js";
import type { FileDump, FileFields } from "../../dump/fds/kind.js";
import { decodeText } from "../../bytes/text.js";
import { type PosixMessageRow, posixMessageRow, posixQueueFlagsBits as bits, posixQueueRow } from "../../gen/tables.js";
import { close, failed, openFlag, tryCall, tryListDirectory, tryOpen, tryReadlink, tryReadSmall, tryStat } from "../../native/index.js";

/** MQUEUE_MAGIC (linux/magic.h). */
const messageQueues = 0x19800202n;
const deleted = " (deleted)";
/** HARD_MSGSIZEMAX of the kernel. */
const largestMessage = 16 << 20;
const SIGEV_SIGNAL = 0;
const SIGEV_NONE = 1;

export const dump: FileDump = {
  recognises: ({ fsMagic, mode, isPath }: DescriptorFacts) => fsMagic === messageQueues && (mode & 0o170000) === 0o100000 && !isPath,
  collector: (collecting) => {
    const rows = new Map<bigint, number>();
    return { collect: (description) => collectQueue(collecting, rows, description) };
  },
};

function collectQueue(collecting: Collecting, rows: Map<bigint, number>, description: Description): FileFields {
  const { ino } = description.stat;
  let detail = rows.get(ino);
  if (detail === undefined) {
    detail = addQueue(collecting, description);
    rows.set(ino, detail);
  }
  return { kind: "mqueue", detail };
}

function addQueue({ context }: Collecting, description: Description): number {
  const { tables } = context;
  const link = decodeText(description.link);
  const isDeleted = link.endsWith(deleted);
  const name = isDeleted ? link.slice(0, -deleted.length) : link;
  if (!/^\/[^/]+$/.test(name))
    refuseDescription(description, "mqueue", `the POSIX message queue ${link}, which is reached through a mount`);
  // A descriptor of our own: that of the program may be for reading or writing only, or wait.
  const fd = tryOpen(`/proc/self/fd/${description.fd}`, openFlag.RDWR | openFlag.NONBLOCK);
  if (failed(fd)) refuseDescription(description, "mqueue", `the POSIX message queue ${name}, which may not be opened`);
  try {
    const attributes = Buffer.alloc(64);
    if (failed(tryCall("mq_getsetattr", fd, 0, attributes))) refuseDescription(description, "mqueue", `the POSIX message queue ${name}`);
    const [maxMessages, messageSize, count] = [8, 16, 24].map((at) => attributes.readBigInt64LE(at)) as [bigint, bigint, bigint];
    const notification = notificationOf(fd);
    const pid = context.processes.find((process) => process.pid === notification.pid);
    if (notification.pid !== 0 && pid !== undefined && notification.kind !== SIGEV_SIGNAL && notification.kind !== SIGEV_NONE) {
      refuseDescription(
        description,
        "mqueue",
        `the POSIX message queue ${name}: a thread is to be started when a message comes (SIGEV_THREAD)`,
      );
    }
    const isOutside = openOutside(
      context.processes.map((process) => process.pid),
      description,
    );
    let messages: PosixMessageRow[] = [];
    if (isOutside) {
      context.lose(
        "dump.mqueue-outside",
        `${nameOf(description)}: the message queue ${name} is open in processes outside the tree: ` +
          "its messages stay in it, and are not in the image",
      );
    } else if (count > 0n) {
      if (notification.pid !== 0) {
        refuseDescription(
          description,
          "mqueue",
          `the POSIX message queue ${name}: it has messages and a notification, which putting them back would set off`,
          "Let the program read its messages, and dump again.",
        );
      }
      messages = copyMessages(fd, Math.min(Number(messageSize), largestMessage));
      if (messages.length !== Number(count))
        refuseDescription(description, "mqueue", `the POSIX message queue ${name}: its messages cannot be read`);
    }
    if (pid !== undefined && notification.kind === SIGEV_SIGNAL) {
      context.lose("dump.mqueue-value", `${nameOf(description)}: the value that comes with the signal of message queue ${name} becomes 0`);
    }
    const { mode, uid, gid } = description.stat;
    const detail =
      tables.posixQueues.push(
        posixQueueRow({
          name,
          mode: mode & 0o7777,
          uid,
          gid,
          flags: (isDeleted ? bits.deleted : 0) | (isOutside ? bits.outside : 0),
          maxMessages,
          messageSize,
          notify: pid === undefined ? 0 : notification.kind + 1,
          notifySignal: pid === undefined ? 0 : notification.signal,
          notifyTask: pid?.row ?? null,
        }),
      ) - 1;
    tables.posixMessages.push(...messages.map((message) => ({ ...message, queue: detail })));
    return detail;
  } finally {
    close(fd);
  }
}

/** `QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260` (mq_overview(7)). */
function notificationOf(fd: number): { readonly kind: number; readonly signal: number; readonly pid: number } {
  const text = tryReadSmall(`/proc/self/fd/${fd}`)?.toString("latin1") ?? "";
  const field = (name: string): number => Number(new RegExp(`\\b${name}:(\\d+)`).exec(text)?.[1] ?? 0);
  return { kind: field("NOTIFY"), signal: field("SIGNO"), pid: field("NOTIFY_PID") };
}

/** Takes all messages, and puts them back: nothing else is done in between. */
function copyMessages(fd: number, size: number): PosixMessageRow[] {
  const taken: { readonly priority: number; readonly data: Buffer }[] = [];
  const [buffer, priority] = [Buffer.alloc(size), Buffer.alloc(4)];
  for (;;) {
    const length = tryCall("mq_timedreceive", fd, buffer, size, priority, 0);
    if (failed(length)) break;
    taken.push({ priority: priority.readUInt32LE(), data: Buffer.from(buffer.subarray(0, length)) });
  }
  // Highest priority first, and the oldest of each, as it was put in.
  for (const { data, priority } of taken) tryCall("mq_timedsend", fd, data, data.length, priority, 0);
  return taken.map(({ priority, data }) => posixMessageRow({ priority, data: new Uint8Array(data) }));
}

/** Whether a process outside the tree has the queue open, as far as crimg may see. */
function openOutside(tree: readonly number[], { link, stat }: Description): boolean {
  const ours = new Set([process.pid, ...tree]);
  const names = tryListDirectory("/proc");
  const pids = typeof names === "number" ? [] : names.filter((name) => /^\d+$/.test(name) && !ours.has(Number(name)));
  return pids.some((pid) => {
    const fds = tryListDirectory(`/proc/${pid}/fd`);
    if (typeof fds === "number") return false;
    return fds.some((fd) => {
      const path = `/proc/${pid}/fd/${fd}`;
      if (tryReadlink(path)?.equals(link) !== true) return false;
      const other = tryStat(path);
      return typeof other !== "number" && other.dev === stat.dev && other.ino === stat.ino;
    });
  });
}
