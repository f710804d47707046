// SPDX-License-Identifier: Apache-2.0
/** Our readers and the official compiler's on the same bytes of images that the original tools wrote. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { readCoreEntry, readVmaEntry, vmaEntrySize } from "../../src/gen/ckpt-elf-v1.js";
import { elfHeaderSize, programHeaderSize, readElfHeader, readProgramHeader } from "../../src/gen/elf64.js";
import { OfficialReaders, type OfficialValue } from "../support/official-compiler.js";
import { fixtures } from "../support/project.js";

const magicSize = 4;
const coreEntrySize = 16384;

/** Every property of ours is theirs. */
function assertSame(ours: object, theirs: OfficialValue, path: string): void {
  for (const [name, value] of Object.entries(ours)) {
    const other = theirs[name];
    if (value instanceof Uint8Array) assert.deepEqual([...(other as Uint8Array)], [...value], `${path}.${name}`);
    else if (Array.isArray(value))
      value.forEach((one, index) => assertSame(one as object, (other as OfficialValue[])[index] ?? {}, `${path}.${name}[${index}]`));
    else if (typeof value === "object" && value !== null) assertSame(value as object, other as OfficialValue, `${path}.${name}`);
    else assert.equal(other, value, `${path}.${name}`);
  }
}

test("core images of 2011", async () => {
  const official = await OfficialReaders.compile("ckpt_elf_v1");
  const folder = join(fixtures, "crtools2011");
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /core-\d+\.img$/.test(name));
  assert.ok(files.length >= 5);
  for (const file of files) {
    const bytes = readFileSync(join(folder, file)).subarray(magicSize);
    assertSame(readCoreEntry(new ByteReader(bytes)), official.read("core_entry", bytes), file);
    for (let at = coreEntrySize; ; at += vmaEntrySize) {
      const vma = readVmaEntry(new ByteReader(bytes.subarray(at, at + vmaEntrySize)));
      assertSame(vma, official.read("vma_entry", bytes.subarray(at, at + vmaEntrySize)), `${file} at ${at}`);
      if (vma.start === 0n && vma.end === 0n) break;
    }
  }
});

test("ELF headers of cores and of 2011 images", async () => {
  const official = await OfficialReaders.compile("elf64");
  const names = readdirSync(fixtures, { recursive: true, encoding: "utf8" }).filter((name) =>
    /\.elf$|core\/[^/]+\/core(\.\d+)?$/.test(name),
  );
  assert.ok(names.length >= 5, names.join());
  for (const name of names) {
    const bytes = readFileSync(join(fixtures, name));
    const header = readElfHeader(new ByteReader(bytes));
    assertSame(header, official.read("elf_header", bytes.subarray(0, elfHeaderSize)), name);
    for (let index = 0; index < header.ePhnum; index++) {
      const at = Number(header.ePhoff) + index * programHeaderSize;
      const one = bytes.subarray(at, at + programHeaderSize);
      assertSame(readProgramHeader(new ByteReader(one)), official.read("program_header", one), `${name}[${index}]`);
    }
  }
});
