// SPDX-License-Identifier: Apache-2.0
/** Pages that an image has in another one, its parent (SPEC 5: parents). The file is looked for when bytes of it are wanted. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { CrimgError, exitStatus } from "../../src/errors/crimg-error.js";
import type { ParentRow } from "../../src/gen/tables.js";
import type { ByteRange, DirectReading, PageSource } from "../../src/model/page-source.js";
import { checksumOf } from "../../src/pages/checksum.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { formatId } from "./image-header.js";

/** Most bytes that are looked at to know a parent again. */
const maxCheck = 1 << 20;

export class ParentPages implements PageSource {
  readonly name: string;
  #pages: FilePageSource | undefined;

  constructor(
    private readonly row: ParentRow,
    /** The image that has this parent. */
    private readonly image: string,
    /** Whether it must be the very file. */
    private readonly verifies: boolean,
  ) {
    this.name = row.path;
  }

  /** @throws CrimgError `parent.missing`, `parent.wrong` */
  #open(): FilePageSource {
    if (this.#pages !== undefined) return this.#pages;
    const beside = join(dirname(resolve(this.image)), basename(this.row.path));
    let reason = "it is not there";
    for (const path of new Set([this.row.path, beside])) {
      let fd: number;
      try {
        fd = openSync(path, "r");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") reason = (error as Error).message;
        continue;
      }
      if (!this.verifies || isParent(fd, this.row)) return (this.#pages = new FilePageSource(path, fd));
      closeSync(fd);
      reason = "another file is there, or it was changed";
    }
    throw new CrimgError(
      reason.startsWith("another") ? "parent.wrong" : "parent.missing",
      `pages of the image are in its parent ${this.row.path}: ${reason}`,
      {
        source: this.image,
        format: formatId,
        path: "parents",
        hint: `put it back there, or beside the image as ${basename(this.row.path)}`,
      },
      exitStatus.trouble,
    );
  }

  read(position: bigint, into: Uint8Array): void {
    this.#open().read(position, into);
  }

  copyTo(fd: number, fileOffset: bigint, ranges: readonly ByteRange[]): void {
    this.#open().copyTo(fd, fileOffset, ranges);
  }

  direct(): DirectReading {
    return this.#open().direct();
  }

  dataRanges(position: bigint, length: bigint): readonly ByteRange[] {
    return this.#open().dataRanges(position, length);
  }

  close(): void {
    this.#pages?.close();
    this.#pages = undefined;
  }
}

/** Whether an open file is the one that a row describes. */
function isParent(fd: number, { size, checkOffset, checkLength, checkSum }: ParentRow): boolean {
  if (checkLength > maxCheck || fstatSync(fd, { bigint: true }).size !== size) return false;
  const bytes = new Uint8Array(checkLength);
  return readSync(fd, bytes, 0, bytes.length, checkOffset) === bytes.length && checksumOf(bytes) === checkSum;
}
