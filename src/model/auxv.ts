// SPDX-License-Identifier: Apache-2.0
/** The auxiliary vector (include/uapi/linux/auxvec.h): pairs of type and value, ended by AT_NULL. */
export const auxType = {
  null: 0n,
  phdr: 3n,
  phnum: 5n,
  base: 7n,
  entry: 9n,
  platform: 15n,
  random: 25n,
  execfn: 31n,
  sysinfoEhdr: 33n,
} as const;

/** Values by type; of a type that stands twice the first. */
export function readAuxv(bytes: Uint8Array): ReadonlyMap<bigint, bigint> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Map<bigint, bigint>();
  for (let at = 0; at + 16 <= bytes.length; at += 16) {
    const type = view.getBigUint64(at, true);
    if (type === auxType.null) break;
    if (!values.has(type)) values.set(type, view.getBigUint64(at + 8, true));
  }
  return values;
}
