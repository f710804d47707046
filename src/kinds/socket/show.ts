// SPDX-License-Identifier: Apache-2.0
/** Sockets: a row in the list of descriptors, and a section of their own. */
import type { NetworkLockRow, OpenFileRow, SocketOptionRow, SocketRow } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { detailsOf, holdersOf } from "../../ops/show/held-files.js";
import { sockaddrText, socketKindName } from "../../ops/show/names.js";
import { objectText, type Scope } from "../../ops/show/scope.js";
import type { Section } from "../../ops/show/section-tasks.js";
import { socketOption, socketOptionName } from "../../state/socket-options.js";
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  describe: describeSocket,
};

function describeSocket({ tables }: Checkpoint, { detail }: OpenFileRow): string {
  const socket = detail === null ? undefined : tables.sockets[detail];
  if (socket === undefined) return "socket";
  const kind = socketKindName(socket.family, socket.type, socket.protocol);
  const peer = socket.family !== 1 && socket.state === "connected" ? ` to ${sockaddrText(socket.peerAddress)}` : "";
  return `socket:[${socket.ino}] ${kind} ${socket.state} ${sockaddrText(socket.localAddress)}${peer}`.trimEnd();
}

/** Sockets with addresses, options and what waits in them. */
export function sockets(scope: Scope): Section {
  const { tables } = scope.checkpoint;
  const holders = holdersOf(scope);
  const indices = detailsOf(scope, "socket").filter((index) => index < tables.sockets.length);
  const wanted = new Set(indices);
  const options = tables.socketOptions.flatMap((row, index) => (wanted.has(row.socket) ? [index] : []));
  const messages = tables.socketMessages.flatMap((row, index) => (wanted.has(row.socket) ? [index] : []));
  const connections = tables.tcpConnections.flatMap((row, index) => (wanted.has(row.socket) ? [index] : []));
  const connectionOf = new Map(tables.tcpConnections.map((row) => [row.socket, row]));
  const rows = indices.map((index) => {
    const socket = tables.sockets[index] as SocketRow;
    const connection = connectionOf.get(index);
    const file = tables.files.findIndex((one) => one.kind === "socket" && one.detail === index);
    const queued = tables.socketMessages.filter((message) => message.socket === index);
    const bytes = queued.reduce((sum, message) => sum + message.data.length, 0);
    const inQueue = connection
      ? `${connection.receiveQueue.length} B in, ${connection.sendQueue.length} B out`
      : `${queued.length} (${bytes} B)`;
    const peer = socket.peer === null ? sockaddrText(socket.peerAddress) : `socket:[${tables.sockets[socket.peer]?.ino ?? "?"}]`;
    return [
      `socket:[${socket.ino}]`,
      socketKindName(socket.family, socket.type, socket.protocol),
      connection?.tcpState ?? socket.state,
      sockaddrText(socket.localAddress) || (socket.object === null ? "-" : objectText(tables.objects[socket.object])),
      peer || "-",
      inQueue,
      String(tables.socketOptions.filter((option) => option.socket === index).length),
      holders.get(file) ?? "-",
    ];
  });
  const optionLines = indices.flatMap((index) => {
    const ofSocket = tables.socketOptions.filter((option) => option.socket === index);
    const name = `socket:[${tables.sockets[index]?.ino ?? "?"}]`;
    return ofSocket.length === 0 ? [] : [`${name} options: ${ofSocket.map(optionText).join("  ")}`];
  });
  const columns = [
    { title: "SOCKET" },
    { title: "KIND" },
    { title: "STATE" },
    { title: "LOCAL" },
    { title: "PEER" },
    { title: "QUEUED", align: "right" },
    { title: "OPTIONS", align: "right" },
    { title: "HELD AS" },
  ] as const;
  return {
    blocks: [
      rows.length > 0 ? { columns, rows } : { lines: ["no sockets"] },
      ...(optionLines.length > 0 ? [{ lines: optionLines }] : []),
      ...(connections.length > 0 ? lockLines(tables.networkLocks) : []),
    ],
    selected: {
      sockets: indices,
      socketOptions: options,
      socketMessages: messages,
      ...(connections.length === 0 ? {} : { tcpConnections: connections, networkLocks: tables.networkLocks.map((_, index) => index) }),
    },
  };
}

/** What holds the packets of connections back until a resume. */
function lockLines(locks: readonly NetworkLockRow[]): { lines: string[] }[] {
  const lines = locks.map(({ lockMethod, name }) =>
    lockMethod === "nftables" ? `packets held back by: nft table inet ${name}` : "packets held back by: iptables rules of CRIU",
  );
  return lines.length === 0 ? [] : [{ lines }];
}

/** `SO_KEEPALIVE=1`, `SO_BINDTODEVICE=eth0`; values of other lengths than a number's as bytes. */
function optionText(row: SocketOptionRow): string {
  const value = Buffer.from(row.value);
  const name = socketOptionName(row);
  if (socketOption(row)?.how === "text") return `${name}=${value.toString("utf8").replace(/\0+$/, "")}`;
  if (value.length === 4) return `${name}=${value.readInt32LE()}`;
  return `${name}=${value.length <= 16 ? `0x${value.toString("hex")}` : `${value.length} bytes`}`;
}
