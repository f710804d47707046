// SPDX-License-Identifier: Apache-2.0
/** TCP connections ↔ tcp-stream-INO.img: one message, and the bytes of both queues. */
import { create } from "@bufbuild/protobuf";
import type { ModelBuilder } from "../../../formats/criu/builder.js";
import { type InetSocket, type TcpStream, TcpStreamSchema } from "../../../formats/criu/gen/sockets_pb.js";
import type { ImageSetIds } from "../../../formats/criu/ids/image-set-ids.js";
import { lockFromWire } from "../../../formats/criu/map/network-lock.js";
import type { StreamPayload } from "../../../formats/criu/wire/load.js";
import { ImageWriter } from "../../../formats/criu/wire/image-writer.js";
import type { Output } from "../../adapter/output.js";
import { type TcpConnectionRow, tcpConnectionRow, type TcpState, tcpStateValues } from "../../gen/tables.js";
import { connectionKey, endsOf } from "../../state/tcp.js";

/** TCPI_OPT_TIMESTAMPS and TCPI_OPT_WSCALE. */
const agreed = { timestamps: 1, wscale: 4 } as const;

/** The state by its number; undefined for those of no connection. */
export function tcpStateFromWire(number: number): TcpState | undefined {
  return (Object.keys(tcpStateValues) as TcpState[]).find((name) => tcpStateValues[name] === number);
}

export function streamFromWire(
  builder: ModelBuilder,
  socket: number,
  entry: InetSocket,
  { entry: stream, received, sent }: StreamPayload,
): void {
  const hasWindow = Object.hasOwn(stream, "sndWnd");
  const row =
    builder.tables.tcpConnections.push(
      tcpConnectionRow({
        socket,
        tcpState: tcpStateFromWire(entry.state) ?? "established",
        options: stream.optMask,
        mssClamp: stream.mssClamp,
        sndWscale: stream.sndWscale & 15,
        rcvWscale: stream.rcvWscale & 15,
        timestamp: stream.timestamp,
        receiveSeq: stream.inqSeq,
        sendSeq: stream.outqSeq,
        numUnsent: Math.min(stream.unsqLen, sent.length),
        hasWindow: hasWindow ? 1 : 0,
        ...(hasWindow
          ? {
              sndWl1: stream.sndWl1,
              sndWnd: stream.sndWnd,
              maxWindow: stream.maxWindow,
              rcvWnd: stream.rcvWnd,
              rcvWup: stream.rcvWup,
            }
          : {}),
        sendBuffer: entry.opts?.soSndbuf ?? 0,
        receiveBuffer: entry.opts?.soRcvbuf ?? 0,
        receiveQueue: received,
        sendQueue: sent,
      }),
    ) - 1;
  builder.deltas.push((context, foreign) => {
    const now = context.tables.tcpConnections[row] ?? tcpConnectionRow();
    foreign.addDelta({ table: "tcpConnections", row }, "stream", TcpStreamSchema, stream, streamToWire(now));
  });
}

/** Ties the ends of connections that are both in the tree, and notes what holds back the others. */
export function finishStreams({ tables, wire }: ModelBuilder): void {
  const bySocket = new Map(tables.tcpConnections.map(({ socket }) => [socket, tables.sockets[socket]]));
  const byEnds = new Map<string, number>();
  for (const [socket, row] of bySocket) {
    const ends = row && endsOf(row);
    if (ends) byEnds.set(connectionKey(ends), socket);
  }
  let isOutside = false;
  for (const [socket, row] of bySocket) {
    const ends = row && endsOf(row);
    const peer = ends && byEnds.get(connectionKey(ends, true));
    if (row && peer !== undefined) tables.sockets[socket] = { ...row, peer };
    else isOutside = true;
  }
  // CRIU holds back the packets of all connections, whether the other end is in the tree or not.
  const lock = bySocket.size > 0 ? lockFromWire(wire.inventory, wire.tree[0]?.pid ?? 0) : undefined;
  if (lock !== undefined && (isOutside || lock.lockMethod === "nftables")) tables.networkLocks.push(lock);
}

function streamToWire(row: TcpConnectionRow): TcpStream {
  return create(TcpStreamSchema, {
    inqLen: row.receiveQueue.length,
    inqSeq: row.receiveSeq,
    outqLen: row.sendQueue.length,
    outqSeq: row.sendSeq,
    optMask: row.options,
    sndWscale: row.sndWscale,
    mssClamp: row.mssClamp,
    ...((row.options & agreed.wscale) === 0 ? {} : { rcvWscale: row.rcvWscale }),
    ...((row.options & agreed.timestamps) === 0 ? {} : { timestamp: row.timestamp }),
    unsqLen: row.numUnsent,
    ...(row.hasWindow === 0
      ? {}
      : { sndWl1: row.sndWl1, sndWnd: row.sndWnd, maxWindow: row.maxWindow, rcvWnd: row.rcvWnd, rcvWup: row.rcvWup }),
  });
}

export function writeStreams(output: Output, context: ImageSetIds): void {
  const { tables, foreign } = context;
  tables.tcpConnections.forEach((connection, row) => {
    // CRIU holds a connection that is over for a socket that never was connected.
    if (tables.sockets[connection.socket]?.state === "closed") return;
    const name = `tcp-stream-${context.socketInode(connection.socket).toString(16)}.img`;
    const writer = new ImageWriter(output, name, "tcp-stream");
    writer.entry(TcpStreamSchema, foreign.apply({ table: "tcpConnections", row }, "stream", TcpStreamSchema, streamToWire(connection)));
    writer.raw(connection.receiveQueue);
    writer.raw(connection.sendQueue);
    writer.flush();
  });
}
