// SPDX-License-Identifier: Apache-2.0
/** The sample of an opened file's bytes that tells a file that only grew from one with other content (objects.sample). */

/** Bytes at either end. */
export const sampleEdge = 128n;

/** A range of a file and where in the sample its bytes are. */
export interface SamplePart {
  readonly offset: bigint;
  readonly length: number;
  readonly at: number;
}

/** The ranges that the sample of a file of that size consists of. */
export function samplePartsOf(size: bigint): readonly SamplePart[] {
  if (size <= 0n) return [];
  if (size <= 2n * sampleEdge) return [{ offset: 0n, length: Number(size), at: 0 }];
  const edge = Number(sampleEdge);
  return [
    { offset: 0n, length: edge, at: 0 },
    { offset: size - sampleEdge, length: edge, at: edge },
  ];
}
