// SPDX-License-Identifier: Apache-2.0
/** The laws that every record's reader and writer obey, written once. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { HeapReader, HeapWriter } from "../../src/bytes/heaps.js";
import { CrimgError } from "../../src/errors/crimg-error.js";

export interface CodecCase {
  /** Such as `elf64::program_header`. */
  readonly name: string;
  /** read(write(row)) is the row, and takes exactly the bytes written. */
  readonly readsWhatItWrote: () => void;
  /** write(read(bytes)) is the bytes, for bytes that a writer made. */
  readonly writesWhatItRead: () => void;
  /** Any bytes give a row that survives write and read, or a located CrimgError; nothing else is thrown. */
  readonly judgesAnyBytes: () => void;
  /** Some rows with the bytes and heaps that they are written to. */
  readonly samples: (count: number) => readonly Sample[];
  /** Every shorter input is refused with `bytes.*`. */
  readonly refusesShortInput: () => void;
}

export interface Sample extends Written {
  /** By property name. */
  readonly row: Readonly<Record<string, unknown>>;
}

interface Written {
  readonly bytes: Uint8Array;
  readonly strings: Uint8Array;
  readonly blobs: Uint8Array;
}

/** A case of one record. Readers of records without heap references ignore the heaps. */
export function codecCase<Row>(
  name: string,
  size: number | undefined,
  arbitrary: fc.Arbitrary<Row>,
  readRow: (reader: ByteReader, heaps: HeapReader) => Row,
  writeRow: (writer: ByteWriter, row: Row, heaps: HeapWriter) => void,
): CodecCase {
  const write = (row: Row): Written => {
    const heaps = new HeapWriter();
    const writer = new ByteWriter(1);
    writeRow(writer, row, heaps);
    return { bytes: writer.finish(), strings: heaps.strings.finish(), blobs: heaps.blobs.finish() };
  };
  const read = ({ bytes, strings, blobs }: Written): { row: Row; rest: number } => {
    const reader = new ByteReader(bytes, { source: "test", base: 1000n, path: "record" });
    const row = readRow(reader, new HeapReader(strings, blobs));
    return { row, rest: reader.remaining };
  };
  return {
    name,
    readsWhatItWrote: () => {
      fc.assert(
        fc.property(arbitrary, (row) => {
          const written = write(row);
          if (size !== undefined) assert.equal(written.bytes.length, size);
          const found = read(written);
          assert.deepEqual(plain(found.row), plain(row));
          assert.equal(found.rest, 0);
        }),
      );
    },
    writesWhatItRead: () => {
      fc.assert(
        fc.property(arbitrary, (row) => {
          const written = write(row);
          assert.deepEqual(write(read(written).row), written);
        }),
      );
    },
    judgesAnyBytes: () => {
      const heap = fc.uint8Array({ maxLength: 40 });
      const record = fc.uint8Array({ minLength: 0, maxLength: Math.min(size ?? 200, 600) + 8 });
      fc.assert(
        fc.property(record, heap, heap, (bytes, strings, blobs) => {
          let row: Row;
          try {
            row = read({ bytes, strings, blobs }).row;
          } catch (error) {
            assert.ok(error instanceof CrimgError, String(error));
            assert.equal(error.source, "test");
            assert.ok(error.offset !== undefined && error.offset >= 1000n && error.offset <= 1000n + BigInt(bytes.length));
            return;
          }
          assert.deepEqual(plain(read(write(row)).row), plain(row));
        }),
      );
    },
    samples: (count) => fc.sample(arbitrary, count).map((row) => ({ row: { ...row } as Record<string, unknown>, ...write(row) })),
    refusesShortInput: () => {
      fc.assert(
        fc.property(arbitrary, fc.nat(), (row, cut) => {
          const written = write(row);
          if (size === undefined || size === 0) return;
          const bytes = written.bytes.subarray(0, cut % size);
          assert.throws(() => read({ ...written, bytes }), { name: "CrimgError", code: "bytes.short" });
        }),
      );
    },
  };
}

/** fast-check makes objects without a prototype and Buffers are Uint8Arrays; compare contents. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
  }
  return value;
}
