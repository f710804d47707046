// SPDX-License-Identifier: Apache-2.0
/**
 * Checkpoints as OCI images: `podman container checkpoint --create-image` makes one of a single layer, which is the archive that
 * --export writes; `ctr c checkpoint` an index whose descriptors name the set as a tar of its own. Here the blob with the set is
 * found in a layout, a folder or an uncompressed tar of one (image-layout.md of the OCI image specification).
 */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { CrimgError } from "../../../src/errors/crimg-error.js";
import { openImage } from "../wire/image-reader.js";
import { type Compression, compressionOf, looksLikeArchive, type ReadMore } from "./archive.js";

export const layoutNames = ["oci-layout", "index.json"] as const;

/** Where the archive with the set lies: a file, or a part of one. */
export interface Blob {
  readonly path: string;
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
}

const block = 512;
const maxJson = 4 << 20;
const maxMembers = 10_000;
const maxDescriptors = 1000;
const headBytes = 64 * 1024;

/** Whether a plain tar is an OCI layout: its members are all in blobs/, and index.json and oci-layout are among them. */
export function isOciTar(path: string): boolean {
  try {
    const members = membersOfTar(path);
    return layoutNames.every((name) => members.has(name));
  } catch {
    return false;
  }
}

/** The blob with the set of a layout. @throws CrimgError `criu.oci` */
function findBlob(path: string): Blob {
  const layout = statSync(path).isDirectory() ? new Folder(path) : new Tar(path);
  const digests = reachable(layout, path);
  for (const digest of digests) {
    const blob = layout.blob(digest);
    if (blob !== undefined && reading(blob, (read) => looksLikeArchive(read(0, headBytes), read))) return blob;
  }
  throw new CrimgError("criu.oci", "None of the blobs of this OCI image is the checkpoint of a container.", {
    source: path,
    format: "criu",
    hint: "An image of a program, not of a checkpoint? podman container checkpoint --create-image makes images of checkpoints.",
  });
}

interface Layout {
  json(name: string): unknown;
  blob(digest: string): Blob | undefined;
}

/** Digests that the index leads to, in its order. */
function reachable(layout: Layout, source: string): readonly string[] {
  const digests: string[] = [];
  const visit = (value: unknown, depth: number): void => {
    if (typeof value !== "object" || value === null || depth > 8) return;
    const { manifests, layers } = value as { readonly manifests?: unknown; readonly layers?: unknown };
    for (const list of [manifests, layers]) {
      if (!Array.isArray(list)) continue;
      for (const descriptor of list as readonly { readonly digest?: unknown; readonly mediaType?: unknown }[]) {
        const { digest, mediaType } = descriptor;
        if (typeof digest !== "string" || digests.includes(digest)) continue;
        if (digests.length >= maxDescriptors) throw new CrimgError("criu.oci", "The image has too many descriptors.", { source });
        digests.push(digest);
        if (typeof mediaType === "string" && mediaType.endsWith("+json")) visit(layout.json(nameOf(digest)), depth + 1);
      }
    }
  };
  visit(layout.json("index.json"), 0);
  return digests;
}

/** `blobs/sha256/HEX`; nothing else is followed. */
function nameOf(digest: string): string {
  return /^[a-z0-9]+:[0-9a-f]{32,128}$/.test(digest) ? `blobs/${digest.replace(":", "/")}` : "";
}

class Folder implements Layout {
  constructor(private readonly path: string) {}

  json(name: string): unknown {
    const path = join(this.path, name);
    if (name === "" || !existsSync(path) || statSync(path).size > maxJson) return undefined;
    return parsed(readFileSync(path));
  }

  blob(digest: string): Blob | undefined {
    const name = nameOf(digest);
    const path = join(this.path, name);
    return name === "" || !existsSync(path) ? undefined : { path, offset: 0, length: statSync(path).size };
  }
}

class Tar implements Layout {
  readonly #members: ReadonlyMap<string, Blob>;

  constructor(path: string) {
    this.#members = membersOfTar(path);
  }

  json(name: string): unknown {
    const member = this.#members.get(name);
    return member === undefined || member.length > maxJson ? undefined : parsed(bytesOf(member, 0, member.length));
  }

  blob(digest: string): Blob | undefined {
    return this.#members.get(nameOf(digest));
  }
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
}

/** Reads of a blob, by one opening. */
export function reading<Result>({ path, offset, length }: Blob, use: (read: ReadMore) => Result): Result {
  const fd = openImage(path, path, true);
  try {
    return use((from, count) => {
      const bytes = Buffer.alloc(Math.max(0, Math.min(count, length - from)));
      return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, offset + from));
    });
  } finally {
    closeSync(fd);
  }
}

function bytesOf(blob: Blob, from: number, count: number): Uint8Array {
  return reading(blob, (read) => read(from, count));
}

/** Regular members of a plain tar, by name; headers only are read. */
function membersOfTar(path: string): ReadonlyMap<string, Blob> {
  const members = new Map<string, Blob>();
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const header = Buffer.alloc(block);
    for (let at = 0; at + block <= size && members.size < maxMembers; ) {
      if (readSync(fd, header, 0, block, at) < block) break;
      const text = (start: number, length: number): string => header.toString("latin1", start, start + length).replace(/\0.*$/s, "");
      const name = text(0, 100);
      if (name === "" || text(257, 5) !== "ustar") break;
      const length = Number.parseInt(text(124, 12).trim() || "0", 8);
      if (!Number.isSafeInteger(length) || length < 0) break;
      const prefix = text(345, 155);
      const isFile = header[156] === 0x30 || header[156] === 0;
      if (isFile) members.set(`${prefix === "" ? "" : `${prefix}/`}${name}`.replace(/^(\.\/)+/, ""), { path, offset: at + block, length });
      at += block + Math.ceil(length / block) * block;
    }
  } finally {
    closeSync(fd);
  }
  return members;
}

/** An archive: a file, or the blob of an OCI image. */
export interface Archive {
  readonly blob: Blob;
  readonly compression: Compression;
  readonly head: Uint8Array;
}

/** The archive at a path; undefined for a directory that is no OCI layout. @throws CrimgError `criu.oci`, `criu.archive` */
export function archiveAt(path: string): Archive | undefined {
  const isDirectory = statSync(path).isDirectory();
  const isImage = isDirectory ? layoutNames.every((name) => existsSync(join(path, name))) : isOciTar(path);
  if (isDirectory && !isImage) return undefined;
  const blob = isImage ? findBlob(path) : { path, offset: 0, length: Number.POSITIVE_INFINITY };
  const head = bytesOf(blob, 0, headBytes);
  const compression = compressionOf(head);
  if (compression !== undefined) return { blob, compression, head };
  throw new CrimgError("criu.archive", "This is neither an image directory nor a tar of one.", { source: path, format: "criu" });
}
