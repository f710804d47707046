// SPDX-License-Identifier: Apache-2.0
/** How connected unix sockets come to be again: which are made as pairs, which are accepted from a listener. Pure. */
import type { SocketRow } from "../../../gen/tables.js";

export const SOCK_DGRAM = 2;

/** How a socket is made. */
export type Origin =
  /** socket(2). */
  | { readonly how: "alone" }
  /** socketpair(2); `other` is the other end's row, or undefined if that end is gone. */
  | { readonly how: "pair"; readonly other?: number }
  /** Accepted from `listener`; `client` connects to it (undefined: a client that is gone). */
  | { readonly how: "accepted"; readonly listener: number; readonly client?: number }
  /** Connects to a socket of another program, by its name. */
  | { readonly how: "outside" }
  /** Connects to `listener` and is not accepted. */
  | { readonly how: "pending"; readonly listener: number }
  /** Connects to `listener`; `accepted` is the other end (undefined: it is gone). */
  | { readonly how: "client"; readonly listener: number; readonly accepted?: number };

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, index) => byte === b[index]);

/** The origin of every unix socket (rows of other families are undefined). */
export function planOrigins(sockets: readonly SocketRow[]): (Origin | undefined)[] {
  const origins: (Origin | undefined)[] = sockets.map(() => undefined);
  const listenerNamed = (name: Uint8Array, type: number): number | undefined => {
    if (name.length <= 2) return undefined;
    const found = sockets.findIndex(
      (row) => row.family === 1 && row.state === "listening" && row.type === type && sameBytes(row.localAddress, name),
    );
    return found < 0 ? undefined : found;
  };
  sockets.forEach((row, index) => {
    if (row.family !== 1 || origins[index]) return;
    if (row.state !== "connected") {
      origins[index] = { how: "alone" };
      return;
    }
    if (row.isOutside !== 0) {
      origins[index] = { how: "outside" };
      return;
    }
    const other = row.isPaired !== 0 && row.peer !== null ? row.peer : undefined;
    if (row.type === SOCK_DGRAM) {
      planDatagram(sockets, origins, index, row, other);
      return;
    }
    if (row.peer !== null && sockets[row.peer]?.state === "listening") {
      origins[index] = { how: "pending", listener: row.peer };
      return;
    }
    const own = listenerNamed(row.localAddress, row.type);
    const theirs =
      other === undefined
        ? listenerNamed(row.peerAddress, row.type)
        : listenerNamed(sockets[other]?.localAddress ?? new Uint8Array(0), row.type);
    if (own !== undefined) {
      origins[index] = { how: "accepted", listener: own, client: other };
      if (other !== undefined) origins[other] = { how: "client", listener: own, accepted: index };
    } else if (theirs !== undefined) {
      origins[index] = { how: "client", listener: theirs, accepted: other };
      if (other !== undefined) origins[other] = { how: "accepted", listener: theirs, client: index };
    } else {
      origins[index] = { how: "pair", other };
      if (other !== undefined) origins[other] = { how: "pair", other: index };
    }
  });
  return origins;
}

/** Datagram sockets with names connect by name; those without can only be pairs. */
function planDatagram(
  sockets: readonly SocketRow[],
  origins: (Origin | undefined)[],
  index: number,
  row: SocketRow,
  other: number | undefined,
): void {
  const peer = row.peer === null ? undefined : sockets[row.peer];
  if (row.peer === null && row.peerAddress.length <= 2) {
    origins[index] = { how: "pair" };
  } else if (peer === undefined || peer.localAddress.length > 2) {
    origins[index] = { how: "alone" };
  } else if (other !== undefined) {
    origins[index] = { how: "pair", other };
    origins[other] = { how: "pair", other: index };
  } else {
    // One way, to a socket without a name: it was the other end of a pair that then connected elsewhere.
    origins[index] = { how: "pair", other: row.peer as number };
    if (origins[row.peer as number] === undefined) origins[row.peer as number] = { how: "pair", other: index };
  }
}
