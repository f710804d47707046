// SPDX-License-Identifier: Apache-2.0
/** The records of an image: two headers, then areas. Payload is skipped, never read. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import type { RandomBytes } from "../../src/bytes/random-bytes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import {
  areaHeaderSize,
  imageHeaderSize,
  propertyChild,
  propertyParent,
  propertyZeroRun,
  readAreaHeader,
  readImageHeader,
  type AreaHeader,
  type ImageHeader,
} from "../../src/gen/dmtcp.js";

export const imageMagic = "DMTCP_CHECKPOINT_IMAGE_v4.0\n";
const maxAreas = 1 << 20;

export interface Area {
  readonly header: AreaHeader;
  readonly name: string;
  /** File offset of its bytes; undefined if it has none. */
  readonly data?: bigint;
  readonly isParent: boolean;
  readonly isChild: boolean;
}

export interface Image {
  readonly header: ImageHeader;
  readonly areas: readonly Area[];
}

/** Reads headers only. Throws CrimgError `dmtcp.*`, `bytes.*`. */
export function readImage(file: RandomBytes, source: string): Image {
  const refuse = (code: string, message: string, offset: bigint, path?: string) =>
    new CrimgError(code, message, { source, format: "dmtcp", offset, path });
  const first = file.read(0n, imageHeaderSize);
  const second = file.read(BigInt(imageHeaderSize), imageHeaderSize);
  if (!Buffer.from(first).equals(Buffer.from(second))) {
    throw refuse("dmtcp.header", "the two copies of the header differ", BigInt(imageHeaderSize));
  }
  const header = readImageHeader(new ByteReader(first, { source, format: "dmtcp", path: "image_header" }));
  const areas: Area[] = [];
  let offset = 2n * BigInt(imageHeaderSize);
  for (;;) {
    const path = `areas[${areas.length}]`;
    if (areas.length >= maxAreas) throw refuse("dmtcp.areas", `there are more than ${maxAreas} areas`, offset, path);
    const row = readAreaHeader(new ByteReader(file.read(offset, areaHeaderSize), { source, base: offset, format: "dmtcp", path }));
    const start = offset;
    offset += BigInt(areaHeaderSize);
    // The end marker: fields other than these hold leftovers.
    if (row.addr === 0n && row.size === (1n << 64n) - 1n) return { header, areas };
    if (
      row.addr % 4096n !== 0n ||
      row.size % 4096n !== 0n ||
      row.size === 0n ||
      row.endAddr - row.addr !== row.size ||
      row.endAddr > 1n << 64n
    ) {
      throw refuse(
        "dmtcp.area",
        `an area of ${row.size} bytes at 0x${row.addr.toString(16)} that ends at 0x${row.endAddr.toString(16)} is not one`,
        start,
        path,
      );
    }
    const properties = Number(row.properties & 0xffn);
    const hasData = (properties & (propertyZeroRun | propertyParent)) === 0;
    if (hasData && offset + row.size > file.size) {
      throw refuse("dmtcp.short", `the file ends in the middle of the memory at 0x${row.addr.toString(16)}`, start, path);
    }
    areas.push({
      header: row,
      name: nameOf(row.name),
      data: hasData ? offset : undefined,
      isParent: (properties & propertyParent) !== 0,
      isChild: (properties & propertyChild) !== 0,
    });
    if (hasData) offset += row.size;
  }
}

function nameOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString("utf8");
}
