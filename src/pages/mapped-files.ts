// SPDX-License-Identifier: Apache-2.0
/**
 * The files that an address space maps, opened to read their clean pages. A page of a file mapping that a checkpoint
 * does not store is the file's, so its bytes can be had only while that file is there unchanged.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { elfBuildId } from "../elf/build-id.js";
import { CrimgError } from "../errors/crimg-error.js";
import type { ObjectRow, Tables } from "../gen/tables.js";
import type { ByteRange, PageSource } from "../model/page-source.js";
import { placeOf } from "../model/root-files.js";
import { FilePageSource } from "./file-source.js";

/** A file of the host, or why it cannot stand in for the mapped one. */
export type MappedFile = { readonly pages: FilePageSource; readonly size: bigint } | { readonly refusal: string };

/** Opens mapped files once each, on first use. */
export class MappedFiles {
  readonly #files = new Map<number, MappedFile>();

  constructor(
    private readonly tables: Pick<Tables, "objects" | "mounts" | "namespaces" | "mountEntries">,
    /** Prefix of every path (a directory that holds the files), without a slash at its end. */
    private readonly rootDirectory = "",
  ) {}

  /** The file of an `objects` row, or the reason why it may not be used. */
  get(object: number): MappedFile {
    const known = this.#files.get(object);
    if (known) return known;
    const row = this.tables.objects[object];
    const file = row ? this.#open(row) : { refusal: `there is no object ${object}` };
    this.#files.set(object, file);
    return file;
  }

  /**
   * Fills `into` with bytes of the file from `offset`; bytes behind its end read as zero, as the kernel shows them.
   * Throws CrimgError `memory.file` where the file cannot be used.
   */
  read(object: number, offset: bigint, into: Uint8Array): void {
    const { pages, size } = this.#usable(object);
    const inFile = Number(clamp(size - offset, BigInt(into.length)));
    pages.read(offset, into.subarray(0, inFile));
    into.fill(0, inFile);
  }

  /** Where bytes of the file are to be copied from: less than asked for where it ends. Throws like `read`. */
  part(object: number, offset: bigint, length: bigint): ByteRange & { readonly source: PageSource } {
    const { pages, size } = this.#usable(object);
    return { source: pages, position: offset, length: clamp(size - offset, length) };
  }

  close(): void {
    for (const file of this.#files.values()) if ("pages" in file) file.pages.close();
    this.#files.clear();
  }

  #open(row: ObjectRow): MappedFile {
    const place = row.kind === "file" ? placeOf(this.tables, row.path) : row.path;
    if (place !== undefined) return openMapped(row, this.rootDirectory + place);
    return { refusal: `${row.path} lies in the tree's own root directory, which is not known here (--rootfs DIR)` };
  }

  #usable(object: number): Extract<MappedFile, { pages: FilePageSource }> {
    const file = this.get(object);
    if ("pages" in file) return file;
    throw new CrimgError("memory.file", `cannot read the mapped file: ${file.refusal}`, { path: `objects[${object}]` });
  }
}

function openMapped(row: ObjectRow, path: string): MappedFile {
  if (row.kind !== "file") return { refusal: `${row.path || "an object"} is a ${row.kind}, not a file of the host` };
  let fd: number;
  try {
    // O_NONBLOCK: the path may name a FIFO today, and opening that would wait for a writer.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (cause) {
    return { refusal: `${path} cannot be opened (${cause instanceof Error && "code" in cause ? String(cause.code) : String(cause)})` };
  }
  const stat = fstatSync(fd, { bigint: true });
  const refusal = !stat.isFile()
    ? `${path} is no regular file now`
    : row.size !== 0n && stat.size !== row.size
      ? `${path} has ${stat.size} bytes now, ${row.size} when it was mapped`
      : row.buildId.length > 0
        ? Buffer.compare(buildIdOf(fd, stat.size, path), row.buildId) !== 0
          ? `${path} is another build now`
          : undefined
        : row.mtimeNs !== 0n && stat.mtimeNs !== row.mtimeNs
          ? `${path} was modified since`
          : undefined;
  if (refusal === undefined) return { pages: new FilePageSource(path, fd), size: stat.size };
  closeSync(fd);
  return { refusal };
}

function buildIdOf(fd: number, size: bigint, path: string): Uint8Array {
  const pages = new FilePageSource(path, fd);
  return elfBuildId((offset, length) => {
    if (offset + BigInt(length) > size) return undefined;
    const bytes = new Uint8Array(length);
    pages.read(offset, bytes);
    return bytes;
  }, path);
}

/** `value`, but at least 0 and at most `most`. */
function clamp(value: bigint, most: bigint): bigint {
  return value < 0n ? 0n : value < most ? value : most;
}
