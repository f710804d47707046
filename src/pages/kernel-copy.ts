// SPDX-License-Identifier: Apache-2.0
/** copy_file_range and SEEK_DATA, with the answer "not at all" where the addon or the filesystem lacks them. */
import type { ByteRange } from "../model/page-source.js";
import { addon } from "../native/addon.js";
import { tryCopyRange, tryFstatfsType, trySeekData, trySeekHole } from "../native/files.js";
import { errno } from "../linux/errno.js";

/** One call moves at most this many bytes (MAX_RW_COUNT of the kernel, page-aligned). */
const maxCallBytes = 0x7ffff000n;

let isThere: boolean | undefined;

/** Whether raw calls can be made: converting works without the addon, only slower. */
export function canCallDirectly(): boolean {
  if (isThere === undefined) {
    try {
      addon();
      isThere = true;
    } catch {
      isThere = false;
    }
  }
  return isThere;
}

/**
 * Filesystems that copy a range without moving its bytes: by sharing blocks (btrfs, xfs, bcachefs, ocfs2) or on the
 * server (NFS, CIFS, Ceph). Elsewhere copy_file_range costs the processor as much as reads and writes through a buffer that
 * stays in its cache (measured on ext4, Linux 6.18), and holds the written file all the while, so that threads cannot share
 * the work.
 */
const copyingFilesystems: ReadonlySet<bigint> = new Set([
  0x9123683en,
  0x58465342n,
  0xca451a4en,
  0x7461636fn,
  0x6969n,
  0xff534d42n,
  0xfe534d42n,
  0x00c36400n,
]);

/** Whether copy_file_range is worth a try on this file. */
export function canShareBlocks(fd: number): boolean {
  if (!canCallDirectly()) return false;
  const type = tryFstatfsType(fd);
  return typeof type === "bigint" && copyingFilesystems.has(type);
}

/**
 * Copies as much of a range as the kernel does by itself.
 * @returns bytes copied from the start of the range; less than asked for on EXDEV, EINVAL and the like
 */
export function copyRangeInKernel(from: number, position: bigint, to: number, target: bigint, length: bigint): bigint {
  if (!canCallDirectly()) return 0n;
  let done = 0n;
  while (done < length) {
    const left = length - done;
    const count = tryCopyRange(from, position + done, to, target + done, Number(left < maxCallBytes ? left : maxCallBytes));
    if (count === -errno.EINTR) continue;
    if (count <= 0) break;
    done += BigInt(count);
  }
  return done;
}

/**
 * The parts of a range of a file that hold data.
 * @returns ascending ranges; the whole range where the filesystem does not say
 */
export function dataRanges(fd: number, position: bigint, length: bigint): readonly ByteRange[] {
  const end = position + length;
  if (length === 0n || !canCallDirectly()) return length === 0n ? [] : [{ position, length }];
  const ranges: ByteRange[] = [];
  for (let at = position; at < end; ) {
    const data = trySeekData(fd, at);
    if (data === BigInt(-errno.ENXIO)) {
      // No data behind `at`: a hole up to the end of the file, or nothing there at all, which a read must report.
      break;
    }
    if (data < 0n) return [{ position, length }];
    if (data >= end) break;
    const hole = trySeekHole(fd, data);
    if (hole < 0n) return [{ position, length }];
    ranges.push({ position: data, length: (hole < end ? hole : end) - data });
    at = hole;
  }
  return ranges;
}
