// SPDX-License-Identifier: Apache-2.0
/**
 * Holding TCP connections while their tree stands still, and until it is resumed. A peer outside the tree must not get an
 * answer to what it sends after the queues were read: it would take it for received. So its packets are dropped, by a table
 * of nftables that goes with crimg, however that ends; and before the tree is killed, by one that stays for the resume.
 */
import type { TreeEnd } from "../../../dump/tree-end.js";
import { refusal } from "../../../dump/refusal.js";
import { answerErrorOffset, type Ends, lockBatches, NETLINK_NETFILTER, type TableLife, unlockBatch } from "../../../linux/nftables.js";
import {
  close,
  errno,
  errnoMessage,
  failed,
  fcntlCommand,
  socket,
  SysError,
  tryCall,
  tryFcntl,
  tryGetsockopt,
  tryReceive,
  trySend,
} from "../../../native/index.js";
import { silence } from "./dump-tcp.js";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_SNDBUFFORCE = 32;

export class ConnectionHold implements TreeEnd {
  readonly #sockets: number[] = [];
  readonly #closing: number[] = [];
  #netlink: number | undefined;
  #lasting: { readonly table: string; readonly connections: readonly Ends[] } | undefined;

  /**
   * Drops the packets of connections from now on. `lastingTable` is the name of the table that stays. `netlink` gives a
   * socket in another network namespace than crimg's, if the tree lives there.
   * @throws CrimgError `dump.network-lock` where the kernel does not have it, or there is no privilege
   */
  lock(netlink: (protocol: number) => number | undefined, connections: readonly Ends[], lastingTable: string): void {
    this.#netlink = netlink(NETLINK_NETFILTER) ?? openNetlink();
    this.#send(`crimg-frozen-${process.pid}`, "owned", connections);
    this.#lasting = { table: lastingTable, connections };
  }

  /** Keeps a copy of a socket that is to end in silence. */
  add(fd: number): void {
    this.#sockets.push(copyOf(fd));
  }

  /** The same of one that is given up, and ends as the kernel ends it: its port is to be free for the resumed program. */
  addClosing(fd: number): void {
    this.#closing.push(copyOf(fd));
  }

  beforeKill(): void {
    const undo: (() => void)[] = [];
    try {
      const { table, connections } = this.#lasting ?? {};
      if (table !== undefined && connections !== undefined) {
        undo.push(() => exchange(this.#netlink ?? -1, unlockBatch(table)));
        this.#send(table, "lasting", connections);
      }
      for (const fd of this.#closing) undo.push(shareAddress(fd));
      for (const fd of this.#sockets) undo.push(silence(fd));
    } catch (error) {
      for (const step of undo) step();
      throw error;
    }
  }

  release(): void {
    for (const fd of [...this.#sockets.splice(0), ...this.#closing.splice(0)]) close(fd);
    if (this.#netlink !== undefined) close(this.#netlink);
    this.#netlink = undefined;
  }

  #send(table: string, life: TableLife, connections: readonly Ends[]): void {
    for (const batch of lockBatches(table, life, connections)) {
      const error = exchange(this.#netlink ?? -1, batch);
      if (error !== 0) throw cannotLock(error);
    }
  }
}

function copyOf(fd: number): number {
  const copy = tryFcntl(fd, fcntlCommand.DUPFD_CLOEXEC, 3);
  if (failed(copy)) throw new SysError("fcntl(F_DUPFD_CLOEXEC)", -copy, "a TCP connection");
  return copy;
}

/** What is left of it for a minute (TIME_WAIT) lets others bind its port that have SO_REUSEADDR too. Returns the way back. */
function shareAddress(fd: number): () => void {
  const before = tryGetsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 4);
  tryCall("setsockopt", fd, SOL_SOCKET, SO_REUSEADDR, Int32Array.of(1), 4);
  return () => {
    if (typeof before !== "number") tryCall("setsockopt", fd, SOL_SOCKET, SO_REUSEADDR, before, 4);
  };
}

function openNetlink(): number {
  try {
    return socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
  } catch (error) {
    throw error instanceof SysError ? cannotLock(error.errno) : error;
  }
}

/** Sends a batch; returns the errno of its answer. */
function exchange(fd: number, batch: Buffer): number {
  tryCall("setsockopt", fd, SOL_SOCKET, SO_SNDBUFFORCE, Int32Array.of(4 * batch.length), 4);
  const sent = trySend(fd, batch);
  if (failed(sent)) return -sent;
  const answer = Buffer.alloc(1 << 16);
  for (;;) {
    const length = tryReceive(fd, answer);
    if (length === -errno.EINTR) continue;
    if (failed(length)) return -length;
    return length < answerErrorOffset + 4 ? errno.EIO : -answer.readInt32LE(answerErrorOffset);
  }
}

function cannotLock(error: number): Error {
  const isPrivilege = error === errno.EPERM;
  return refusal("network-lock", `the packets of TCP connections cannot be held back: nftables: ${errnoMessage(error)}`, {
    hint: isPrivilege
      ? "Dump as root (CAP_NET_ADMIN), or give --tcp-close: then the program finds its connections closed."
      : "The kernel needs nf_tables; --network-lock skip goes without, and what a peer sends meanwhile may be lost.",
  });
}
