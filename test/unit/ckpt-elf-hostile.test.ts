// SPDX-License-Identifier: Apache-2.0
/** Version 2 images that describe more than they hold: refused by the reader, before anything is built. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";
import { readImage } from "../../formats/ckpt-elf/read.js";
import { writeTables } from "../../src/elf/write-tables.js";
import { extentRow } from "../../src/gen/tables.js";
import { programHeaderSize, segmentTypeValues } from "../../src/gen/elf64.js";
import { smallImage } from "../support/images.js";
import { temporaryDirectory } from "../support/processes.js";
import { smallTables } from "./validate/small-model.js";

/** Puts other tables behind the end of an image and lets its header point there. */
function withTables(path: string, extents: readonly ReturnType<typeof extentRow>[]): void {
  const bytes = readFileSync(path);
  const tables = { ...smallTables(), extents };
  const segment = writeTables(tables);
  const start = Math.ceil(bytes.length / 4096) * 4096;
  for (let at = 64; ; at += programHeaderSize) {
    if (bytes.readUInt32LE(at) !== segmentTypeValues.ckpt_tables) continue;
    bytes.writeBigUInt64LE(BigInt(start), at + 8);
    bytes.writeBigUInt64LE(BigInt(segment.length), at + 32);
    break;
  }
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(start - bytes.length), segment]));
}

/** Where stored bytes begin in an image. */
function pagesOf(path: string): bigint {
  const bytes = readFileSync(path);
  for (let at = 64; ; at += programHeaderSize)
    if (bytes.readUInt32LE(at) === segmentTypeValues.ckpt_extents) return bytes.readBigUInt64LE(at + 8);
}

test("many extents on the same bytes", async (t) => {
  const path = await smallImage(temporaryDirectory(t));
  const fileOffset = pagesOf(path);
  const extents = Array.from({ length: 2000 }, (_, index) =>
    extentRow({ ownerKind: "object", owner: 0, address: BigInt(index) * 0x2000n, length: 0x2000n, fileOffset }),
  );
  withTables(path, extents);
  assert.throws(() => readImage(path, {}), { code: "ckpt-elf.extent", path: "extents[1].file_offset" });
});

test("extents in any order of the file, but not over each other", async (t) => {
  const path = await smallImage(temporaryDirectory(t));
  const start = pagesOf(path);
  const at = (address: bigint, fileOffset: bigint, length: bigint) => extentRow({ ownerKind: "mm", owner: 0, address, length, fileOffset });
  withTables(path, [at(0x403000n, start + 0x2000n, 0x1000n), at(0x500000n, start, 0x1000n)]);
  readImage(path, {}).close();
  withTables(path, [at(0x403000n, start + 0x1000n, 0x1000n), at(0x500000n, start, 0x2000n)]);
  assert.throws(() => readImage(path, {}), { code: "ckpt-elf.extent", path: "extents[0].file_offset" });
});

test("an extent over headers", async (t) => {
  const path = await smallImage(temporaryDirectory(t));
  withTables(path, [extentRow({ ownerKind: "mm", owner: 0, address: 0x403000n, length: 0x1000n, fileOffset: 0n })]);
  assert.throws(() => readImage(path, {}), { code: "ckpt-elf.extent", path: "extents[0]" });
});
