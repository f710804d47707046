// SPDX-License-Identifier: Apache-2.0
/** Addresses of IP and netlink sockets. */

/** True if bind(2) or a connect gave the socket a port, an address, a netlink port or groups. */
export function isBound(address: Uint8Array): boolean {
  return address.subarray(2).some((byte) => byte !== 0);
}

/** `127.0.0.1:80`, `[::1]:80`. */
export function printableAddress(address: Buffer | number): string {
  if (typeof address === "number" || address.length < 8) return "?";
  const port = address.readUInt16BE(2);
  if (address.readUInt16LE(0) === 2) return `${[...address.subarray(4, 8)].join(".")}:${port}`;
  if (address.length < 24) return "?";
  const groups: string[] = [];
  for (let at = 8; at < 24; at += 2) groups.push(address.readUInt16BE(at).toString(16));
  return `[${groups.join(":").replace(/(^|:)0(:0)+(:|$)/, "::")}]:${port}`;
}
