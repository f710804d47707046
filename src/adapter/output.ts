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
  /** A new file in the directory, for formats of shape "directory". `name` is one path component. */
  create(name: string): OutputFile;
}
