// SPDX-License-Identifier: Apache-2.0
/** A pair of unix sockets with bytes in one queue, and a UDP socket at rest. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow, socketMessageRow, socketRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({ type: fc.constantFrom(1, 2, 5), data: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
  ({ tables, hold }, { type, data }) => {
    const first = tables.sockets.length;
    for (const peer of [first + 1, first]) {
      const ino = BigInt(6000 + tables.sockets.length);
      tables.sockets.push(socketRow({ ino, family: 1, type, state: "connected", peer, isPaired: 1 }));
    }
    tables.socketMessages.push(socketMessageRow({ socket: first, data }));
    tables.sockets.push(socketRow({ ino: BigInt(6000 + tables.sockets.length), family: 2, type: 2, protocol: 17, state: "unconnected" }));
    for (const detail of [first, first + 1, first + 2]) hold(tables.files.push(openFileRow({ kind: "socket", detail, flags: 2 })) - 1);
  },
);
