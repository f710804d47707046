// SPDX-License-Identifier: Apache-2.0
/** The files of a set: their names, their magic numbers, and opening them without trust. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { coreMagic, fdinfoMagic, imageMagicSize, pagesMagic, pipesMagic, pstreeMagic, shmemMagic } from "../../src/gen/crtools-2011.js";

export const formatId = "crtools";

/** Kinds of files, with their magic numbers. */
export const imageMagics = {
  pstree: pstreeMagic,
  core: coreMagic,
  pages: pagesMagic,
  "pages-shmem": pagesMagic,
  fdinfo: fdinfoMagic,
  pipes: pipesMagic,
  shmem: shmemMagic,
} as const;
export type ImageKind = keyof typeof imageMagics;

/** Largest file of those that are read whole (all but core and pages): a pipe holds at most a few mebibytes. */
const maxSmallBytes = 64n << 20n;
/** pid_max can be no larger (2^22). */
export const maxPid = 4_194_304;

export function imageName(kind: ImageKind, pid: number): string {
  return `${kind}-${pid}.img`;
}

/** Pids for which a set has a file of a kind, ascending. Names that are not the tool's are passed over. */
export function pidsWith(entries: readonly string[], kind: ImageKind): number[] {
  const pattern = new RegExp(`^${kind}-([1-9][0-9]{0,6})\\.img$`);
  return entries
    .flatMap((entry) => {
      const pid = Number(pattern.exec(entry)?.[1] ?? 0);
      return pid > 0 && pid <= maxPid ? [pid] : [];
    })
    .sort((a, b) => a - b);
}

export function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    throw new CrimgError("crtools.directory", `cannot list the image set: ${reason}`, {
      source: directory,
      format: formatId,
      cause,
      hint: "name the directory that holds pstree-PID.img",
    });
  }
}

/** Where the bytes behind the magic number are. */
export const bodyOffset = BigInt(imageMagicSize);

/** Opens a file of the set and checks its magic. @throws CrimgError `crtools.missing`, `crtools.magic` */
export function openImage(directory: string, kind: ImageKind, pid: number): FileBytes {
  const path = join(directory, imageName(kind, pid));
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) {
    const message = stat
      ? `${imageName(kind, pid)} is not a regular file`
      : `${imageName(kind, pid)} is missing: process ${pid} cannot be read without it`;
    throw new CrimgError("crtools.missing", message, {
      source: path,
      format: formatId,
      hint: "copy the whole directory that crtools -d wrote",
    });
  }
  const bytes = FileBytes.open(path);
  try {
    assertMagic(bytes, kind);
    return bytes;
  } catch (error) {
    bytes.close();
    throw error;
  }
}

function assertMagic(bytes: FileBytes, kind: ImageKind): void {
  const place = { source: bytes.name, offset: 0n, path: "magic", format: formatId };
  const expected = imageMagics[kind];
  const found = bytes.size >= bodyOffset ? new ByteReader(bytes.read(0n, imageMagicSize)).u4() : undefined;
  if (found === expected) return;
  const [want, have] = [hex(expected), found === undefined ? `${bytes.size} bytes in all` : hex(found)];
  throw new CrimgError("crtools.magic", `a ${kind} image must begin with ${want}, found ${have}`, {
    ...place,
    expected: want,
    actual: have,
  });
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}

/** The bytes behind the magic of a file that is read whole. @throws CrimgError `crtools.large` */
export function readSmallImage(directory: string, kind: ImageKind, pid: number): ByteReader {
  const bytes = openImage(directory, kind, pid);
  try {
    if (bytes.size > maxSmallBytes) {
      const message = `a ${kind} image must have at most ${maxSmallBytes} bytes, found ${bytes.size}`;
      throw new CrimgError("crtools.large", message, { source: bytes.name, format: formatId });
    }
    const body = bytes.read(bodyOffset, Number(bytes.size - bodyOffset));
    return new ByteReader(body, { source: bytes.name, base: bodyOffset, format: formatId });
  } finally {
    bytes.close();
  }
}

/** An error about entry `index` of a small image. */
export function entryError(reader: ByteReader, code: string, message: string, pos: number, path: string, hint?: string): CrimgError {
  return new CrimgError(code, message, { source: reader.place.source, offset: reader.offsetOf(pos), path, format: formatId, hint });
}
