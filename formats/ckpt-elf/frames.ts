// SPDX-License-Identifier: Apache-2.0
/** The frames of an image's compressed stored bytes (SPEC 7.2). */
import { type BytesPlace, ByteReader } from "../../src/bytes/byte-reader.js";
import { readTableDirectory } from "../../src/elf/table-directory.js";
import type { TablesSegment } from "../../src/elf/write-tables.js";
import { frameEntrySize, readFrameEntry } from "../../src/gen/ckpt-elf-v2.js";
import type { ProgramHeader } from "../../src/gen/elf64.js";
import { kindFrames } from "../../src/gen/tables.js";
import { maxFrame, type StoredFrame } from "../../src/model/stored-frames.js";

const pageSize = 4096;

/**
 * Those of a tables segment; none where nothing is compressed.
 * @throws CrimgError `bytes.*`, `tables.*`, `ckpt-elf.frames` for what does not ascend, or lies outside of the stored bytes
 */
export function readFrames(segment: Uint8Array, place: BytesPlace, stored: ProgramHeader | undefined): readonly StoredFrame[] {
  const location = readTableDirectory(segment, place).tables.find(({ kind }) => kind === kindFrames);
  if (location === undefined) return [];
  const [start, end] = stored === undefined ? [0, 0] : [Number(stored.pOffset), Number(stored.pOffset + stored.pFilesz)];
  const reader = new ByteReader(segment, place);
  const frames: StoredFrame[] = [];
  let [next, nextInFile] = [start, start];
  for (let index = 0; index < location.rowCount; index++) {
    reader.pos = location.offset + index * location.rowLength;
    reader.enter("frames", index);
    if (location.rowLength < frameEntrySize) throw reader.error("tables.directory", "records of frames have 24 bytes at least", reader.pos);
    const { offset, fileOffset, length, stored: bytes } = readFrameEntry(reader);
    const frame = { offset: Number(offset), fileOffset: Number(fileOffset), length, stored: bytes };
    const isWhole = [frame.offset, frame.fileOffset, length].every((value) => value % pageSize === 0);
    const isFirst = index === 0 ? frame.offset >= next && frame.offset === frame.fileOffset : frame.offset === next;
    const isRight = isWhole && isFirst && length > 0 && length <= maxFrame && bytes > 0 && bytes <= length;
    if (!isRight || frame.fileOffset < nextInFile || frame.fileOffset + bytes > end) {
      throw reader.error("ckpt-elf.frames", "a frame does not follow the one before it, or is not where stored bytes are", reader.pos);
    }
    next = frame.offset + length;
    nextInFile = frame.fileOffset + bytes;
    frames.push(frame);
  }
  return frames;
}

/** Puts frames into a segment that has room for them. */
export function putFrames({ bytes, tables }: TablesSegment, frames: readonly StoredFrame[]): void {
  const table = tables.find(({ kind }) => kind === kindFrames);
  if (table !== undefined) bytes.set(frameRecords(frames), table.offset);
}

/** Records `frame_entry`, which are those of a restore program too. */
export function frameRecords(frames: readonly StoredFrame[]): Uint8Array {
  const records = new Uint8Array(frames.length * frameEntrySize);
  const view = new DataView(records.buffer);
  frames.forEach(({ offset, fileOffset, length, stored }, index) => {
    const at = index * frameEntrySize;
    view.setBigUint64(at, BigInt(offset), true);
    view.setBigUint64(at + 8, BigInt(fileOffset), true);
    view.setUint32(at + 16, length, true);
    view.setUint32(at + 20, stored, true);
  });
  return records;
}
