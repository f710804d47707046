// SPDX-License-Identifier: Apache-2.0
/** What holds back the packets of TCP connections ↔ the inventory: CRIU takes away the table that has the dump's run id in its name. */
import { type NetworkLockRow, networkLockRow, type Tables } from "../../../src/gen/tables.js";
import type { Inventory } from "../gen/tree_pb.js";

/** network_lock_method. */
const method = { iptables: 0, nftables: 1, skip: 2 } as const;
const prefix = "CRIU-";
/** "inet " and the name of the table must fit into 31 characters; CRIU cuts what does not. */
const longestName = 26;

/** Row of the lock that a dump left; undefined if it left none. `root` is the process id of the root of the tree. */
export function lockFromWire(inventory: Inventory, root: number): NetworkLockRow | undefined {
  const number = Object.hasOwn(inventory, "networkLockMethod") ? inventory.networkLockMethod : method.iptables;
  if (number === method.skip) return undefined;
  if (number !== method.nftables) return networkLockRow({ lockMethod: "iptables" });
  const id = inventory.dumpCriuRunId.length > 0 ? Buffer.from(inventory.dumpCriuRunId).toString("latin1") : String(root);
  return networkLockRow({ lockMethod: "nftables", name: `${prefix}${id}`.slice(0, longestName) });
}

/** Method, and the run id where there is one. Without connections the method is that of a CRIU as it is built. */
export function lockToWire({ networkLocks, tcpConnections }: Pick<Tables, "networkLocks" | "tcpConnections">): {
  readonly method: number;
  readonly runId: string | undefined;
} {
  const lock = networkLocks.find(({ lockMethod }) => lockMethod === "nftables");
  if (lock?.name.startsWith(prefix)) return { method: method.nftables, runId: lock.name.slice(prefix.length) };
  const isIptables = networkLocks.some(({ lockMethod }) => lockMethod === "iptables");
  return { method: tcpConnections.length > 0 && !isIptables ? method.skip : method.iptables, runId: undefined };
}
