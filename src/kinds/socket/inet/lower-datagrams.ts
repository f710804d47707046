// SPDX-License-Identifier: Apache-2.0
/**
 * Datagrams that waited in a UDP socket: sent to it again, as packets from whoever sent them. Right after it is bound, and
 * before it is connected: what was there may be from anybody.
 */
import type { SocketMessageRow, SocketRow } from "../../../gen/tables.js";
import type { Ends } from "../../../linux/nftables.js";
import type { LowerContext } from "../../../lower/context.js";
import { openFlags } from "../../../lower/fds/shared.js";
import { makeRoom, readRoom, undoRoom } from "../../../lower/fds/socket-options.js";
import type { Slot } from "../../../lower/operands.js";
import { datagramFromPeer, longestDatagram } from "./lower-packets.js";
import { endOf } from "../../../state/tcp.js";

const [AF_INET, AF_INET6] = [2, 10];
const [SOCK_DGRAM, SOCK_RAW, IPPROTO_RAW] = [2, 3, 255];
/** MSG_DONTWAIT */
const dontWait = 0x40;
/** What the kernel counts for a small datagram, more or less. */
const overhead = 1024;

/** An address of IP and a port; IPv4 in IPv6 is IPv4. */
interface Place {
  readonly address: Uint8Array;
  readonly port: number;
  /** Of a link-local address, 0 for none. */
  readonly scope: number;
}

/**
 * The address that a socket is to be bound to. One that has got datagrams for other addresses than its own was bound to all of
 * them before it was connected, and has the one of its connection only since then.
 */
export function addressToBind({ checkpoint }: LowerContext, socket: number, row: SocketRow): Uint8Array {
  const own = placeOf(row.localAddress);
  if (row.type !== SOCK_DGRAM || row.state !== "connected" || own === undefined) return row.localAddress;
  const isOther = ({ socket: receiver, targetAddress }: SocketMessageRow): boolean => {
    const target = receiver === socket ? placeOf(targetAddress) : undefined;
    return target !== undefined && !Buffer.from(target.address).equals(own.address);
  };
  if (!checkpoint.tables.socketMessages.some(isOther)) return row.localAddress;
  return sockaddr(row.family, { address: new Uint8Array(row.family === AF_INET ? 4 : 16), port: own.port, scope: 0 });
}

/** Ops of the first process. `isShared`: other sockets have the port too, so it takes a connection for its datagrams to be its own. */
export function putDatagramsBack(
  context: LowerContext,
  slot: Slot,
  socket: number,
  row: SocketRow,
  isShared: boolean,
  purpose: string,
): void {
  const messages = context.checkpoint.tables.socketMessages.filter((message) => message.socket === socket);
  const own = placeOf(addressToBind(context, socket, row));
  if (messages.length === 0 || own === undefined) return;
  const { builder } = context;
  // A rehearsal has a network of its own, without these addresses.
  builder.outside(() => {
    const size = readRoom(context, slot, "receive");
    makeRoom(
      context,
      slot,
      messages.reduce((sum, { data }) => sum + 2 * data.length + overhead, 1 << 16),
      "receive",
    );
    const lost = builder.slot(`lost datagrams ${purpose}`);
    builder.compute(lost, "move", 0);
    for (const message of messages) putBack(context, { slot, row, own, message, isShared, lost });
    undoRoom(context, slot, size, "receive");
    const isWhole = builder.label("all datagrams are back");
    builder.jumpIf(lost, "eq", 0, isWhole);
    builder.print(
      `datagrams that waited in a UDP socket cannot be put back ${purpose}: it takes CAP_NET_RAW, or a sender's address that is free`,
    );
    builder.place(isWhole);
  });
}

interface Putting {
  readonly slot: Slot;
  readonly row: SocketRow;
  readonly own: Place;
  readonly message: SocketMessageRow;
  readonly isShared: boolean;
  /** Set to 1 where it fails. */
  readonly lost: Slot;
}

function putBack(context: LowerContext, { slot, row, own, message, isShared, lost }: Putting): void {
  const { builder } = context;
  const from = placeOf(message.senderAddress);
  const sentTo = placeOf(message.targetAddress);
  const failed = builder.label("the datagram is lost");
  const done = builder.label("the datagram is back");
  if (from === undefined || message.data.length > longestDatagram) {
    builder.compute(lost, "move", 1);
    return;
  }
  if (isShared) {
    const address = sockaddr(row.family, from);
    builder.syscall("connect", [slot, builder.bytes(address), address.length], { expect: "any" });
  }
  const loopback =
    from.address.length === 4 ? Uint8Array.of(127, 0, 0, 1) : Uint8Array.from({ length: 16 }, (_, at) => (at === 15 ? 1 : 0));
  const bound = isWildcard(own.address) ? undefined : own;
  const target = bound ?? (sentTo !== undefined && !isWildcard(sentTo.address) ? { ...sentTo, port: own.port } : undefined);
  const send = (to: Place): void => {
    const ends: Ends = { source: to.address, sourcePort: own.port, target: from.address, targetPort: from.port };
    if (to.address.length === from.address.length) deliver(context, { ends, data: message.data, from, to }, failed);
    else builder.jump(failed);
  };
  if (target !== undefined && bound === undefined) {
    // It may have come to an address that this machine does not have now: the packet would leave it.
    const isAnothers = builder.label("the address is not of this machine");
    assertOwn(context, target, isAnothers);
    send(target);
    builder.jump(done);
    builder.place(isAnothers);
    send({ ...own, address: loopback });
  } else send(target ?? { ...own, address: loopback });
  builder.jump(done);
  builder.place(failed);
  builder.compute(lost, "move", 1);
  builder.place(done);
  if (isShared) builder.syscall("connect", [slot, builder.bytes(new Uint8Array(16)), 16], { expect: "any" });
}

/** Jumps where no socket can be bound to an address. */
function assertOwn(context: LowerContext, place: Place, orElse: ReturnType<LowerContext["builder"]["label"]>): void {
  const { builder } = context;
  const probe = builder.slot("socket for a trial");
  const result = builder.slot("result of bind");
  const isV4 = place.address.length === 4;
  builder.syscall("socket", [isV4 ? AF_INET : AF_INET6, SOCK_DGRAM | openFlags.CLOEXEC, 0], { store: probe, orElse });
  const address = sockaddr(isV4 ? AF_INET : AF_INET6, { ...place, port: 0 });
  builder.syscall("bind", [probe, builder.bytes(address), address.length], { store: result, expect: "any" });
  builder.syscall("close", [probe]);
  builder.jumpIf(result, "ne", 0, orElse);
}

/** A datagram on its way. */
interface Delivery {
  readonly ends: Ends;
  readonly data: Uint8Array;
  readonly from: Place;
  readonly to: Place;
}

/** Sends a datagram to ourselves: as a packet, or without the privilege for that from a socket that has the sender's address. */
function deliver(context: LowerContext, { ends, data, from, to }: Delivery, failed: ReturnType<LowerContext["builder"]["label"]>): void {
  const { builder } = context;
  const family = to.address.length === 4 ? AF_INET : AF_INET6;
  const fd = builder.slot("socket that sends a datagram again");
  const result = builder.slot("result of sendto");
  const unprivileged = builder.label("without CAP_NET_RAW");
  const done = builder.label("the datagram is sent");
  const send = (bytes: Uint8Array, port: number): void => {
    const address = sockaddr(family, { ...to, port });
    builder.syscall("sendto", [fd, builder.bytes(bytes, 1), bytes.length, dontWait, builder.bytes(address), address.length], {
      store: result,
      expect: "any",
    });
    builder.syscall("close", [fd]);
    builder.jumpIf(result, "lt", 0, failed);
  };
  builder.syscall("socket", [family, SOCK_RAW | openFlags.CLOEXEC, IPPROTO_RAW], { store: fd, orElse: unprivileged });
  send(datagramFromPeer(ends, data), 0);
  builder.jump(done);
  builder.place(unprivileged);
  builder.syscall("socket", [family, SOCK_DGRAM | openFlags.CLOEXEC, 0], { store: fd, orElse: failed });
  const sender = sockaddr(family, from);
  const isSender = builder.label("it has the sender's address");
  builder.syscall("bind", [fd, builder.bytes(sender), sender.length], { store: result, expect: "any" });
  builder.jumpIf(result, "eq", 0, isSender);
  builder.syscall("close", [fd]);
  builder.jump(failed);
  builder.place(isSender);
  send(data, to.port);
  builder.place(done);
}

function placeOf(address: Uint8Array): Place | undefined {
  const end = endOf(address);
  if (end === undefined) return undefined;
  const hasScope = end.address.length === 16 && address.length >= 28;
  return { ...end, scope: hasScope ? new DataView(address.buffer, address.byteOffset).getUint32(24, true) : 0 };
}

const isWildcard = (address: Uint8Array): boolean => address.every((byte) => byte === 0);

/** A place as a socket of a family takes it. */
function sockaddr(family: number, { address, port, scope }: Place): Uint8Array {
  const bytes = new Uint8Array(family === AF_INET ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port);
  if (family === AF_INET) bytes.set(address, 4);
  else if (address.length === 16) {
    bytes.set(address, 8);
    view.setUint32(24, scope, true);
  } else {
    bytes.set([0xff, 0xff], 18);
    bytes.set(address, 20);
  }
  return bytes;
}
