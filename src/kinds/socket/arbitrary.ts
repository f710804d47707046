// SPDX-License-Identifier: Apache-2.0
/** A pair of unix sockets with bytes in one queue, a UDP socket at rest, and a TCP connection with both ends in the tree. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow, socketMessageRow, socketRow, tcpConnectionRow } from "../../gen/tables.js";

/** A sockaddr_in of the loopback. */
const address = (port: number): Uint8Array => Uint8Array.of(2, 0, port >> 8, port & 0xff, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);

export const arbitrary = fileArbitrary(
  fc.record({
    type: fc.constantFrom(1, 2, 5),
    data: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    connection: fc.record({
      tcpState: fc.constantFrom("established", "fin_wait1", "fin_wait2", "close_wait", "last_ack", "closing"),
      // SACK with or without timestamps, and both shifts
      options: fc.constantFrom(6, 7),
      mssClamp: fc.nat(0xffff),
      sndWscale: fc.nat(14),
      rcvWscale: fc.nat(14),
      receiveSeq: fc.nat(),
      sendSeq: fc.nat(),
      numUnsent: fc.nat(40),
      hasWindow: fc.constant(1),
      sndWnd: fc.nat(),
      rcvWnd: fc.nat(),
      sendBuffer: fc.constant(87_040),
      receiveBuffer: fc.constant(131_072),
    }),
  }),
  ({ tables, hold }, { type, data, connection }) => {
    const first = tables.sockets.length;
    for (const peer of [first + 1, first]) {
      const ino = BigInt(6000 + tables.sockets.length);
      tables.sockets.push(socketRow({ ino, family: 1, type, state: "connected", peer, isPaired: 1 }));
    }
    tables.socketMessages.push(socketMessageRow({ socket: first, data }));
    tables.sockets.push(socketRow({ ino: BigInt(6000 + tables.sockets.length), family: 2, type: 2, protocol: 17, state: "unconnected" }));
    const [one, other] = [address(41000 + (first % 1000)), address(80)];
    for (const [localAddress, peerAddress, peer] of [
      [one, other, first + 4],
      [other, one, first + 3],
    ] as const) {
      const socket =
        tables.sockets.push(
          socketRow({
            ino: BigInt(6000 + tables.sockets.length),
            family: 2,
            type: 1,
            protocol: 6,
            state: "connected",
            localAddress,
            peerAddress,
            peer,
          }),
        ) - 1;
      tables.tcpConnections.push(
        tcpConnectionRow({
          ...connection,
          socket,
          receiveQueue: data,
          sendQueue: data,
          numUnsent: Math.min(connection.numUnsent, data.length),
        }),
      );
    }
    for (const detail of [0, 1, 2, 3, 4].map((index) => first + index))
      hold(tables.files.push(openFileRow({ kind: "socket", detail, flags: 2 })) - 1);
  },
);
