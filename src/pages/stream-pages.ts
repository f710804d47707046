// SPDX-License-Identifier: Apache-2.0
/** Stored pages in the order of the image, through one buffer, for outputs that have no places. */
import { chunkSize, cutExtent } from "../model/stored-chunks.js";
import { checksumOf } from "./checksum.js";
import type { StoredRuns, StoreRange } from "./store-pages.js";

/**
 * Writes what `runs` say that is stored of the ranges, from `runs` of the same ranges where their first byte is next.
 * @returns the checksums of the chunks as they were written, ascending
 * @throws what the sources, `write` and `onProgress` throw
 */
export function streamPages(
  write: (bytes: Uint8Array) => void,
  ranges: readonly StoreRange[],
  runs: StoredRuns,
  onProgress: (bytes: bigint) => void,
): number[] {
  const buffer = new Uint8Array(Number(chunkSize));
  const sums: number[] = [];
  let written = 0n;
  for (let run = 0; run < runs.count; run++) {
    if ((runs.offset[run] ?? -1) < 0) continue;
    const { source, position, length, address } = ranges[runs.range[run] ?? 0] as StoreRange;
    const skip = BigInt(runs.skip[run] ?? 0);
    cutExtent({ address: address + skip, length: BigInt(runs.length[run] ?? 0) }, (done, size) => {
      const chunk = buffer.subarray(0, size);
      const at = skip + BigInt(done);
      // What the last page of a file lacks is zero.
      const there = Number(length - at < BigInt(size) ? length - at : BigInt(size));
      chunk.fill(0, there);
      source.read(position + at, chunk.subarray(0, there));
      sums.push(checksumOf(chunk));
      write(chunk);
      written += BigInt(size);
      onProgress(written);
    });
  }
  return sums;
}
