// SPDX-License-Identifier: Apache-2.0
/**
 * Where page bytes are. The model never holds pages: an extent names a source and a position in it.
 */

/** A run of bytes of a source. */
export interface ByteRange {
  /** Position in the source, bytes (a file offset, or a virtual address of a live process). */
  readonly position: bigint;
  /** Length, bytes. */
  readonly length: bigint;
}

/** What AbortSignal has, which takes 1.5 ms to load. */
export interface CopySignal {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Ends one copy early. */
export class CopyEnd implements CopySignal {
  aborted = false;
  #listener: (() => void) | undefined;

  addEventListener(_type: "abort", listener: () => void): void {
    this.#listener = listener;
  }

  removeEventListener(): void {
    this.#listener = undefined;
  }

  end(): void {
    this.aborted = true;
    this.#listener?.();
  }
}

/** Who looks after a copy in the background. */
export interface CopyWatch {
  /** Ends the copy early, without an error of its own. */
  readonly signal?: CopySignal | undefined;
  /** Called now and then with the bytes copied so far; throws to end the copy with that error. */
  readonly onProgress?: ((bytes: bigint) => void) | undefined;
}

/** How threads outside JavaScript read a source. */
export interface DirectReading {
  /** Read at the positions of ranges. */
  readonly fd: number;
  /** A process whose memory may be read by process_vm_readv, which is faster than its /proc/PID/mem. */
  readonly pid?: number | undefined;
  /** The file system copies blocks of it by itself (btrfs, xfs, NFS …). */
  readonly sharesBlocks?: boolean;
  /**
   * The checksum that bytes must have, 0 if none is known, below 0 if calls do not read them as they shall be: then `read`
   * has to. Absent: none is known.
   */
  expects?(position: number, length: number): number;
  /** Where the bytes that have one checksum with the one at a position end. */
  endOfChunk?(position: number): number;
}

/** Something that pages can be read from: a file, or a live process. */
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
  /** How other threads read it; absent or undefined: only `read` can. */
  direct?(): DirectReading | undefined;
  /** The parts of a range that are not holes, ascending; absent: there are none, or nobody knows. */
  dataRanges?(position: bigint, length: bigint): readonly ByteRange[];
  /**
   * Says that no page will be read any more: what keeps them only for this may begin to end.
   * @param mayWait whether what others are still doing with it may be waited for; if not, it has to be said again
   */
  release?(mayWait: boolean): void;
  /** Releases descriptors. The source is unusable afterwards. */
  close(): void;
}
