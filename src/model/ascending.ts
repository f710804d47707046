// SPDX-License-Identifier: Apache-2.0
/** Places in lists that ascend, found by halving: of mappings and extents there may be hundreds of thousands. */

/** The first of `count` indices from which on `isSo` holds, which it does for none before; `count` if for none. */
export function firstWhere(count: number, isSo: (index: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isSo(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Index of the first of ranges (ascending, disjoint) that ends behind an address. */
export function firstEndingAfter(ranges: readonly { readonly end: bigint }[], address: bigint): number {
  return firstWhere(ranges.length, (index) => (ranges[index]?.end ?? 0n) > address);
}

/** Index of the first of extents (ascending, disjoint) that ends behind an address. */
export function firstExtentEndingAfter(extents: readonly { readonly address: bigint; readonly length: bigint }[], address: bigint): number {
  return firstWhere(extents.length, (index) => {
    const extent = extents[index];
    return extent !== undefined && extent.address + extent.length > address;
  });
}
