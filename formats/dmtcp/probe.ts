// SPDX-License-Identifier: Apache-2.0
/** Whether a gzip stream begins with an image. */
import { constants, inflateRawSync } from "node:zlib";
import { imageMagic } from "./image.js";

const flagExtra = 4;
const flagName = 8;
const flagComment = 16;
const flagHeaderCrc = 2;

/** @param head first bytes of a file, at least a few KiB of them */
export function isGzipOfImage(head: Buffer): boolean {
  const start = deflateStart(head);
  if (start === undefined) return false;
  try {
    // A stream that is cut off gives what it has with Z_SYNC_FLUSH. The limit is no danger: the input is 64 KiB.
    const bytes = inflateRawSync(head.subarray(start, start + 4096), { finishFlush: constants.Z_SYNC_FLUSH });
    return bytes.toString("latin1", 0, imageMagic.length) === imageMagic;
  } catch {
    return false;
  }
}

/** Length of the gzip header (RFC 1952, 2.3). */
function deflateStart(head: Buffer): number | undefined {
  if (head.length < 18 || head.readUInt16BE(0) !== 0x1f8b || head[2] !== 8) return undefined;
  const flags = head[3] ?? 0;
  let at = 10;
  if ((flags & flagExtra) !== 0) at += 2 + (at + 2 <= head.length ? head.readUInt16LE(at) : 0);
  for (const flag of [flagName, flagComment]) {
    if ((flags & flag) === 0) continue;
    const end = head.indexOf(0, at);
    if (end < 0) return undefined;
    at = end + 1;
  }
  if ((flags & flagHeaderCrc) !== 0) at += 2;
  return at < head.length ? at : undefined;
}
