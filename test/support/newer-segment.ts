// SPDX-License-Identifier: Apache-2.0
/** Makes a tables segment look as if a newer version had written it. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { readTableDirectory } from "../../src/elf/table-directory.js";
import { writeDirectoryEntry, writeTablesHeader } from "../../src/gen/ckpt-elf-v2.js";

const tasksKind = 2;

/** The same tables, with `extra` (a multiple of 8 bytes) behind every task and a table of kind 200 that nobody knows. */
export function newerSegment(segment: Uint8Array, extra: Uint8Array): Uint8Array {
  const { tables } = readTableDirectory(segment, {});
  const reader = new ByteReader(segment);
  const parts = tables.map(({ kind, offset, rowLength, rowCount }) => {
    const writer = new ByteWriter();
    for (let row = 0; row < rowCount; row++) {
      reader.pos = offset + row * rowLength;
      writer.bytes(reader.bytes(rowLength));
      if (kind === tasksKind) writer.bytes(extra);
    }
    return { kind, rowCount, rowLength: rowLength + (kind === tasksKind ? extra.length : 0), bytes: writer.finish() };
  });
  parts.push({ kind: 200, rowCount: 2, rowLength: 16, bytes: Uint8Array.from({ length: 32 }, (_none, index) => index) });
  let end = 32 + 32 * parts.length;
  const places = parts.map(({ bytes }) => {
    const start = Math.ceil(end / 8) * 8;
    end = start + bytes.length;
    return start;
  });
  const writer = new ByteWriter();
  writeTablesHeader(writer, {
    versionMajor: 2,
    versionMinor: 9,
    numTables: parts.length,
    lenSegment: BigInt(end),
    sumTables: 0,
    sumRest: 0,
  });
  parts.forEach(({ kind, rowLength, rowCount }, index) => {
    writeDirectoryEntry(writer, { kind, lenRow: rowLength, numRows: BigInt(rowCount), ofsRows: BigInt(places[index] ?? 0) });
  });
  for (const { bytes } of parts) {
    writer.align(8);
    writer.bytes(bytes);
  }
  return writer.finish();
}
