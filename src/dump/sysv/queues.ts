// SPDX-License-Identifier: Apache-2.0
/** System V message queues: those that a process of the tree used last, or at which one waits. Their messages are copied, not taken. */
import { type SysvMessageRow, sysvMessageRow, sysvQueueFlagsBits, sysvQueueRow } from "../../gen/tables.js";
import { IPC, ipcOffset, ipcStructSize, MSG } from "../../linux/sysv-ipc.js";
import { errno, failed, tryCall } from "../../native/index.js";
import type { DumpContext } from "../context.js";
import { identityOf, listSystemV } from "./listing.js";
import { type SystemVUsers, systemVName, tellOutside } from "./users.js";

const firstBuffer = 16_384;
/** A message longer than this is nobody's (kernel.msgmax is an int, 8192 by default). */
const largestBuffer = 1 << 28;

export function collectQueues(context: DumpContext, users: SystemVUsers): void {
  const { tables } = context;
  for (const queue of listSystemV("msg")) {
    const { id } = queue;
    const [sender, receiver] = [queue.column("lspid"), queue.column("lrpid")];
    if (!users.waitedQueues.has(id) && !users.isOurs(sender) && !users.isOurs(receiver)) continue;
    const name = systemVName("message queue", queue);
    const stat = Buffer.alloc(ipcStructSize);
    const messages = failed(tryCall("msgctl", id, IPC.stat, stat)) ? undefined : copyMessages(id, queue.column("qnum"));
    if (messages === undefined) {
      context.leaveOut("messages", `${name}, which the tree uses, may not be read`);
      continue;
    }
    const isOutside = users.isOutside(sender) || users.isOutside(receiver);
    if (isOutside) tellOutside(context, name, "used");
    const row =
      tables.sysvQueues.push(
        sysvQueueRow({
          ...identityOf(queue),
          flags: isOutside ? sysvQueueFlagsBits.outside : 0,
          capacity: stat.readBigUInt64LE(ipcOffset.msgCapacity),
          lastSender: users.asSeen(sender),
          lastReceiver: users.asSeen(receiver),
        }),
      ) - 1;
    tables.sysvMessages.push(...messages.map((message) => ({ ...message, queue: row })));
  }
}

/** Copies of the messages of a queue (MSG_COPY); undefined if they may not be read, or the kernel has no such call. */
function copyMessages(id: number, count: number): SysvMessageRow[] | undefined {
  const messages: SysvMessageRow[] = [];
  let buffer = Buffer.alloc(8 + firstBuffer);
  for (let index = 0; index < count; ) {
    const length = tryCall("msgrcv", id, buffer, buffer.length - 8, index, MSG.copy | MSG.noerror | IPC.nowait);
    // Somebody outside took one meanwhile.
    if (length === -errno.ENOMSG) break;
    if (failed(length)) return undefined;
    if (length === buffer.length - 8 && length < largestBuffer) {
      buffer = Buffer.alloc(8 + 2 * length);
      continue;
    }
    messages.push(sysvMessageRow({ type: buffer.readBigInt64LE(0), data: new Uint8Array(buffer.subarray(8, 8 + length)) }));
    index++;
  }
  return messages;
}
