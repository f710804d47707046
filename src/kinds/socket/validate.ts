// SPDX-License-Identifier: Apache-2.0
/** Sockets: pairs name each other, and every socket is open. */
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
