// SPDX-License-Identifier: Apache-2.0
/** What all collectors of IP and netlink sockets share. */
import type { SocketRow } from "../../../gen/tables.js";
import { trySocketAddress } from "../../../native/index.js";
import type { Description } from "../../../dump/fds/context.js";
import { isBound } from "./dump-address.js";

/** What SO_DOMAIN, SO_TYPE and SO_PROTOCOL say. */
export interface SocketKind {
  readonly family: number;
  readonly type: number;
  readonly protocol: number;
}

/** Inode, kind, and the address that it is bound to. */
export function commonFields({ stat, fd }: Description, kind: SocketKind): Partial<SocketRow> {
  const local = trySocketAddress(fd, "getsockname");
  return {
    ino: stat.ino,
    ...kind,
    localAddress: typeof local === "number" || !isBound(local) ? new Uint8Array(0) : Uint8Array.from(local),
  };
}
