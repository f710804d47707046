// SPDX-License-Identifier: Apache-2.0
/**
 * The TCP connections of a tree: which have both ends in it, which reach outside, and what is in their queues.
 *
 * The two ends of one are not looked at in one moment, and what is under way between them moves on although the programs stand
 * still. So all send queues are read before any receive queue: bytes that go over in between are in both, as if their
 * acknowledgement had been lost, and never in none. Then the sender is told of them.
 */
import { networkLockRow, type SocketRow, type TcpConnectionRow, type TcpState } from "../../../gen/tables.js";
import { errno, trySocketAddress } from "../../../native/index.js";
import { type Collecting, type Description, refuseDescription } from "../../../dump/fds/context.js";
import type { Ends } from "../../../linux/nftables.js";
import { asPeerHasIt, connectionKey, endsOf } from "../../../state/tcp.js";
import { printableAddress } from "./dump-address.js";
import { targetOfConnecting } from "./dump-connecting.js";
import { ConnectionHold } from "./dump-hold.js";
import { receiving, sending } from "./dump-tcp.js";

/** A connected TCP socket of the tree. */
export interface Connected {
  readonly description: Description;
  readonly state: TcpState;
}

/** What is known of a connection. */
export interface Connection {
  readonly row: TcpConnectionRow;
  /** Inode of the other end, if that is in the tree. */
  readonly peer: number | undefined;
}

interface Found extends Connected {
  readonly ends: Ends | undefined;
  readonly peer: number | undefined;
}

/** Looks at all connections of the tree that are kept; `closing` are given up. By inode. */
export function collectConnections(
  collecting: Collecting,
  connected: readonly Connected[],
  closing: readonly Description[],
): Map<number, Connection> {
  const { context, options } = collecting;
  const hold = new ConnectionHold();
  context.holdUntilEnd("tcp", hold);
  for (const { fd } of closing) hold.addClosing(fd);
  if (connected.length === 0) return new Map();
  const found = withPeers(connected);
  const outside = found.filter(({ peer }) => peer === undefined);
  if (!options.tcpEstablished) for (const one of outside) refuseOutside(one);
  // CRIU's restore makes one end after the other, and lets what they send out: nobody may answer.
  const locked = options.to === "criu" ? found : outside;
  if (locked.length > 0 && options.networkLock !== "skip") {
    const name = lockName();
    hold.lock(
      (protocol) => context.view.netlink(protocol),
      locked.flatMap(({ ends }) => (ends === undefined ? [] : [ends])),
      name,
    );
    context.tables.networkLocks.push(networkLockRow({ lockMethod: "nftables", name }));
  }
  const halves = found.map((one) => sending(one.description, one.state));
  const whole = new Map(
    found.map(({ description, peer }, index) => {
      hold.add(description.fd);
      return [Number(description.stat.ino), { row: receiving(description, halves[index] ?? {}), peer }];
    }),
  );
  return new Map([...whole].map(([inode, { row, peer }]) => [inode, { row: asPeerHasIt(row, whole.get(peer ?? -1)?.row), peer }]));
}

function withPeers(connected: readonly Connected[]): Found[] {
  const all = connected.map((one) => ({ ...one, ends: endsOf(addressesOf(one.description)) }));
  const byEnds = new Map(all.flatMap(({ ends, description }) => (ends ? [[connectionKey(ends), Number(description.stat.ino)]] : [])));
  return all.map((one) => ({ ...one, peer: one.ends && byEnds.get(connectionKey(one.ends, true)) }));
}

function refuseOutside({ description, state }: Found): never {
  const { localAddress, peerAddress } = addressesOf(description);
  const ends = `${printableAddress(Buffer.from(localAddress))} to ${printableAddress(Buffer.from(peerAddress))}`;
  refuseDescription(
    description,
    "tcp_connection",
    `a TCP connection (${state.toUpperCase()}, ${ends}) whose other end is outside the tree`,
    "Give --tcp-established to keep it (its peer waits until the resume), or --tcp-close: then the program finds it closed.",
  );
}

const bytesOf = (address: Buffer | Uint8Array | number): Uint8Array =>
  typeof address === "number" ? new Uint8Array(0) : Uint8Array.from(address);

/** As getsockname tells it. */
export function localAddressOf({ fd }: Description): Uint8Array {
  return bytesOf(trySocketAddress(fd, "getsockname"));
}

/** As getsockname and getpeername tell them. */
export function addressesOf(description: Description): Pick<SocketRow, "localAddress" | "peerAddress"> {
  const known = trySocketAddress(description.fd, "getpeername");
  const peer = known === -errno.ENOTCONN ? (targetOfConnecting(description) ?? known) : known;
  return { localAddress: localAddressOf(description), peerAddress: bytesOf(peer) };
}

/**
 * CRIU takes a table away by the run id of its images, and cuts its name ("inet CRIU-" and the id) to 31 characters: an image
 * set that is made of this image is let go by CRIU too.
 */
function lockName(): string {
  return `CRIU-crimg${process.pid.toString(36)}${Date.now().toString(36)}`.slice(0, 26);
}
