// SPDX-License-Identifier: Apache-2.0
/** Family, type, state, addresses, options and queues; a pair by the inode of its other end. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, { detail }) => {
  const row = tables.sockets[detail ?? -1];
  if (row === undefined) return undefined;
  const { object, peer, ...socket } = row;
  return {
    ...socket,
    path: object === null ? null : tables.objects[object]?.path,
    peer: peer === null ? null : tables.sockets[peer]?.ino,
    options: tables.socketOptions
      .filter((option) => option.socket === detail)
      .map(({ level, option, value }) => ({ level, option, value })),
    connections: tables.tcpConnections
      .filter((connection) => connection.socket === detail)
      .map(({ socket: _, receiveQueue, sendQueue, ...connection }) => ({
        ...connection,
        receiveQueue: Buffer.from(receiveQueue).toString("hex"),
        sendQueue: Buffer.from(sendQueue).toString("hex"),
      })),
    messages: tables.socketMessages
      .filter((message) => message.socket === detail)
      .map(({ data, socket: _, ...message }) => ({ data: Buffer.from(data).toString("hex"), ...message })),
  };
};
