// SPDX-License-Identifier: Apache-2.0
/** TCP sockets whose connection is over: they read as ended, which one that never was connected does not. */
import type { SocketRow } from "../../../gen/tables.js";
import type { LowerContext } from "../../../lower/context.js";
import { openFlags } from "../../../lower/fds/shared.js";
import { setEarlyOptions, setLateOptions } from "../../../lower/fds/socket-options.js";
import type { Slot } from "../../../lower/operands.js";
import { levelOf, socketOptions } from "../../../state/socket-options.js";

const SO_ERROR = 4;
const SHUT_WR = 1;
const POLLRDHUP = 0x2000;
/** MSG_DONTWAIT | MSG_NOSIGNAL. */
const sendFlags = 0x4040;
/** For bytes to go from one socket of ours to the other, milliseconds. */
const longestDelivery = 5000;

/**
 * A listener at the address that the socket had (or at the loopback, where that address is none of this machine now)
 * accepts it from a client of our own, which breaks off at once: SO_LINGER of 0 makes close send a reset. An accepted
 * socket holds no port after that, and getsockname(2) goes on telling its address. Where bytes are `unread`, a reset would
 * take them along: then both sides end in the usual way.
 */
export function openClosed(
  context: LowerContext,
  socket: number,
  row: SocketRow,
  purpose: string,
  unread: Uint8Array = new Uint8Array(0),
): Slot {
  const { builder } = context;
  const level = levelOf("SO_REUSEADDR");
  const { SO_REUSEADDR, SO_LINGER } = socketOptions;
  const message = `make a TCP connection that is over ${purpose}`;
  const hint = "the loopback interface must be up";
  const { SO_RCVBUFFORCE, SO_SNDBUFFORCE } = socketOptions;
  const makeRoom = (on: Slot, option: number): void => {
    if (unread.length === 0) return;
    builder.syscall("setsockopt", [on, level, option, builder.u4s(4 * unread.length + (64 << 10)), 4], { expect: "any" });
  };
  // MPTCP gets to it a moment later, and takes some options only then.
  const awaitEnd = (): void => {
    const pollfd = builder.bytes(new Uint8Array(8));
    builder.store4(pollfd, slot);
    builder.store4(pollfd.at(4), POLLRDHUP);
    builder.syscall("poll", [pollfd, 1, longestDelivery], { expect: 1, message });
  };
  const newSocket = (name: string): Slot => {
    const slot = builder.slot(name);
    builder.syscall("socket", [row.family, row.type | openFlags.CLOEXEC, row.protocol], { store: slot, message });
    return slot;
  };
  const listener = newSocket("listener for a moment");
  builder.syscall("setsockopt", [listener, level, SO_REUSEADDR.option, builder.u4s(1), 4], { message });
  const bound = builder.label("bound");
  const elsewhere = builder.label("address is not available");
  if (row.localAddress.length > 0) {
    builder.syscall("bind", [listener, builder.bytes(row.localAddress), row.localAddress.length], { orElse: elsewhere });
    builder.jump(bound);
    builder.place(elsewhere);
  }
  const loopback = loopbackOf(row.family);
  builder.syscall("bind", [listener, builder.bytes(loopback), loopback.length], { message, hint });
  builder.place(bound);
  makeRoom(listener, SO_RCVBUFFORCE.option);
  builder.syscall("listen", [listener, 1], { message });
  const address = builder.buffer(32);
  const length = builder.buffer(8);
  builder.store4(length, 32);
  builder.syscall("getsockname", [listener, address, length], { message });
  const client = newSocket("other end for a moment");
  builder.syscall("connect", [client, address, length.u4], { message, hint });
  const slot = builder.slot(`closed socket ${purpose}`);
  builder.syscall("accept4", [listener, 0, 0, openFlags.CLOEXEC], { store: slot, message });
  if (unread.length === 0) {
    builder.syscall("setsockopt", [client, level, SO_LINGER.option, builder.u4s(1, 0), 8], { message });
    builder.syscall("close", [client]);
    awaitEnd();
  } else {
    makeRoom(client, SO_SNDBUFFORCE.option);
    builder.syscall("sendto", [client, builder.bytes(unread, 1), unread.length, sendFlags, 0, 0], { expect: unread.length, message });
    builder.syscall("close", [client]);
    awaitEnd();
    builder.syscall("shutdown", [slot, SHUT_WR], { message });
  }
  builder.syscall("close", [listener]);
  context.keepHigh(slot);
  // the reset is an error that the program has seen already
  builder.store4(length, 4);
  builder.syscall("getsockopt", [slot, level, SO_ERROR, builder.buffer(8), length], { message });
  // It has the listener's.
  builder.syscall("setsockopt", [slot, level, SO_REUSEADDR.option, builder.u4s(0), 4], { message });
  setEarlyOptions(context, slot, socket, purpose);
  setLateOptions(context, slot, socket, purpose);
  return slot;
}

/** A sockaddr of the loopback with any port. */
function loopbackOf(family: number): Uint8Array {
  const isV6 = family === 10;
  const address = new Uint8Array(isV6 ? 28 : 16);
  address[0] = family;
  if (isV6) address[23] = 1;
  else address.set([127, 0, 0, 1], 4);
  return address;
}
