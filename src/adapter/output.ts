// SPDX-License-Identifier: Apache-2.0
/** Where an adapter writes: a file or a directory that gets its name only when it is whole. */

export interface OutputFile {
  /** Open for reading and writing. */
  readonly fd: number;
  /** For messages: the final path. */
  readonly path: string;
}

export interface Output {
  /** For messages: the final path. */
  readonly path: string;
  /** The file itself, for formats of shape "file". */
  file(): OutputFile;
  /**
   * Takes the bytes of the file in their order, instead of `file`. Absent where there are places to write to.
   * @throws CrimgError `output.closed` when nobody reads them any more
   */
  stream?(bytes: Uint8Array): void;
  /**
   * A second file beside the first, named like it with `suffix`, for formats of shape "file" that keep their pages
   * apart. Absent where there is no beside: standard output.
   */
  beside?(suffix: string): OutputFile;
  /** A new file in the directory, for formats of shape "directory". `name` is one path component. */
  create(name: string): OutputFile;
}
