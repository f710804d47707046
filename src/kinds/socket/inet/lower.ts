// SPDX-License-Identifier: Apache-2.0
/** Inet and netlink sockets: made, options set, bound, connected or listening. */
import type { SocketRow } from "../../../gen/tables.js";
import type { Slot } from "../../../lower/operands.js";
import { errno, type FileSlots } from "../../../lower/fds/shared.js";
import { openPacketSocket } from "../packet/lower.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";
import { printableAddress } from "./lower-address.js";
import { openClosed } from "./lower-closed.js";
import { addressToBind, putDatagramsBack } from "./lower-datagrams.js";
import { openConnections } from "./lower-tcp.js";
import { forceReuse, makeSocket, setEarlyOptions, setLateOptions, undoReuse } from "../../../lower/fds/socket-options.js";

/** Makes all sockets that are none of AF_UNIX. Returns their slots by row of `sockets`. */
export function openInetSockets(slots: FileSlots, purposeOf: (socket: number) => string): Map<number, Slot> {
  const { context } = slots;
  const { sockets, tcpConnections } = context.checkpoint.tables;
  const made = new Map<number, Slot>();
  const reused = sharedPorts(sockets);
  const together = listeningTogether(sockets);
  // First those that need a port for a moment only.
  sockets.forEach((row, socket) => {
    if (!isInet(row) || row.state !== "closed") return;
    const unread = tcpConnections.find((one) => one.socket === socket)?.receiveQueue;
    made.set(socket, openClosed(context, socket, row, purposeOf(socket), unread));
  });
  const isConnection = new Set(tcpConnections.map(({ socket }) => socket));
  sockets.forEach((row, socket) => {
    if (row.family === 1 || made.has(socket) || isConnection.has(socket)) return;
    if (row.family === 17) {
      made.set(socket, openPacketSocket(slots, socket, row, purposeOf(socket)));
      return;
    }
    made.set(
      socket,
      openInetSocket(slots, socket, row, { isReused: reused.has(socket), isTogether: together.has(socket) }, purposeOf(socket)),
    );
  });
  for (const socket of reused) {
    if (!isConnection.has(socket)) undoReuse(context, made.get(socket) as Slot, socket, together.has(socket));
  }
  // Ports are theirs besides: they are bound under repair.
  for (const [socket, slot] of openConnections(slots, purposeOf)) made.set(socket, slot);
  return made;
}

/**
 * Sockets that get SO_REUSEADDR while all of them are bound, whatever they had: TCP ones because connections of the
 * dumped process may still be in TIME_WAIT, and several on one port because the option may have been taken back after
 * bind. The kernel asks both the one that is there and the one that comes.
 */
function sharedPorts(sockets: readonly SocketRow[]): Set<number> {
  const reused = new Set<number>();
  const byPort = new Map<string, number>();
  sockets.forEach((row, socket) => {
    if (!isInet(row) || row.state === "closed" || row.localAddress.length < 4) return;
    const port = `${row.protocol}:${row.localAddress[2]}:${row.localAddress[3]}`;
    const other = byPort.get(port);
    if (other !== undefined) reused.add(other).add(socket);
    else byPort.set(port, socket);
    if (row.type === 1) reused.add(socket);
  });
  return reused;
}

/** Listening sockets that share their port with another one: one of them may have lost SO_REUSEPORT after bind. */
function listeningTogether(sockets: readonly SocketRow[]): Set<number> {
  const byPort = new Map<string, number[]>();
  sockets.forEach((row, socket) => {
    if (!isInet(row) || row.state !== "listening" || row.localAddress.length < 4) return;
    const port = `${row.localAddress[2]}:${row.localAddress[3]}`;
    byPort.set(port, [...(byPort.get(port) ?? []), socket]);
  });
  return new Set([...byPort.values()].filter((one) => one.length > 1).flat());
}

const isInet = ({ family }: SocketRow): boolean => family === 2 || family === 10;

/** How a socket comes to share its port while all are bound. */
interface PortUse {
  readonly isReused: boolean;
  readonly isTogether: boolean;
}

function openInetSocket(slots: FileSlots, socket: number, row: SocketRow, { isReused, isTogether }: PortUse, purpose: string): Slot {
  const { context } = slots;
  const { builder } = context;
  const address = printableAddress(row.localAddress);
  const slot = makeSocket(context, row, `socket ${address}`, purpose);
  setEarlyOptions(context, slot, socket, purpose);
  if (row.localAddress.length > 0) {
    if (isReused) forceReuse(context, slot, isTogether);
    const bound = addressToBind(context, socket, row);
    builder.syscallOutside("bind", [slot, builder.bytes(bound), bound.length], {
      message: `bind a socket to ${address} ${purpose}`,
      hint: "is another program using that address, or is it not of this machine?",
    });
  }
  if (row.type === 2 && row.family !== 16) putDatagramsBack(context, slot, socket, row, isReused || sharesPort(context, socket), purpose);
  if (row.state === "connected") {
    builder.syscallOutside("connect", [slot, builder.bytes(row.peerAddress), row.peerAddress.length], {
      message: `connect a socket to ${printableAddress(row.peerAddress)} ${purpose}`,
    });
  }
  if (row.state === "listening") {
    builder.syscall("listen", [slot, row.backlog], { message: `listen on ${address} ${purpose}` });
  }
  setLateOptions(context, slot, socket, purpose);
  if (row.shutdown !== 0) {
    // An unconnected datagram socket is shut down although the call says ENOTCONN.
    builder.syscall("shutdown", [slot, row.shutdown - 1], { expect: [0, -errno.ENOTCONN], message: `shut a socket down ${purpose}` });
  }
  return slot;
}

/** SO_REUSEPORT: other programs may have the port as well. */
function sharesPort({ checkpoint }: FileSlots["context"], socket: number): boolean {
  return checkpoint.tables.socketOptions.some(
    (row) => row.socket === socket && row.level === levelOf("SO_REUSEPORT") && row.option === socketOptions.SO_REUSEPORT.option,
  );
}
