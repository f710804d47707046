// SPDX-License-Identifier: Apache-2.0
/**
 * Where page bytes are. The model never holds pages: an extent names a source and a position in it.
 */

import type { StoredChunks } from "./stored-chunks.js";

/** A run of bytes of a source. */
export interface ByteRange {
  /** Position in the source, bytes (a file offset, or a virtual address of a live process). */
  readonly position: bigint;
  /** Length, bytes. */
  readonly length: bigint;
}

/** Who looks after a copy in the background. */
export interface CopyWatch {
  /** Ends the copy early, without an error of its own. */
  readonly signal?: AbortSignal | undefined;
  /** Called now and then with the bytes copied so far; throws to end the copy with that error. */
  readonly onProgress?: ((bytes: bigint) => void) | undefined;
  /** Chunks of the file that is written: whoever copies bytes of one sets its checksum. */
  readonly chunks?: StoredChunks | undefined;
}

export interface PageSource {
  /** For messages: a file name, or "process 4711". */
  readonly name: string;
  /** Fills `into` from `position`. Throws CrimgError `pages.short` where fewer bytes are there. */
  read(position: bigint, into: Uint8Array): void;
  /**
   * Appends the ranges, one after the other, to the open file `fd` at `fileOffset`, without passing them through
   * JavaScript values one by one: copy_file_range, large reads and writes, or the dumped process itself.
   * Callers keep one call under some 64 MiB so that they can report progress and be interrupted between calls.
   */
  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void;
  /**
   * As copyTo, of any length, by other threads. Nothing else may happen to the source and the file until the promise
   * is settled. undefined, or not there at all: these ranges are to be copied with copyTo.
   */
  copyInBackground?(fd: number, fileOffset: bigint, ranges: readonly ByteRange[], watch: CopyWatch): Promise<void> | undefined;
  /** Releases descriptors. The source is unusable afterwards. */
  close(): void;
}
