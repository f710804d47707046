// SPDX-License-Identifier: Apache-2.0
/** Messages that wait in sockets ↔ sk-queues.img. */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import { ControlMessageSchema, type SocketPacket, SocketPacketSchema } from "../../../formats/criu/gen/payload_pb.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { fileTypeName } from "../../../formats/criu/map/file-types.js";
import type { FileOf } from "../../../formats/criu/map/kind.js";
import { ImageWriter } from "../../../formats/criu/wire/image-writer.js";
import type { Output } from "../../adapter/output.js";
import { messageFileRow, type SocketMessageRow, socketMessageRow } from "../../gen/tables.js";

const scmRights = 1;
/** CRIU puts no datagrams of UDP back. */
const unixFamily = 1;

export function messagesFromWire(builder: ModelBuilder, fileOf: FileOf): void {
  const socketsByFile = new Map<number, number>();
  for (const [id, row] of builder.fileRows) {
    const file = builder.tables.files[row];
    if (file?.kind === "socket" && file.detail !== null) socketsByFile.set(id, file.detail);
  }
  for (const { entry, data } of builder.wire.packets) {
    const socket = socketsByFile.get(entry.idFor);
    if (socket === undefined) continue;
    const row = builder.tables.socketMessages.push(socketMessageRow({ socket, data })) - 1;
    builder.deltas.push((context, foreign) => {
      foreign.addDelta({ table: "socketMessages", row }, "packet", SocketPacketSchema, entry, packetToWire(context, row));
    });
    for (const id of entry.scm.flatMap(({ rights }) => rights)) {
      const file = fileOf(id, "sk-queues.img", `message for file ${entry.idFor} scm`);
      if (file !== undefined) builder.tables.messageFiles.push(messageFileRow({ message: row, file }));
      else
        builder.lose({
          code: "sockets.scm",
          facet: "sockets",
          count: 1,
          text:
            `A descriptor (${fileTypeName(builder.wire.files.get(id)?.type ?? 0)}) on its way to file ${entry.idFor} is kept ` +
            `for CRIU only.`,
        });
    }
  }
}

function packetToWire(context: ImageSetIds, row: number): SocketPacket {
  const message = context.tables.socketMessages[row] ?? socketMessageRow();
  const file = context.tables.files.findIndex((candidate) => candidate.kind === "socket" && candidate.detail === message.socket);
  const packet = create(SocketPacketSchema, { idFor: file < 0 ? 0 : context.fileId(file), length: message.data.length });
  const rights = context.tables.messageFiles.filter((one) => one.message === row).map((one) => context.fileId(one.file));
  if (rights.length > 0) packet.scm.push(create(ControlMessageSchema, { type: scmRights, rights }));
  return packet;
}

export function writeQueues(output: Output, context: ImageSetIds): void {
  const { tables, foreign } = context;
  const isKept = ({ socket }: SocketMessageRow): boolean => tables.sockets[socket]?.family === unixFamily;
  if (!tables.socketMessages.some(isKept)) return;
  const writer = new ImageWriter(output, "sk-queues.img", "sk-queues");
  tables.socketMessages.forEach((message, row) => {
    if (!isKept(message)) return;
    writer.entry(
      SocketPacketSchema,
      foreign.apply({ table: "socketMessages", row }, "packet", SocketPacketSchema, packetToWire(context, row)),
    );
    writer.raw(message.data);
  });
  writer.flush();
}
