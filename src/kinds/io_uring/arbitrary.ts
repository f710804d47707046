// SPDX-License-Identifier: Apache-2.0
/** A ring that has done something, with a buffer. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { ioUringBufferRow, ioUringRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({ bits: fc.nat(6), position: fc.nat(300), flags: fc.constantFrom(8, 8 | 0x1000, 8 | 0x3200), hasBuffer: fc.boolean() }),
  ({ tables, hold }, { bits, position, flags, hasBuffer }) => {
    const row = ioUringRow({ ino: BigInt(900 + tables.ioUrings.length), sqEntries: 1 << bits, cqEntries: 2 << bits, flags, position });
    const detail = tables.ioUrings.push(row) - 1;
    const file = tables.files.push(openFileRow({ kind: "io_uring", detail, flags: 2 })) - 1;
    if (hasBuffer) tables.ioUringBuffers.push(ioUringBufferRow({ file, index: 1, address: 0x10000n, length: 4096n }));
    hold(file);
  },
);
