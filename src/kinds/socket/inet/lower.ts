// SPDX-License-Identifier: Apache-2.0
/** Inet and netlink sockets: made, options set, bound, connected or listening. */
import type { SocketRow } from "../../../gen/tables.js";
import type { Slot } from "../../../lower/operands.js";
import { errno, type FileSlots, openFlags } from "../../../lower/fds/shared.js";
import { forceReuse, makeSocket, setEarlyOptions, setLateOptions, undoReuse } from "../../../lower/fds/socket-options.js";

/** Makes the socket of row `socket` and returns its slot. */
export function openInetSocket(slots: FileSlots, socket: number, row: SocketRow, purpose: string): ReturnType<typeof makeSocket> {
  const { context } = slots;
  const { builder } = context;
  const address = printableAddress(row.localAddress);
  const isTcp = row.type === 1 && (row.family === 2 || row.family === 10);
  const slot = makeSocket(context, row, `socket ${address}`, purpose);
  setEarlyOptions(context, slot, socket, purpose);
  if (row.localAddress.length > 0) {
    if (isTcp) forceReuse(context, slot);
    builder.syscall("bind", [slot, builder.bytes(row.localAddress), row.localAddress.length], {
      message: `bind a socket to ${address} ${purpose}`,
      hint: "is another program using that address, or is it not of this machine?",
    });
  }
  if (row.state === "closed") breakConnection(slots, slot, row, purpose);
  if (row.state === "connected") {
    builder.syscall("connect", [slot, builder.bytes(row.peerAddress), row.peerAddress.length], {
      message: `connect a socket to ${printableAddress(row.peerAddress)} ${purpose}`,
    });
  }
  if (row.state === "listening") {
    builder.syscall("listen", [slot, row.backlog], { message: `listen on ${address} ${purpose}` });
  }
  if (row.localAddress.length > 0 && isTcp) undoReuse(context, slot, socket);
  setLateOptions(context, slot, socket, purpose);
  if (row.shutdown !== 0) {
    // An unconnected datagram socket is shut down although the call says ENOTCONN.
    builder.syscall("shutdown", [slot, row.shutdown - 1], { expect: [0, -errno.ENOTCONN], message: `shut a socket down ${purpose}` });
  }
  return slot;
}

/**
 * A TCP socket whose connection is over: it reads as ended, which one that never was connected does not. So it is
 * connected to a listener of our own, whose end breaks off at once (SO_LINGER of 0 makes close send a reset).
 */
function breakConnection({ context }: FileSlots, slot: Slot, row: SocketRow, purpose: string): void {
  const { builder } = context;
  const SOL_SOCKET = 1;
  const SO_ERROR = 4;
  const SO_LINGER = 13;
  const message = `make a TCP connection that is over ${purpose}`;
  const hint = "the loopback interface must be up";
  const isV6 = row.family === 10;
  const loopback = new Uint8Array(isV6 ? 28 : 16);
  loopback[0] = row.family;
  if (isV6) loopback[23] = 1;
  else loopback.set([127, 0, 0, 1], 4);
  const listener = builder.slot("listener for a moment");
  const accepted = builder.slot("other end for a moment");
  const address = builder.buffer(32);
  const length = builder.buffer(8);
  builder.syscall("socket", [row.family, row.type | openFlags.CLOEXEC, row.protocol], { store: listener, message });
  builder.syscall("bind", [listener, builder.bytes(loopback), loopback.length], { message, hint });
  builder.syscall("listen", [listener, 1], { message });
  builder.store4(length, 32);
  builder.syscall("getsockname", [listener, address, length], { message });
  builder.syscall("connect", [slot, address, length.u4], { message, hint });
  builder.syscall("accept4", [listener, 0, 0, openFlags.CLOEXEC], { store: accepted, message });
  builder.syscall("setsockopt", [accepted, SOL_SOCKET, SO_LINGER, builder.u4s(1, 0), 8], { message });
  builder.syscall("close", [accepted]);
  builder.syscall("close", [listener]);
  // the reset is an error that the program has seen already
  builder.store4(length, 4);
  builder.syscall("getsockopt", [slot, SOL_SOCKET, SO_ERROR, builder.buffer(8), length], { message });
}

/** `127.0.0.1:80`, `[::1]:80`; other families by number. */
export function printableAddress(address: Uint8Array): string {
  if (address.length < 8) return "no address";
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  const family = view.getUint16(0, true);
  if (family === 2) return `${[...address.subarray(4, 8)].join(".")}:${view.getUint16(2)}`;
  if (family !== 10 || address.length < 24) return `an address of family ${family}`;
  const groups: string[] = [];
  for (let at = 8; at < 24; at += 2) groups.push(view.getUint16(at).toString(16));
  return `[${groups.join(":").replace(/(^|:)0(:0)+(:|$)/, "::")}]:${view.getUint16(2)}`;
}
