// SPDX-License-Identifier: Apache-2.0
/** Packet sockets: their protocol comes with bind, so that none receives anything before its options and rings are set. */
import type { SocketRow } from "../../../gen/tables.js";
import type { FileSlots } from "../../../lower/fds/shared.js";
import { makeSocket, setEarlyOptions, setLateOptions } from "../../../lower/fds/socket-options.js";
import type { Slot } from "../../../lower/operands.js";

const SOCK_PACKET = 10;

export function openPacketSocket({ context }: FileSlots, socket: number, row: SocketRow, purpose: string): Slot {
  const { builder } = context;
  // The old kind is bound by the name of a device alone.
  const slot = makeSocket(context, row.type === SOCK_PACKET ? row : { ...row, protocol: 0 }, "packet socket", purpose);
  setEarlyOptions(context, slot, socket, purpose);
  if (row.localAddress.length > 0) {
    builder.syscallOutside("bind", [slot, builder.bytes(row.localAddress), row.localAddress.length], {
      message: `bind a packet socket to its device ${purpose}`,
      hint: "is the network device there, under its old number?",
    });
  }
  setLateOptions(context, slot, socket, purpose);
  return slot;
}
