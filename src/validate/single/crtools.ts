// SPDX-License-Identifier: Apache-2.0
/** Single files of a crtools set. */
import { readFdinfo, readPipes } from "../../../formats/crtools/descriptors.js";
import { type ImageKind, bodyOffset, formatId, imageMagics } from "../../../formats/crtools/image-files.js";
import { readPstree, treeOf } from "../../../formats/crtools/pstree.js";
import { checkShmem } from "../../../formats/crtools/shmem.js";
import { ByteReader } from "../../bytes/byte-reader.js";
import type { RandomBytes } from "../../bytes/random-bytes.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { coreEntrySize, readCoreEntry } from "../../gen/ckpt-elf-v1.js";
import { readVmaList, sortPages } from "../../rfc2011/core-image.js";
import { readPageList } from "../../rfc2011/page-list.js";

/** Largest file that is read whole. */
const maxSmallBytes = 64n << 20n;

/** The kind with this magic; `pages` is also the kind of pages-shmem, which has the same one. */
export function crtoolsKind(magic: number): ImageKind | undefined {
  return (Object.keys(imageMagics) as ImageKind[]).find((kind) => imageMagics[kind] === magic);
}

function trailing(bytes: RandomBytes, end: bigint): void {
  if (end === bytes.size) return;
  throw new CrimgError("crtools.trailing", `${bytes.size - end} bytes follow the end of the list`, {
    source: bytes.name,
    format: formatId,
    offset: end,
    expected: `${end} bytes`,
    actual: `${bytes.size} bytes`,
  });
}

function checkCore(bytes: RandomBytes): void {
  const place = { source: bytes.name, base: bodyOffset, format: formatId, path: "core" };
  if (bytes.size < bodyOffset + BigInt(coreEntrySize)) {
    throw new CrimgError("crtools.core", `a core entry has ${coreEntrySize} bytes, found ${bytes.size - bodyOffset}`, {
      source: bytes.name,
      format: formatId,
      offset: bodyOffset,
      path: "core",
    });
  }
  const reader = new ByteReader(bytes.read(bodyOffset, coreEntrySize), place);
  const core = readCoreEntry(reader);
  for (const [field, offset, value] of [
    ["version", 0, core.header.version],
    ["arch", 2, core.header.arch],
  ] as const) {
    if (value === 1) continue;
    throw new CrimgError("crtools.core", `${field} must be 1, found ${value}`, {
      source: bytes.name,
      format: formatId,
      offset: bodyOffset + BigInt(offset),
      path: `core.header.${field}`,
      expected: "1",
      actual: String(value),
    });
  }
  const { vmas, endOffset } = readVmaList(bytes, bodyOffset + BigInt(coreEntrySize), formatId);
  const list = readPageList({ bytes, offset: endOffset, limit: bytes.size, format: formatId, path: "pages" });
  sortPages(list, vmas, () => false, { source: bytes.name, path: "pages", format: formatId });
  trailing(bytes, list.endOffset);
}

function small(bytes: RandomBytes): ByteReader {
  if (bytes.size > maxSmallBytes) {
    throw new CrimgError("crtools.large", `an image of this kind has at most ${maxSmallBytes} bytes, found ${bytes.size}`, {
      source: bytes.name,
      format: formatId,
    });
  }
  return new ByteReader(bytes.read(bodyOffset, Number(bytes.size - bodyOffset)), {
    source: bytes.name,
    base: bodyOffset,
    format: formatId,
  });
}

/** Reads a file of this kind to its end. Throws located CrimgErrors. */
export function checkCrtoolsFile(bytes: RandomBytes, kind: ImageKind): void {
  switch (kind) {
    case "core":
      checkCore(bytes);
      return;
    case "pages":
    case "pages-shmem":
      trailing(bytes, readPageList({ bytes, offset: bodyOffset, limit: bytes.size, format: formatId, path: "pages" }).endOffset);
      return;
    case "fdinfo":
      readFdinfo(small(bytes));
      return;
    case "pipes":
      readPipes(small(bytes));
      return;
    case "shmem":
      checkShmem(small(bytes));
      return;
    case "pstree": {
      const reader = small(bytes);
      treeOf(readPstree(reader), reader);
    }
  }
}
