// SPDX-License-Identifier: Apache-2.0
/** Looking into the receive queue of a unix socket without taking anything out (MSG_PEEK with SO_PEEK_OFF). */
import {
  close,
  failed,
  messageFlag,
  type ReceivedMessage,
  tryCall,
  tryGetsockopt,
  tryIoctl,
  tryReceiveMessage,
} from "../../../native/index.js";
import { type Description, pidAsSeen, type QueuedMessage, refuseDescription } from "../../../dump/fds/context.js";
import { SOL_SOCKET } from "../../../dump/fds/socket-options.js";
import { controlMessages } from "../dump-control.js";
import { pollEvent, polls } from "../dump-poll.js";

const SOCK_STREAM = 1;
const SO_TYPE = 3;
const SO_PEEK_OFF = 42;
const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
const SCM_PIDFD = 4;
const MSG_CMSG_CLOEXEC = 0x40000000;
const FIONREAD = 0x541b;
const peekFlags = messageFlag.PEEK | messageFlag.DONTWAIT | MSG_CMSG_CLOEXEC;
/** Largest message that is taken; net.core.wmem_max bounds what a sender can queue as one. */
const largestMessage = 64 << 20;

/** Gets a copy of a descriptor in flight, which it takes over. */
export type TakeFile = (fd: number) => Description;

/** The waiting messages in order. For streams, runs of bytes; a run ends where descriptors travel with it. */
export function peekQueue(description: Description, take: TakeFile): QueuedMessage[] {
  const type = tryGetsockopt(description.fd, SOL_SOCKET, SO_TYPE, 4);
  const isStream = typeof type !== "number" && type.readInt32LE(0) === SOCK_STREAM;
  if (isStream && polls(description.fd, pollEvent.PRI))
    refuseDescription(description, "socket_oob", "a unix socket with an out-of-band byte waiting");
  // Mostly nothing waits; then nothing of the target needs touching.
  if (hasNoPeekOffset(description.fd) && nextLength(description.fd) === undefined) return [];
  return withPeekOffset(description, () => (isStream ? peekStream(description, take) : peekMessages(description, take)));
}

/** sockaddr bytes; empty for an unnamed socket (the family alone). */
export function addressBytes(address: Buffer | number): Uint8Array {
  return typeof address === "number" || address.length <= 2 ? new Uint8Array(0) : Uint8Array.from(address);
}

/** With an offset each peek goes on where the last one ended; it stops where credentials or descriptors change. */
function peekStream(description: Description, take: TakeFile): QueuedMessage[] {
  const count = new Int32Array(1);
  const length = failed(tryIoctl(description.fd, FIONREAD, count)) ? 0 : (count[0] ?? 0);
  const data = Buffer.alloc(length);
  const messages: QueuedMessage[] = [];
  let done = 0;
  let from = 0;
  let credentials: QueuedMessage["credentials"];
  const endRun = (files: readonly Description[]): void => {
    if (done > from) messages.push({ data: Uint8Array.from(data.subarray(from, done)), sender: new Uint8Array(0), credentials, files });
    from = done;
  };
  while (done < length) {
    const got = tryReceiveMessage(description.fd, data.subarray(done), peekFlags);
    if (typeof got === "number" || got.length === 0) break;
    const sender = credentialsOf(got);
    if (sender?.pid !== credentials?.pid || sender?.uid !== credentials?.uid || sender?.gid !== credentials?.gid) endRun([]);
    credentials = sender;
    done += got.length;
    const files = filesOf(description, got, take);
    if (files.length > 0) endRun(files);
  }
  if (done !== length)
    refuseDescription(description, "socket_queue", `a unix socket with ${length} bytes waiting, of which ${done} can be read`);
  endRun([]);
  return messages;
}

/** All messages of a datagram or seqpacket queue, in order. */
function peekMessages(description: Description, take: TakeFile): QueuedMessage[] {
  const messages: QueuedMessage[] = [];
  let buffer = Buffer.alloc(1 << 17);
  for (;;) {
    const length = nextLength(description.fd);
    if (length === undefined) return messages;
    if (length > largestMessage) refuseDescription(description, "socket_queue", `a unix socket with a message of ${length} bytes`);
    if (length > buffer.length) buffer = Buffer.alloc(length);
    const got = tryReceiveMessage(description.fd, buffer, peekFlags);
    if (typeof got === "number") return messages;
    // An empty message does not move the offset: what is behind it cannot be seen. The end of a connection looks alike.
    if (got.length === 0) return isAtEnd(description.fd) ? messages : refuseEmpty(description);
    messages.push({
      data: Uint8Array.from(buffer.subarray(0, got.length)),
      sender: addressBytes(got.address),
      credentials: credentialsOf(got),
      files: filesOf(description, got, take),
    });
  }
}

function refuseEmpty(description: Description): never {
  refuseDescription(description, "socket_queue", "a unix socket with an empty message waiting");
}

/** True if a read of nothing means that the other end is closed (POLLRDHUP), not an empty message. */
function isAtEnd(fd: number): boolean {
  return polls(fd, pollEvent.RDHUP);
}

/** Length of the message at the peek offset, without moving it on; undefined if there is none. */
function nextLength(fd: number): number | undefined {
  const before = tryGetsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, 4);
  const length = tryCall("recvfrom", fd, Buffer.alloc(1), 0, messageFlag.PEEK | messageFlag.DONTWAIT | messageFlag.TRUNC, null, null);
  if (typeof before !== "number" && before.readInt32LE(0) >= 0) tryCall("setsockopt", fd, SOL_SOCKET, SO_PEEK_OFF, before, 4);
  return failed(length) ? undefined : length;
}

/** Control messages of SOL_SOCKET: their type, and 32-bit words. */
function* controlOf(message: ReceivedMessage): Generator<{ readonly type: number; readonly words: readonly number[] }> {
  for (const { level, type, data } of controlMessages(message)) {
    if (level !== SOL_SOCKET) continue;
    const words: number[] = [];
    for (let at = 0; at + 4 <= data.length; at += 4) words.push(data.readInt32LE(at));
    yield { type, words };
  }
}

/** Who sent a message, as the tasks see it; undefined where the receiver does not ask, or did not when it was sent. */
function credentialsOf(message: ReceivedMessage): QueuedMessage["credentials"] {
  for (const { type, words } of controlOf(message)) {
    const [pid = 0, uid = 0, gid = 0] = words;
    if (type === SCM_CREDENTIALS && pid > 0) return { pid: pidAsSeen(pid) ?? pid, uid: uid >>> 0, gid: gid >>> 0 };
  }
  return undefined;
}

/** Descriptions of the descriptors that a peek has copied into this process. */
function filesOf(description: Description, message: ReceivedMessage, take: TakeFile): Description[] {
  const files: Description[] = [];
  for (const { type, words } of controlOf(message)) {
    if (type === SCM_RIGHTS) files.push(...words.map(take));
    else if (type === SCM_PIDFD) words.forEach(close);
  }
  if (files.length === 0 && (message.flags & messageFlag.CTRUNC) !== 0) {
    refuseDescription(description, "scm_rights", "a unix socket with descriptors in flight that cannot be copied");
  }
  return files;
}

/** The usual state: a peek moves nothing on. */
function hasNoPeekOffset(fd: number): boolean {
  const offset = tryGetsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, 4);
  return typeof offset !== "number" && offset.readInt32LE(0) < 0;
}

/** Runs with the peek offset at 0 and puts back what it was: it belongs to the target. */
function withPeekOffset<Result>(description: Description, run: () => Result): Result {
  const before = tryGetsockopt(description.fd, SOL_SOCKET, SO_PEEK_OFF, 4);
  tryCall("setsockopt", description.fd, SOL_SOCKET, SO_PEEK_OFF, new Int32Array([0]), 4);
  try {
    return run();
  } finally {
    const value = typeof before === "number" ? new Int32Array([-1]) : before;
    tryCall("setsockopt", description.fd, SOL_SOCKET, SO_PEEK_OFF, value, 4);
  }
}
