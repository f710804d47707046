// SPDX-License-Identifier: Apache-2.0
/** Notes: PT_NOTE segments and SHT_NOTE sections, and how to write them. */
import { type BytesPlace, ByteReader } from "../bytes/byte-reader.js";
import type { ByteWriter } from "../bytes/byte-writer.js";
import { decodeText, encodeText } from "../bytes/text.js";
import { noteHeaderSize, readNoteHeader, writeNoteHeader } from "../gen/elf64.js";

export interface Note {
  /** Without the NUL: "CORE", "LINUX", "GNU". */
  readonly name: string;
  readonly type: number;
  /** A view of the segment. */
  readonly desc: Uint8Array;
  /** Absolute file offset of the note. */
  readonly offset: bigint;
  /** Absolute file offset of `desc`. */
  readonly descOffset: bigint;
}

const alignment = 4;

/**
 * The notes of a segment, in order. Linux pads names and descriptors to 4 bytes also where p_align is 8 or 1.
 * The last descriptor may lack its padding.
 * @throws CrimgError `bytes.short`, `bytes.count`
 */
export function* iterateNotes(bytes: Uint8Array, place: BytesPlace): Generator<Note> {
  const reader = new ByteReader(bytes, place);
  for (let index = 0; reader.remaining >= noteHeaderSize; index++) {
    reader.enter(place.path ?? "notes", index);
    const offset = reader.offsetOf(reader.pos);
    const { nNamesz, nDescsz, nType } = readNoteHeader(reader);
    const name = reader.bytes(reader.count(nNamesz, 1, "n_namesz"));
    pad(reader);
    const descOffset = reader.offsetOf(reader.pos);
    const desc = reader.bytes(reader.count(nDescsz, 1, "n_descsz"));
    pad(reader);
    const end = name.indexOf(0);
    yield { name: decodeText(end < 0 ? name : name.subarray(0, end)), type: nType, desc, offset, descOffset };
  }
}

function pad(reader: ByteReader): void {
  const padding = (alignment - (reader.pos % alignment)) % alignment;
  reader.skip(Math.min(padding, reader.remaining));
}

/** Bytes that a note takes. */
export function noteSize(name: string, descLength: number): number {
  return noteHeaderSize + alignUp(encodeText(name).length + 1) + alignUp(descLength);
}

function alignUp(length: number): number {
  return Math.ceil(length / alignment) * alignment;
}

/** Appends a note, padded. The writer must stand at a multiple of 4. */
export function writeNote(writer: ByteWriter, name: string, type: number, desc: Uint8Array): void {
  const nameBytes = encodeText(name);
  writeNoteHeader(writer, { nNamesz: nameBytes.length + 1, nDescsz: desc.length, nType: type });
  writer.bytes(nameBytes);
  writer.u1(0);
  writer.align(alignment);
  writer.bytes(desc);
  writer.align(alignment);
}
