/** Inet and netlink sockets: made, options set, bound, connected or listening. */
import type { SocketRow } from "../../gen/tables.js";
import { errno, type FileSlots } from "./shared.js";
import { forceReuse, makeSocket, setEarlyOptions, setLateOptions, undoReuse } from "./socket-options.js";

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
