// SPDX-License-Identifier: Apache-2.0
/** Rules about descriptors, open files and what is behind them. */
import { fileDetailTables } from "../../model/references.js";
import type { OpenFileRow, PipeRow } from "../../gen/tables.js";
import { type ModelContext, type ModelRule, modelRule, taskName } from "../model-context.js";

const objectKinds: Readonly<Partial<Record<OpenFileRow["kind"], readonly string[]>>> = {
  memfd: ["memfd"],
};

function packetSum(pipe: PipeRow): number | undefined {
  if (pipe.packets.length % 4 !== 0) return undefined;
  const view = Buffer.from(pipe.packets.buffer, pipe.packets.byteOffset, pipe.packets.byteLength);
  let sum = 0;
  for (let offset = 0; offset < view.length; offset += 4) sum += view.readUInt32LE(offset);
  return sum;
}

function detailProblem(file: OpenFileRow): string | undefined {
  const wantsDetail = Object.hasOwn(fileDetailTables, file.kind);
  if (wantsDetail && file.detail === null) return `a file of kind ${file.kind} names its row in another table`;
  if (file.kind === "inherited") return file.detail === null || file.detail > 2 ? "an inherited descriptor is 0, 1 or 2" : undefined;
  if (file.kind === "path" && file.object === null) return "a file of kind path names its object";
  return undefined;
}

/** Row numbers of sockets that an open file has. */
function socketsInUse({ tables }: ModelContext): Set<number> {
  return new Set(tables.files.flatMap((file) => (file.kind === "socket" && file.detail !== null ? [file.detail] : [])));
}

export const descriptorRules: readonly ModelRule[] = [
  modelRule(
    { code: "fd.twice", facet: "files", summary: "A process has each descriptor number once.", spec: "SPEC 5.15" },
    function* (context) {
      const seen = new Map<string, number>();
      for (const [row, { task, fd }] of context.tables.descriptors.entries()) {
        const first = seen.get(`${task} ${fd}`);
        if (first === undefined) seen.set(`${task} ${fd}`, row);
        else
          yield {
            message: `descriptor ${fd} of ${taskName(context, task)} is also in descriptors[${first}]`,
            at: { table: "descriptors", row, field: "fd" },
            actual: String(fd),
          };
      }
    },
  ),
  modelRule(
    { code: "fd.number", facet: "files", summary: "Descriptor numbers are below the kernel's largest (2^30).", spec: "proc(5), nr_open" },
    function* (context) {
      for (const [row, { task, fd }] of context.tables.descriptors.entries()) {
        if (fd < 1 << 30) continue;
        yield {
          message: `${taskName(context, task)} cannot have this descriptor`,
          at: { table: "descriptors", row, field: "fd" },
          expected: "below 1073741824",
          actual: String(fd),
        };
      }
    },
  ),
  modelRule(
    { code: "fd.detail", facet: "files", summary: "Each kind of open file names what that kind needs.", spec: "SPEC 5.14" },
    function* ({ tables }) {
      for (const [row, file] of tables.files.entries()) {
        const wrong = detailProblem(file);
        if (wrong !== undefined) yield { message: wrong, at: { table: "files", row, field: file.kind === "path" ? "object" : "detail" } };
      }
    },
  ),
  modelRule(
    { code: "fd.object-kind", facet: "files", summary: "The object of an open file is of a kind that such files have.", spec: "SPEC 5.14" },
    function* ({ tables }) {
      for (const [row, file] of tables.files.entries()) {
        const allowed = objectKinds[file.kind];
        const object = file.object === null ? undefined : tables.objects[file.object];
        if (allowed === undefined || object === undefined || allowed.includes(object.kind)) continue;
        yield {
          message: `a file of kind ${file.kind} cannot be an object of kind ${object.kind}`,
          at: { table: "files", row, field: "object" },
          expected: allowed.join(" or "),
          actual: object.kind,
        };
      }
    },
  ),
  modelRule(
    {
      code: "fd.unheld",
      severity: "warning",
      facet: "files",
      summary: "Every open file is held by a descriptor, or travels in a message.",
      spec: "SPEC 5.15",
    },
    function* ({ tables }) {
      const held = new Set([...tables.descriptors, ...tables.messageFiles].map((row) => row.file));
      for (const row of tables.files.keys())
        if (!held.has(row)) yield { message: `no descriptor holds open file #${row}`, at: { table: "files", row } };
    },
  ),
  modelRule(
    {
      code: "fd.pipe-content",
      facet: "pipes",
      summary: "A pipe holds no more than its capacity, and its packets add up to its content.",
      spec: "SPEC 5.16",
    },
    function* ({ tables }) {
      for (const [row, pipe] of tables.pipes.entries()) {
        if (pipe.capacity !== 0 && pipe.data.length > pipe.capacity) {
          yield {
            message: `pipe ${pipe.ino} holds more than its capacity`,
            at: { table: "pipes", row, field: "data" },
            expected: `at most ${pipe.capacity} bytes`,
            actual: `${pipe.data.length} bytes`,
          };
        }
        const sum = pipe.packets.length === 0 ? pipe.data.length : packetSum(pipe);
        if (sum !== pipe.data.length) {
          yield {
            message: `the packets of pipe ${pipe.ino} do not add up to its content`,
            at: { table: "pipes", row, field: "packets" },
            expected: `${pipe.data.length} bytes`,
            actual: sum === undefined ? "half a length" : `${sum} bytes`,
          };
        }
      }
    },
  ),
  modelRule(
    { code: "fd.epoll", facet: "event-fds", summary: "Watches belong to open files of kind epoll.", spec: "SPEC 5.20" },
    function* ({ tables }) {
      for (const [row, watch] of tables.epollWatches.entries()) {
        const file = tables.files[watch.epoll];
        if (file === undefined || file.kind === "epoll") continue;
        yield {
          message: `open file #${watch.epoll} is no epoll set`,
          at: { table: "epollWatches", row, field: "epoll" },
          expected: "epoll",
          actual: file.kind,
        };
      }
    },
  ),
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
      const used = socketsInUse(context);
      for (const [row, socket] of context.tables.sockets.entries()) {
        if (!used.has(row)) yield { message: `no open file is socket ${socket.ino}`, at: { table: "sockets", row } };
      }
    },
  ),
];
