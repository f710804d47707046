// SPDX-License-Identifier: Apache-2.0
/**
 * TCP connections: made again under TCP_REPAIR, in this order.
 *
 * 1. Packets of those with a peer outside are dropped, until all sockets stand (lower-lock.ts).
 * 2. Every socket is made, bound, connected without a packet, and given its queues and windows. What was sent counts as sent.
 * 3. FINs come back: our own into the send queue, the peer's by a packet that the restore makes.
 * 4. Bytes that were never sent are written as a program writes them; both ends inside the tree stand by now.
 * 5. When every thread is about to run, packets pass again and the repair ends, which tells the peer of our window. If
 *    anything fails before, the sockets end in silence, and the image can be resumed again.
 */
import { CrimgError } from "../../../errors/crimg-error.js";
import type { SocketRow, TcpConnectionRow } from "../../../gen/tables.js";
import { type Ends, passingMark } from "../../../linux/nftables.js";
import type { LowerContext } from "../../../lower/context.js";
import { errno, fcntl, type FileSlots, openFlags } from "../../../lower/fds/shared.js";
import { makeSocket, optionsOf, setEarlyOptions, setLateOptions } from "../../../lower/fds/socket-options.js";
import type { Slot } from "../../../lower/operands.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";
import { endsOf, firstBytes, hasReceivedFin, hasSentFin, isFinAcknowledged } from "../../../state/tcp.js";
import { printableAddress } from "./lower-address.js";
import { dropPackets } from "./lower-lock.js";
import { packetFromPeer, type Segment, tcpFlag } from "./lower-packets.js";

const SOL_TCP = 6;
const tcp = { REPAIR: 19, REPAIR_QUEUE: 20, QUEUE_SEQ: 21, REPAIR_OPTIONS: 22, TIMESTAMP: 24, REPAIR_WINDOW: 29 } as const;
const repair = { on: 1, off: 0, offInSilence: -1 } as const;
const queue = { none: 0, receive: 1, send: 2 } as const;
/** Codes of struct tcp_repair_opt (TCPOPT_*). */
const option = { MAXSEG: 2, WINDOW: 3, SACK_PERMITTED: 4, TIMESTAMP: 8 } as const;
/** TCPI_OPT_*. */
const agreed = { timestamps: 1, sack: 2, wscale: 4 } as const;
const IPPROTO_RAW = 255;
const SO_MARK = 36;
const SO_BUF_LOCK = 72;
const EINPROGRESS = 115;
const SHUT_RD = 0;
const SHUT_WR = 1;
const POLLRDHUP = 0x2000;
/** MSG_DONTWAIT | MSG_NOSIGNAL: what does not fit must be an error, not a hang. */
const sendFlags = 0x4040;
/** The kernel allocates what is written into a receive queue at once. */
const chunkLength = 32 << 10;
/** For a packet that the restore sends to itself, milliseconds. */
const longestDelivery = 2000;
const hint = "resume as root (CAP_NET_ADMIN): TCP connections come back by TCP_REPAIR";

/** A connection that is being made. */
interface Making {
  readonly context: LowerContext;
  readonly socket: number;
  readonly row: SocketRow;
  readonly connection: TcpConnectionRow;
  readonly ends: Ends;
  readonly slot: Slot;
  readonly purpose: string;
}

/** Makes all connections. Returns their slots by row of `sockets`. */
export function openConnections(slots: FileSlots, purposeOf: (socket: number) => string): Map<number, Slot> {
  const { context } = slots;
  const { sockets } = context.checkpoint.tables;
  // What is left of one that is over needs no repair (lower-closed.ts).
  const tcpConnections = context.checkpoint.tables.tcpConnections.filter(({ socket }) => sockets[socket]?.state !== "closed");
  const made = new Map<number, Slot>();
  const wanted = tcpConnections.map((connection) => {
    const row = sockets[connection.socket];
    const ends = row === undefined ? undefined : endsOf(row);
    if (row === undefined || ends === undefined) {
      throw new CrimgError("lower.tcp_ends", `the TCP connection of socket ${connection.socket} has no pair of addresses`, {
        path: `sockets[${connection.socket}]`,
      });
    }
    return { connection, row, ends, socket: connection.socket };
  });
  dropPackets(
    context,
    wanted.flatMap(({ row, ends }) => (row.peer === null ? [ends] : [])),
  );
  const making = wanted.map(({ connection, row, ends, socket }): Making => {
    const purpose = purposeOf(socket);
    const slot = makeSocket(context, row, `TCP connection ${purpose}`, purpose);
    made.set(socket, slot);
    return { context, socket, row, connection, ends, slot, purpose };
  });
  for (const one of making) connectOne(one);
  for (const one of making) putFins(one);
  for (const one of making) writeUnsent(one);
  for (const one of making) finishOne(one);
  if (making.length === 0) return made;
  context.untilEnd(
    making.map(({ slot }) => slot),
    (fds) => making.forEach((one, index) => endRepair(one, fds[index] ?? -1)),
  );
  return made;
}

function connectOne(making: Making): void {
  const { context, socket, row, connection, slot, purpose } = making;
  const { builder } = context;
  const [local, peer] = [printableAddress(row.localAddress), printableAddress(row.peerAddress)];
  setEarlyOptions(context, slot, socket, purpose);
  makeRoom(making);
  setTcp(making, tcp.REPAIR, repair.on, "put a TCP connection under repair", hint);
  builder.syscallOutside("bind", [slot, builder.bytes(row.localAddress), row.localAddress.length], {
    message: `bind a TCP connection to ${local} ${purpose}`,
    hint: "the address must be one of this machine, as it was at the dump",
  });
  const first = firstBytes(connection);
  setSequence(making, queue.receive, first.receive);
  setSequence(making, queue.send, connection.tcpState === "syn_sent" ? (first.send - 1) >>> 0 : first.send);
  selectQueue(making, queue.none);
  if (connection.tcpState === "syn_sent") {
    beginConnecting(making, peer);
    return;
  }
  builder.syscall("connect", [slot, builder.bytes(row.peerAddress), row.peerAddress.length], {
    message: `connect ${local} to ${peer} ${purpose}`,
    hint: "that connection may still be there: is the program that was dumped running?",
  });
  const options = repairOptions(connection);
  builder.syscall("setsockopt", [slot, SOL_TCP, tcp.REPAIR_OPTIONS, builder.u4s(...options), options.length * 4], {
    message: `set what both ends of a TCP connection agreed on ${purpose}`,
  });
  if ((connection.options & agreed.timestamps) !== 0)
    setTcp(making, tcp.TIMESTAMP, connection.timestamp, "set the clock of a TCP connection");
  fill(making, queue.receive, connection.receiveQueue);
  fill(making, queue.send, connection.sendQueue.subarray(0, connection.sendQueue.length - unsentOf(connection)));
  selectQueue(making, queue.none);
  if (connection.hasWindow !== 0) setWindow(making);
}

/** The SYN goes out again with the same number, and is repeated when packets pass. */
function beginConnecting(making: Making, peer: string): void {
  const { context, row, slot, purpose } = making;
  const { builder } = context;
  setTcp(making, tcp.REPAIR, repair.offInSilence, "end the repair of a TCP connection for a moment");
  builder.syscall("fcntl", [slot, fcntl.SETFL, openFlags.NONBLOCK], { message: `make a socket not wait ${purpose}` });
  builder.syscall("connect", [slot, builder.bytes(row.peerAddress), row.peerAddress.length], {
    expect: [0, -EINPROGRESS],
    message: `begin to connect to ${peer} ${purpose}`,
  });
  builder.syscall("fcntl", [slot, fcntl.SETFL, 0], { message: `make a socket wait ${purpose}` });
  setTcp(making, tcp.REPAIR, repair.on, "put a TCP connection under repair");
}

/** Behind a FIN nothing is unsent: what was not counts as lost on the way, and is sent again. */
function unsentOf({ tcpState, numUnsent, sendQueue }: TcpConnectionRow): number {
  return hasSentFin(tcpState) ? 0 : Math.min(numUnsent, sendQueue.length);
}

/** Codes and values of struct tcp_repair_opt. */
function repairOptions({ options, mssClamp, sndWscale, rcvWscale }: TcpConnectionRow): number[] {
  return [
    ...((options & agreed.sack) === 0 ? [] : [option.SACK_PERMITTED, 0]),
    ...((options & agreed.wscale) === 0 ? [] : [option.WINDOW, sndWscale | (rcvWscale << 16)]),
    ...((options & agreed.timestamps) === 0 ? [] : [option.TIMESTAMP, 0]),
    option.MAXSEG,
    mssClamp,
  ];
}

/** The peer's FIN, which is still to come in, takes a byte of the window. */
function setWindow(making: Making): void {
  const { context, connection, slot, purpose } = making;
  const fin = hasReceivedFin(connection.tcpState) ? 1 : 0;
  const { sndWl1, sndWnd, maxWindow, rcvWnd, rcvWup } = connection;
  const words = context.builder.u4s(sndWl1, sndWnd, maxWindow, (rcvWnd + fin) >>> 0, (rcvWup - fin) >>> 0);
  context.builder.syscall("setsockopt", [slot, SOL_TCP, tcp.REPAIR_WINDOW, words, 20], {
    message: `set the windows of a TCP connection ${purpose}`,
  });
}

function putFins(making: Making): void {
  const { connection, ends, row } = making;
  const { tcpState } = connection;
  if (!hasSentFin(tcpState) && !hasReceivedFin(tcpState)) return;
  const isOursFirst = tcpState !== "last_ack" && tcpState !== "ended";
  const sent = connection.sendSeq;
  const window = Math.min(connection.sndWnd >>> connection.sndWscale, 0xffff);
  const segment = (flags: number, sequence: number, acknowledgement: number): Segment => ({ flags, sequence, acknowledgement, window });
  if (hasSentFin(tcpState) && isOursFirst) sendFin(making);
  if (hasReceivedFin(tcpState)) {
    const fin = segment(tcpFlag.FIN | tcpFlag.ACK, connection.receiveSeq - 1, firstBytes(connection).send);
    deliver(making, packetFromPeer(ends, fin), row.localAddress);
    awaitFin(making);
  }
  if (hasSentFin(tcpState) && !isOursFirst) sendFin(making);
  if (isFinAcknowledged(tcpState))
    deliver(making, packetFromPeer(ends, segment(tcpFlag.ACK, connection.receiveSeq, sent)), row.localAddress);
}

/** Into the send queue as one that was sent: the kernel sends it again where it was not acknowledged. */
function sendFin(making: Making): void {
  const { context, slot, purpose } = making;
  selectQueue(making, queue.send);
  context.builder.syscall("shutdown", [slot, SHUT_WR], { message: `end the sending side of a TCP connection ${purpose}` });
  selectQueue(making, queue.none);
}

/** Sends a packet of the peer to ourselves. */
function deliver({ context, purpose }: Making, packet: Uint8Array, localAddress: Uint8Array): void {
  const { builder } = context;
  const message = `put back what the peer of a TCP connection has sent ${purpose}`;
  const raw = builder.slot("raw socket");
  const isV4 = (packet[0] ?? 0) >> 4 === 4;
  const address = new Uint8Array(isV4 ? 16 : 28);
  if (isV4) address.set(packet.subarray(16, 20), 4);
  // With its scope, which link-local addresses need.
  else address.set(localAddress.subarray(8, 28), 8);
  address[0] = isV4 ? 2 : 10;
  builder.syscall("socket", [isV4 ? 2 : 10, 3 | openFlags.CLOEXEC, IPPROTO_RAW], {
    store: raw,
    message,
    hint: "resume as root (CAP_NET_RAW)",
  });
  builder.syscall("setsockopt", [raw, levelOf("SO_MARK"), SO_MARK, builder.u4s(passingMark), 4], { message });
  builder.syscall("sendto", [raw, builder.bytes(packet), packet.length, 0, builder.bytes(address), address.length], {
    expect: packet.length,
    message,
    hint: "the loopback interface must be up",
  });
  builder.syscall("close", [raw]);
}

function awaitFin({ context, slot, purpose }: Making): void {
  const { builder } = context;
  const pollfd = builder.bytes(new Uint8Array(8));
  builder.store4(pollfd, slot);
  builder.store4(pollfd.at(4), POLLRDHUP);
  builder.syscall("poll", [pollfd, 1, longestDelivery], {
    expect: 1,
    message: `see the end of what the peer of a TCP connection has sent ${purpose}`,
    hint: "a firewall of this machine may drop packets that it sends to itself",
  });
}

function writeUnsent(making: Making): void {
  const { connection } = making;
  const unsent = unsentOf(connection);
  if (unsent === 0) return;
  setTcp(making, tcp.REPAIR, repair.offInSilence, "end the repair of a TCP connection for a moment");
  write(making, connection.sendQueue.subarray(connection.sendQueue.length - unsent));
  setTcp(making, tcp.REPAIR, repair.on, "put a TCP connection under repair");
}

function fill(making: Making, which: number, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  selectQueue(making, which);
  write(making, bytes);
}

function write({ context, slot, purpose }: Making, bytes: Uint8Array): void {
  const { builder } = context;
  for (let from = 0; from < bytes.length; from += chunkLength) {
    const chunk = bytes.subarray(from, from + chunkLength);
    builder.syscall("sendto", [slot, builder.bytes(chunk, 1), chunk.length, sendFlags, 0, 0], {
      expect: chunk.length,
      message: `put bytes back into a queue of a TCP connection ${purpose}`,
    });
  }
}

/** Queues that are filled count by the memory that they take, which may be more than it was. */
function makeRoom({ context, connection, slot }: Making): void {
  const { builder } = context;
  const room = (now: number, bytes: Uint8Array): number =>
    Math.max(Math.ceil(now / 2), bytes.length === 0 ? 0 : 2 * bytes.length + (64 << 10));
  const { SO_SNDBUFFORCE, SO_RCVBUFFORCE } = socketOptions;
  for (const [number, size] of [
    [SO_SNDBUFFORCE.option, room(connection.sendBuffer, connection.sendQueue)],
    [SO_RCVBUFFORCE.option, room(connection.receiveBuffer, connection.receiveQueue)],
  ] as const) {
    if (size > 0) builder.syscall("setsockopt", [slot, levelOf("SO_SNDBUF"), number, builder.u4s(size), 4], { expect: "any" });
  }
}

/** Sizes that the kernel had chosen, which it goes on adapting; those that the program chose; reading that was shut down. */
function finishOne({ context, socket, row, connection, slot, purpose }: Making): void {
  const { builder } = context;
  const { SO_SNDBUFFORCE, SO_RCVBUFFORCE } = socketOptions;
  const level = levelOf("SO_SNDBUF");
  for (const [number, size] of [
    [SO_SNDBUFFORCE.option, connection.sendBuffer],
    [SO_RCVBUFFORCE.option, connection.receiveBuffer],
  ] as const) {
    if (size > 0) builder.syscall("setsockopt", [slot, level, number, builder.u4s(size >> 1), 4], { expect: "any" });
  }
  builder.syscall("setsockopt", [slot, level, SO_BUF_LOCK, builder.u4s(0), 4], { expect: "any" });
  setLateOptions(context, slot, socket, purpose);
  if ((row.shutdown & 1) !== 0)
    builder.syscall("shutdown", [slot, SHUT_RD], { expect: [0, -errno.ENOTCONN], message: `shut a socket down ${purpose}` });
}

/** The repair leaves SO_REUSEADDR off. */
function endRepair({ context, socket }: Making, fd: number): void {
  const { builder } = context;
  const { option: number } = socketOptions.SO_REUSEADDR;
  const level = levelOf("SO_REUSEADDR");
  builder.syscall("setsockopt", [fd, SOL_TCP, tcp.REPAIR, builder.u4s(repair.off), 4], { message: "end the repair of a TCP connection" });
  const had = optionsOf(context, socket).find((row) => row.level === level && row.option === number);
  if (had !== undefined) builder.syscall("setsockopt", [fd, level, number, builder.bytes(had.value), 4], { message: "set SO_REUSEADDR" });
}

function setSequence(making: Making, which: number, sequence: number): void {
  selectQueue(making, which);
  setTcp(making, tcp.QUEUE_SEQ, sequence, "set a sequence number of a TCP connection");
}

function selectQueue(making: Making, which: number): void {
  setTcp(making, tcp.REPAIR_QUEUE, which, "choose a queue of a TCP connection");
}

function setTcp({ context, slot, purpose }: Making, number: number, value: number, message: string, advice?: string): void {
  const { builder } = context;
  builder.syscall("setsockopt", [slot, SOL_TCP, number, builder.u4s(value), 4], { message: `${message} ${purpose}`, hint: advice });
}
