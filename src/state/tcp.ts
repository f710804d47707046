// SPDX-License-Identifier: Apache-2.0
/** Facts of TCP that dump, lowering, validation and formats share: states, queues and ends of connections. */
import type { SocketRow, TcpConnectionRow, TcpState } from "../gen/tables.js";
import type { Ends } from "../linux/nftables.js";

/** Our FIN is in the send queue, or was acknowledged: it has a sequence number. */
const sentFin: ReadonlySet<TcpState> = new Set(["fin_wait1", "fin_wait2", "closing", "last_ack", "ended"]);
/** The peer's FIN has come. */
const receivedFin: ReadonlySet<TcpState> = new Set(["close_wait", "last_ack", "closing", "ended"]);
/** Our FIN was acknowledged. */
const acknowledgedFin: ReadonlySet<TcpState> = new Set(["fin_wait2", "ended"]);

export const hasSentFin = (state: TcpState): boolean => sentFin.has(state);
export const hasReceivedFin = (state: TcpState): boolean => receivedFin.has(state);
export const isFinAcknowledged = (state: TcpState): boolean => acknowledgedFin.has(state);

/** Sequence number of the first byte of each queue (of what would be the first, if it is empty). */
export function firstBytes(row: TcpConnectionRow): { readonly receive: number; readonly send: number } {
  const receiveEnd = row.receiveSeq - (hasReceivedFin(row.tcpState) ? 1 : 0);
  const sendEnd = row.sendSeq - (hasSentFin(row.tcpState) ? 1 : 0);
  return { receive: (receiveEnd - row.receiveQueue.length) >>> 0, send: (sendEnd - row.sendQueue.length) >>> 0 };
}

/**
 * A connection whose other end is in the tree, too: what that has received counts as acknowledged, and what was on its way has not
 * been sent. Packets go on between the two while one is looked at after the other, so that the sender may not know of the
 * last of them: resumed like that it would take the acknowledgements of its peer for forged (RFC 9293, 3.10.7.4), and wait for
 * others. What it takes for sent, and nobody has received, it would send again only after seconds.
 */
export function asPeerHasIt(row: TcpConnectionRow, peer: TcpConnectionRow | undefined): TcpConnectionRow {
  if (peer === undefined || hasSentFin(row.tcpState)) return row;
  const received = (peer.receiveSeq - firstBytes(row).send) | 0;
  if (received < 0 || received > row.sendQueue.length) return row;
  const sendQueue = row.sendQueue.subarray(received);
  return { ...row, sendQueue, numUnsent: sendQueue.length };
}

/** A connection as its packets have it: IPv4 for addresses that are mapped into IPv6. Undefined for what is no pair of addresses. */
export function endsOf({ localAddress, peerAddress }: Pick<SocketRow, "localAddress" | "peerAddress">): Ends | undefined {
  const [source, target] = [endOf(localAddress), endOf(peerAddress)];
  if (source === undefined || target === undefined || source.address.length !== target.address.length) return undefined;
  return { source: source.address, sourcePort: source.port, target: target.address, targetPort: target.port };
}

/** Address and port of a sockaddr_in or sockaddr_in6. */
export function endOf(address: Uint8Array): { readonly address: Uint8Array; readonly port: number } | undefined {
  const family = (address[0] ?? 0) | ((address[1] ?? 0) << 8);
  const port = ((address[2] ?? 0) << 8) | (address[3] ?? 0);
  if (family === 2 && address.length >= 8) return { address: address.subarray(4, 8), port };
  if (family !== 10 || address.length < 24) return undefined;
  const bytes = address.subarray(8, 24);
  return { address: isMapped(bytes) ? bytes.subarray(12) : bytes, port };
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

/** Text that two ends of one connection have in common, each seen from its own side (`isReversed`: from the other). */
export function connectionKey({ source, sourcePort, target, targetPort }: Ends, isReversed = false): string {
  const own = `${Buffer.from(source).toString("hex")}:${sourcePort}`;
  const other = `${Buffer.from(target).toString("hex")}:${targetPort}`;
  return isReversed ? `${other} ${own}` : `${own} ${other}`;
}
