// SPDX-License-Identifier: Apache-2.0
/**
 * Outputs that get their name only when they are whole. A file is written without a name (O_TMPFILE) and linked on
 * commit, where the filesystem has that; else under a temporary name beside the final one. A directory is written
 * under a temporary name and renamed. Until commit nothing is visible under the final name; discard leaves nothing.
 */
import { openFlags } from "../linux/open-flags.js";
import { randomDigits } from "../linux/random-name.js";
import {
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import type { Output, OutputFile } from "../adapter/output.js";
import { CrimgError } from "../errors/crimg-error.js";
import { writeAll } from "./write-all.js";
import { linkDescriptor } from "./link-descriptor.js";

export interface OutputOptions {
  readonly shape: "file" | "directory";
  /** Mode 0700 instead of 0600 for a file. */
  readonly isExecutable?: boolean;
  /** Replace what is there. A directory is replaced only if `isReplaceable` says that it is an image set. */
  readonly force?: boolean;
  readonly isReplaceable?: (path: string) => boolean;
}

/** An output that its maker commits or discards. Both may be called once; discard after commit does nothing. */
export interface PendingOutput extends Output {
  /** Ends the writing of a file: from here on it can be executed at the path that is returned, still without its name. */
  seal?(): string;
  /** Gives it its name. `sync` makes content and name durable first. Throws CrimgError `output.*`. */
  commit(options?: { readonly sync?: boolean }): void;
  discard(): void;
}

function existsError(path: string): CrimgError {
  return new CrimgError("output.exists", `${path} exists already`, { source: path, hint: "--force replaces it" });
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.crimg-${process.pid}-${randomDigits(4)}.tmp`);
}

function openFailed(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOENT" && code !== "ENOTDIR") return error;
  const folder = dirname(resolve(path));
  return new CrimgError("output.no-folder", `cannot write ${path}: there is no directory ${folder}`, {
    source: path,
    hint: "make the directory first",
    cause: error,
  });
}

function syncFolder(path: string): void {
  const fd = openSync(dirname(resolve(path)), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Opens an output; refuses at once what stands there and may not be replaced. */
export function openOutput(path: string, options: OutputOptions): PendingOutput {
  if (path === "-") {
    if (options.shape === "directory") {
      throw new CrimgError("output.not-a-stream", "this format is a directory and cannot go to standard output", {
        hint: "name a directory, or choose a format that is one file",
      });
    }
    return standardOutput();
  }
  const existing = existsSync(path) ? lstatSync(path) : undefined;
  if (options.shape === "directory") return directoryOutput(path, options);
  return withBeside(fileOutput(path, options, existing?.isDirectory()), options);
}

/** A file output that can have others beside it: they get their names first, so that the main one never lacks them. */
function withBeside(main: PendingOutput, options: OutputOptions): PendingOutput {
  const others: PendingOutput[] = [];
  return {
    ...main,
    beside(suffix) {
      const path = main.path + suffix;
      const other = fileOutput(path, { shape: "file", force: options.force }, existsSync(path) ? lstatSync(path).isDirectory() : undefined);
      others.push(other);
      return other.file();
    },
    commit(commitOptions) {
      for (const other of others) other.commit(commitOptions);
      main.commit(commitOptions);
    },
    discard() {
      for (const other of others) other.discard();
      main.discard();
    },
  };
}

/** Unnamed file → undefined where the filesystem cannot. */
function openUnnamed(folder: string, mode: number): number | undefined {
  try {
    return openSync(folder, openFlags.TMPFILE | constants.O_RDWR, mode);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EOPNOTSUPP" || code === "EISDIR" || code === "EINVAL" || code === "ENOTSUP") return undefined;
    throw error;
  }
}

function fileOutput(path: string, options: OutputOptions, isDirectory: boolean | undefined): PendingOutput {
  if (isDirectory === true) {
    throw new CrimgError("output.is-directory", `${path} is a directory`, { source: path, hint: "name a file in it" });
  }
  if (isDirectory === false && options.force !== true) throw existsError(path);
  const mode = options.isExecutable === true ? 0o700 : 0o600;
  let temporary: string | undefined;
  let fd: number;
  try {
    const unnamed = linkDescriptor.isAvailable() ? openUnnamed(dirname(resolve(path)), mode) : undefined;
    if (unnamed === undefined) {
      temporary = temporaryName(path);
      fd = openSync(temporary, "wx+", mode);
    } else fd = unnamed;
    fchmodSync(fd, mode); // whatever the umask is
  } catch (error) {
    throw openFailed(error, path);
  }
  let isOpen = true;
  const close = (): void => {
    if (isOpen) closeSync(fd);
    isOpen = false;
  };
  return {
    path,
    file: () => ({ fd, path }),
    seal() {
      // execve refuses a file that somebody has open for writing (ETXTBSY).
      const readable = openSync(`/proc/self/fd/${fd}`, constants.O_RDONLY);
      closeSync(fd);
      fd = readable;
      return `/proc/${process.pid}/fd/${fd}`;
    },
    create: () => {
      throw new Error("a file output has one file");
    },
    commit({ sync = false } = {}) {
      if (sync) fsyncSync(fd);
      if (temporary === undefined) {
        if (!linkDescriptor.link(fd, path)) {
          if (options.force !== true) throw existsError(path);
          // Only a name can replace a name; who is killed between these two calls leaves the whole file under this one.
          const name = temporaryName(path);
          linkDescriptor.link(fd, name);
          renameSync(name, path);
        }
      } else if (options.force === true) renameSync(temporary, path);
      else {
        // link, not rename: what appeared there meanwhile must not be overwritten
        try {
          linkSync(temporary, path);
        } catch (error) {
          throw (error as NodeJS.ErrnoException).code === "EEXIST" ? existsError(path) : error;
        }
        unlinkSync(temporary);
      }
      temporary = undefined;
      if (sync) syncFolder(path);
      close();
    },
    discard() {
      close();
      if (temporary !== undefined) rmSync(temporary, { force: true });
      temporary = undefined;
    },
  };
}

function assertName(name: string): void {
  if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\u0000")) {
    throw new Error(`not one path component: ${JSON.stringify(name)}`);
  }
}

function directoryOutput(path: string, options: OutputOptions): PendingOutput {
  const target = path.replace(/\/+$/, "") || path;
  const exists = existsSync(target);
  if (exists && !lstatSync(target).isDirectory()) {
    throw new CrimgError("output.is-file", `${target} is not a directory`, { source: target, hint: "name a new directory" });
  }
  const isEmpty = exists && readdirSync(target).length === 0;
  if (exists && !isEmpty) {
    if (options.force !== true) throw existsError(target);
    if (options.isReplaceable?.(target) !== true) {
      throw new CrimgError("output.not-an-image", `${target} is not an image set, so it will not be replaced`, {
        source: target,
        hint: "name a new directory",
      });
    }
  }
  const temporary = temporaryName(target);
  try {
    mkdirSync(temporary, { mode: 0o700 });
  } catch (error) {
    throw openFailed(error, target);
  }
  const files: OutputFile[] = [];
  let isDone = false;
  const closeFiles = (): void => {
    for (const file of files.splice(0)) closeSync(file.fd);
  };
  return {
    path: target,
    file: () => {
      throw new Error("a directory output has no single file");
    },
    create(name) {
      assertName(name);
      const file = { fd: openSync(join(temporary, name), "wx+", 0o600), path: join(target, name) };
      files.push(file);
      return file;
    },
    commit({ sync = false } = {}) {
      if (sync) for (const file of files) fsyncSync(file.fd);
      closeFiles();
      if (sync) syncFolder(join(temporary, "x"));
      if (exists && !isEmpty) {
        const aside = temporaryName(target);
        renameSync(target, aside);
        renameSync(temporary, target);
        rmSync(aside, { recursive: true, force: true });
      } else {
        if (isEmpty) rmdirSync(target);
        renameSync(temporary, target);
      }
      isDone = true;
      if (sync) syncFolder(target);
    },
    discard() {
      closeFiles();
      if (!isDone) rmSync(temporary, { recursive: true, force: true });
      isDone = true;
    },
  };
}

/** A file without a name, open for reading and writing. */
export function openScratch(folder: string): number {
  const fd = openUnnamed(folder, 0o600);
  if (fd !== undefined) return fd;
  const name = join(folder, `.crimg-${process.pid}-${randomDigits(8)}.tmp`);
  const named = openSync(name, "wx+", 0o600);
  unlinkSync(name);
  return named;
}

function writeOut(bytes: Uint8Array): void {
  if (writeAll(1, bytes)) return;
  throw new CrimgError("output.closed", "the reader of standard output went away before everything was written");
}

/** Bytes in their order go out at once; for who writes at offsets there is a nameless file, which is copied out on commit. */
function standardOutput(): PendingOutput {
  let open: number | undefined;
  const close = (): void => {
    if (open !== undefined) closeSync(open);
    open = undefined;
  };
  return {
    path: "standard output",
    file: () => ({ fd: (open ??= openScratch(tmpdir())), path: "standard output" }),
    stream: writeOut,
    create: () => {
      throw new Error("standard output is one file");
    },
    commit() {
      if (open === undefined) return;
      const chunk = Buffer.alloc(1 << 20);
      const { size } = fstatSync(open);
      for (let offset = 0; offset < size; ) {
        const count = readSync(open, chunk, 0, chunk.length, offset);
        if (count === 0) break;
        writeOut(chunk.subarray(0, count));
        offset += count;
      }
      close();
    },
    discard: close,
  };
}
