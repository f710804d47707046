// SPDX-License-Identifier: Apache-2.0
/** Addresses of IP sockets in messages. */

/** `127.0.0.1:80`, `[::1]:80`; other families by number. */
export function printableAddress(address: Uint8Array): string {
  if (address.length < 8) return "no address";
  const view = new DataView(address.buffer, address.byteOffset, address.byteLength);
  const family = view.getUint16(0, true);
  if (family === 2) return `${[...address.subarray(4, 8)].join(".")}:${view.getUint16(2)}`;
  if (family !== 10 || address.length < 24) return `an address of family ${family}`;
  const groups: string[] = [];
  for (let at = 8; at < 24; at += 2) groups.push(view.getUint16(at).toString(16));
  return `[${groups.join(":").replace(/(^|:)0(:0)+(:|$)/, "::")}]:${view.getUint16(2)}`;
}
