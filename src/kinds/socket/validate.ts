// SPDX-License-Identifier: Apache-2.0
/** Sockets: pairs name each other, and every socket is open. */
import { endsOf } from "../../state/tcp.js";
import { modelRule } from "../../validate/model-context.js";
import { lacksDetail, type FileValidation } from "../../validate/rules/file-kind.js";

export const validation: FileValidation = {
  problem: lacksDetail,
  rules: [
    modelRule(
      { code: "fd.socket-pair", facet: "sockets", summary: "Paired unix sockets name each other.", spec: "SPEC 5.21" },
      function* ({ tables }) {
        for (const [row, socket] of tables.sockets.entries()) {
          if (socket.isPaired === 0) continue;
          const peer = socket.peer === null ? undefined : tables.sockets[socket.peer];
          if (peer === undefined) {
            if (socket.peer === null)
              yield { message: `paired socket ${socket.ino} names no peer`, at: { table: "sockets", row, field: "peer" } };
          } else if (peer.peer !== row) {
            yield {
              message: `the peer of socket ${socket.ino} names another one`,
              at: { table: "sockets", row: socket.peer ?? 0, field: "peer" },
              expected: String(row),
              actual: String(peer.peer ?? "none"),
            };
          }
        }
      },
    ),
    modelRule(
      {
        code: "fd.tcp-connection",
        facet: "sockets",
        summary: "A TCP connection belongs to a connected TCP socket with two addresses, and its queues hold what they say.",
        spec: "SPEC 5.70",
      },
      function* ({ tables }) {
        const seen = new Set<number>();
        for (const [row, connection] of tables.tcpConnections.entries()) {
          const socket = tables.sockets[connection.socket];
          const at = (field: "socket" | "numUnsent") => ({ table: "tcpConnections", row, field }) as const;
          if (socket === undefined) continue;
          if (socket.state === "closed" && connection.tcpState === "ended") continue;
          if (socket.state !== "connected" || socket.type !== 1) {
            yield { message: `socket ${socket.ino} is no connected TCP socket`, at: at("socket") };
          } else if (endsOf(socket) === undefined) {
            yield {
              message: `socket ${socket.ino} has no pair of addresses`,
              at: { table: "sockets", row: connection.socket, field: "peerAddress" },
            };
          }
          if (seen.has(connection.socket)) yield { message: `socket ${socket.ino} has two connections`, at: at("socket") };
          seen.add(connection.socket);
          if (connection.numUnsent > connection.sendQueue.length) {
            yield {
              message: `more bytes are unsent than the send queue of socket ${socket.ino} holds`,
              at: at("numUnsent"),
              expected: `at most ${connection.sendQueue.length}`,
              actual: String(connection.numUnsent),
            };
          }
        }
      },
    ),
    modelRule(
      {
        code: "fd.socket-unheld",
        severity: "warning",
        facet: "sockets",
        summary: "Every socket belongs to an open file.",
        spec: "SPEC 5.21",
      },
      function* (context) {
        const used = new Set(context.tables.files.flatMap((file) => (file.kind === "socket" && file.detail !== null ? [file.detail] : [])));
        for (const [row, socket] of context.tables.sockets.entries()) {
          if (!used.has(row)) yield { message: `no open file is socket ${socket.ino}`, at: { table: "sockets", row } };
        }
      },
    ),
  ],
};
