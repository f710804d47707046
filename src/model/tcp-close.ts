// SPDX-License-Identifier: Apache-2.0
/** TCP connections given up at the resume: the program finds them closed. */
import { Checkpoint } from "./checkpoint.js";

/** The same checkpoint with every TCP connection as one that is over. Its sources are those of `checkpoint`. */
export function withoutTcpConnections({ tables, sources, unknownTables }: Checkpoint): Checkpoint {
  const connected = new Set(tables.tcpConnections.map(({ socket }) => socket));
  const sockets = tables.sockets.map((row, index) =>
    connected.has(index) && row.state === "connected"
      ? ({ ...row, state: "closed", peer: null, peerAddress: new Uint8Array(0), shutdown: 0 } as const)
      : row,
  );
  const tcpConnections = tables.tcpConnections.filter(({ socket }) => tables.sockets[socket]?.state === "closed");
  return new Checkpoint({ tables: { ...tables, sockets, tcpConnections }, sources, unknownTables });
}
