// SPDX-License-Identifier: Apache-2.0
/** The next multiple of `alignment`, or the value itself if it is one. */
export function alignUp(value: bigint, alignment: bigint): bigint {
  return ((value + alignment - 1n) / alignment) * alignment;
}
