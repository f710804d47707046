// SPDX-License-Identifier: Apache-2.0
/**
 * Takes the image set out of an archive into a private directory. Members are hostile: nothing is written outside
 * that directory, names are single components of a set's own kind, links are refused, disk space is asked for first.
 */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
  ftruncateSync,
  utimesSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Header } from "tar-stream";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { maxZstdWindow, zstdWindow } from "../../../src/bytes/zstd-window.js";
import { engineFiles } from "./container.js";
import { isCarriedMember } from "./engine-members.js";
import { maxContent, type Member } from "./members.js";
import type { Archive } from "./oci.js";
import { sparseMemberOf } from "./sparse-member.js";
import { sharedMemoryTar, storedNameOf } from "./tmpfs.js";
import { inventoryName } from "../wire/image-types.js";
import { type Content, unpack } from "./unpack.js";

/** Names of a set. Everything else in an archive (root filesystem, logs, configuration) is passed over. */
const imageName =
  /^(?:[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.img|stats-dump|irmap-cache|tmpfs-[A-Za-z0-9.-]{1,40}\.tar\.gz\.img|descriptors\.json)$/;
const pagesName = /^pages-\d+\.img$/;
/** Directories of an archive that may hold a set; an engine's has one. */
const maxFolders = 64;
/** Images in all; each needs an inode here. */
const maxMembers = 1_000_000;

export interface Extracted {
  /** The directory with the set. */
  readonly directory: string;
  /** To be removed when the set is closed. */
  readonly temporary: string;
  /** All members, with the content of those that engines write. */
  readonly members: readonly Member[];
}

/**
 * Extracts the set of the archive at `path`.
 * @param maxPages files of pages above this become holes of their size, bytes: for whoever reads no memory
 * @param maxContents what an engine keeps beside the set is passed over above this, bytes
 * @throws CrimgError `criu.archive`; nothing is left behind then
 */
export async function extractSet(
  path: string,
  { blob, compression, head }: Archive,
  maxPages = Number.POSITIVE_INFINITY,
  maxContents = maxPages,
): Promise<Extracted> {
  if (compression === "zstd" && zstdWindow(head) > maxZstdWindow) {
    throw refuse(path, `The archive asks for a zstd window of ${zstdWindow(head)} bytes; no more than ${maxZstdWindow} are accepted.`);
  }
  const temporary = mkdtempSync(join(tmpdir(), "crimg-criu-"));
  try {
    const folders = new Folders(path, temporary, maxPages, maxContents);
    await unpack(blob, compression, (header, content) => folders.member(header, content));
    const directory = folders.withSet();
    if (directory === undefined) {
      throw refuse(path, `The archive has no ${inventoryName}: it holds no image set.`);
    }
    return { directory, temporary, members: folders.noted };
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    if (error instanceof CrimgError) throw error;
    throw refuse(path, `The archive cannot be unpacked: ${error instanceof Error ? error.message : String(error)}.`, undefined, error);
  }
}

function refuse(source: string, message: string, member?: string, cause?: unknown): CrimgError {
  return new CrimgError("criu.archive", message, { source, path: member, format: "criu", cause });
}

/** The directories of an archive, each in a numbered directory here. */
class Folders {
  readonly #folders = new Map<string, { directory: string; names: Set<string> }>();
  #members = 0;
  /** Bytes of what is carried along (engine-members.ts). */
  #carried = 0;
  /** Names of what an engine put beside the set. */
  readonly #beside = new Set<string>();
  readonly noted: Member[] = [];

  constructor(
    readonly path: string,
    readonly temporary: string,
    private readonly maxPages: number,
    private readonly maxContents: number,
  ) {}

  async member(header: Header, stream: Content): Promise<void> {
    const path = header.name.replace(/^(\.\/)+/, "");
    const content = await this.#take(header, path, stream);
    this.noted.push({ name: path, size: header.size ?? 0, mtime: header.mtime?.getTime(), ...(content && { content }) });
  }

  /** Returns the content of what an engine wrote. */
  async #take(header: Header, path: string, stream: Content): Promise<Buffer | undefined> {
    const slash = path.lastIndexOf("/");
    const [folder, name] = [path.slice(0, slash + 1), path.slice(slash + 1)];
    const size = header.size ?? 0;
    const isCarried = isCarriedMember(path) && size <= maxContent && (this.#carried += size) <= maxContent;
    const isEngines = isCarried || (engineFiles.has(path) && size <= maxContent);
    const beside = header.type === "file" ? storedNameOf(path) : undefined;
    if (beside !== undefined && !this.#beside.has(beside) && (path === sharedMemoryTar || (header.size ?? 0) <= this.maxContents)) {
      this.#requireSpace(header);
      await store(join(this.temporary, beside), stream);
      this.#beside.add(beside);
      return undefined;
    }
    if (!imageName.test(name)) {
      if (isEngines) return await bytesOf(stream);
      await drain(stream);
      return undefined;
    }
    // GNU's old form of sparse members has no type that tar-stream knows (null); its newer forms are files with keys of their own.
    if (header.type === null || sparseMemberOf(header.name, header.pax) !== undefined) {
      throw new CrimgError("criu.archive", "The member is sparse, and would be read without its holes.", {
        source: this.path,
        path: header.name,
        format: "criu",
        hint: "Unpack the archive with tar, and name the directory; or pack it again without --sparse (-S).",
      });
    }
    if (header.type !== "file" && header.type !== "contiguous-file") {
      throw refuse(this.path, `The member is a ${header.type}, not a file.`, header.name);
    }
    if (++this.#members > maxMembers) throw refuse(this.path, `The archive has more than ${maxMembers} images.`);
    const { directory, names } = this.#folder(folder);
    if (names.has(name)) throw refuse(this.path, "The member occurs twice.", header.name);
    names.add(name);
    if (pagesName.test(name) && (header.size ?? 0) > this.maxPages) {
      await drain(stream);
      writeFileSync(join(directory, name), "", { mode: 0o600 });
      truncateSync(join(directory, name), header.size ?? 0);
    } else {
      this.#requireSpace(header);
      await store(join(directory, name), stream);
    }
    // The time of the set is that of its members, not of the reading.
    if (header.mtime) utimesSync(join(directory, name), header.mtime, header.mtime);
    return isEngines ? readFileSync(join(directory, name)) : undefined;
  }

  #folder(folder: string): { directory: string; names: Set<string> } {
    const known = this.#folders.get(folder);
    if (known) return known;
    if (this.#folders.size >= maxFolders) throw refuse(this.path, `Images are in more than ${maxFolders} directories of the archive.`);
    const made = { directory: join(this.temporary, String(this.#folders.size)), names: new Set<string>() };
    mkdirSync(made.directory, { mode: 0o700 });
    this.#folders.set(folder, made);
    return made;
  }

  #requireSpace(header: Header): void {
    const { bavail, bsize } = statfsSync(this.temporary);
    const free = bavail * bsize;
    if ((header.size ?? 0) > free) {
      throw new CrimgError("criu.archive", `The member has ${header.size} bytes, but ${free} are free in ${tmpdir()}.`, {
        source: this.path,
        path: header.name,
        format: "criu",
        hint: "Set TMPDIR to a directory with more room, or unpack the archive yourself.",
      });
    }
  }

  /** The directory that holds a set; the shallowest if there are several. */
  withSet(): string | undefined {
    const sets = [...this.#folders].filter(([, { names }]) => names.has(inventoryName) && names.has("pstree.img"));
    const depth = (folder: string): number => folder.split("/").length;
    sets.sort(([left], [right]) => depth(left) - depth(right));
    const directory = sets[0]?.[1].directory;
    // It lies beside the set; here it is one of its files.
    for (const name of directory === undefined ? [] : this.#beside) renameSync(join(this.temporary, name), join(String(directory), name));
    return directory;
  }
}

async function drain(stream: Content): Promise<void> {
  for await (const piece of stream) void piece;
}

async function bytesOf(stream: Content): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) if (piece instanceof Uint8Array) pieces.push(piece);
  return Buffer.concat(pieces);
}

const pageBytes = 4096;
const zeroPage = Buffer.alloc(pageBytes);

/** Writes a member, leaving holes for pieces of zeros. */
async function store(path: string, stream: Content): Promise<void> {
  const fd = openSync(path, "wx", 0o600);
  try {
    let at = 0;
    for await (const piece of stream) {
      if (!(piece instanceof Uint8Array)) throw new TypeError("a member is not bytes");
      writeSparse(fd, Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength), at);
      at += piece.length;
    }
    ftruncateSync(fd, at);
  } finally {
    closeSync(fd);
  }
}

function writeSparse(fd: number, piece: Buffer, position: number): void {
  let start = 0;
  for (let at = 0; at < piece.length; at += pageBytes) {
    const end = Math.min(at + pageBytes, piece.length);
    if (end - at === pageBytes && piece.compare(zeroPage, 0, pageBytes, at, end) === 0) {
      writeAll(fd, piece.subarray(start, at), position + start);
      start = end;
    }
  }
  writeAll(fd, piece.subarray(start), position + start);
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
