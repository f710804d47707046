// SPDX-License-Identifier: Apache-2.0
/** Flags as JSON has them, in documents and in `crimg show --json` alike. */

/** Names of the set bits in the order of the specification, or undefined if one of them has no name. */
export function flagNames(flags: Readonly<Record<string, number>>, value: bigint): string[] | undefined {
  const names: string[] = [];
  let left = value;
  for (const [name, bit] of Object.entries(flags)) {
    if ((value & (1n << BigInt(bit))) === 0n) continue;
    names.push(name);
    left &= ~(1n << BigInt(bit));
  }
  return left === 0n ? names : undefined;
}
