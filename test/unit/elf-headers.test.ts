// SPDX-License-Identifier: Apache-2.0
/** ELF header tables, notes and the writing helpers. */
import assert from "node:assert/strict";
import test from "node:test";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { FileBytes, MemoryBytes } from "../../src/bytes/random-bytes.js";
import {
  assertSegment,
  readElfHeader,
  readProgramHeaders,
  readSectionHeaders,
  readSectionNames,
  readSegment,
} from "../../src/elf/headers.js";
import { iterateNotes, noteSize, writeNote } from "../../src/elf/notes.js";
import { StringTableWriter, imageHeader } from "../../src/elf/writing.js";
import { projectRoot } from "../support/project.js";
import {
  type ElfHeader,
  elfTypeValues,
  programHeader,
  sectionHeader,
  segmentTypeValues,
  writeElfHeader,
  writeProgramHeader,
  writeSectionHeader,
} from "../../src/gen/elf64.js";

function fileOf(header: Partial<ElfHeader>, write: (writer: ByteWriter) => void = () => undefined): MemoryBytes {
  const writer = new ByteWriter();
  writeElfHeader(writer, imageHeader(header));
  write(writer);
  return new MemoryBytes(writer.finish(), "x.elf");
}

test("node itself is an ELF file with named sections", () => {
  const file = FileBytes.open(process.execPath);
  try {
    const header = readElfHeader(file);
    assert.ok(readProgramHeaders(file, header).some(({ pType }) => pType === segmentTypeValues.load));
    const sections = readSectionHeaders(file, header);
    assert.ok(readSectionNames(file, header, sections).includes(".text"));
    const notes = readProgramHeaders(file, header)
      .filter(({ pType }) => pType === segmentTypeValues.note)
      .flatMap((segment) => [...iterateNotes(readSegment(file, segment, "notes"), { base: segment.pOffset })]);
    assert.ok(notes.some(({ name }) => name === "GNU"));
    for (const { desc, descOffset } of notes) assert.deepEqual([...file.read(descOffset, desc.length)], [...desc]);
  } finally {
    file.close();
  }
});

test("files that are no ELF, or another", () => {
  assert.throws(() => readElfHeader(new MemoryBytes(new Uint8Array(10), "x")), { code: "elf.header", offset: 0n });
  assert.throws(() => readElfHeader(new MemoryBytes(new Uint8Array(64), "x")), { code: "bytes.contents", path: "elf_header.magic" });
  const bytes = fileOf({}).read(0n, 64).slice();
  bytes[4] = 1;
  assert.throws(() => readElfHeader(new MemoryBytes(bytes, "x")), { code: "bytes.invalid", path: "elf_header.ei_class", offset: 4n });
});

test("header tables outside the file are refused", () => {
  for (const [fields, code] of [
    [{ ePhnum: 2, ePhoff: 64n }, "bytes.short"],
    [{ ePhnum: 1, ePhoff: (1n << 64n) - 1n }, "bytes.short"],
    [{ ePhnum: 1, ePhoff: 64n, ePhentsize: 32 }, "elf.entry_size"],
    [{ ePhnum: 1, ePhoff: 64n, ePhentsize: 0 }, "elf.entry_size"],
    [{ ePhnum: 0xffff, ePhoff: 64n }, "elf.count"],
  ] as const) {
    const file = fileOf(fields, (writer) => writeProgramHeader(writer, programHeader()));
    assert.throws(() => readProgramHeaders(file, readElfHeader(file)), { name: "CrimgError", code });
  }
  const file = fileOf({ eShoff: 1000n, eShnum: 1 });
  assert.throws(() => readSectionHeaders(file, readElfHeader(file)), { code: "bytes.short", path: "section_headers" });
});

test("PN_XNUM takes the count from section 0, and judges it", () => {
  const withCount = (count: number) =>
    fileOf({ ePhnum: 0xffff, ePhoff: 128n, eShoff: 64n, eShnum: 1 }, (writer) => {
      writeSectionHeader(writer, sectionHeader({ shInfo: count }));
      writeProgramHeader(writer, programHeader({ pType: segmentTypeValues.load }));
    });
  const file = withCount(1);
  assert.equal(readProgramHeaders(file, readElfHeader(file))[0]?.pType, segmentTypeValues.load);
  const absurd = withCount(0xffff_ffff);
  assert.throws(() => readProgramHeaders(absurd, readElfHeader(absurd)), { code: "elf.count" });
});

test("segments outside the file are refused before they are read", () => {
  const file = fileOf({});
  for (const segment of [
    programHeader({ pOffset: 60n, pFilesz: 5n }),
    programHeader({ pOffset: (1n << 64n) - 1n, pFilesz: 2n }),
    programHeader({ pOffset: 0n, pFilesz: 1n << 63n }),
  ]) {
    assert.throws(() => assertSegment(file, segment, "program_headers[0]"), { code: "bytes.short", path: "program_headers[0]" });
    assert.throws(() => readSegment(file, segment, "program_headers[0]"), { code: "bytes.short" });
  }
  assertSegment(file, programHeader({ pOffset: 64n, pFilesz: 0n }), "program_headers[0]");
});

test("notes are written as they are read", () => {
  const writer = new ByteWriter();
  writeNote(writer, "CORE", 1, Uint8Array.of(1, 2, 3, 4, 5));
  writeNote(writer, "", 7, new Uint8Array(0));
  writeNote(writer, "LINUX", 0x202, Uint8Array.of(9));
  assert.equal(writer.length, noteSize("CORE", 5) + noteSize("", 0) + noteSize("LINUX", 1));
  const notes = [...iterateNotes(writer.finish(), { base: 50n })];
  assert.deepEqual(
    notes.map(({ name, type, desc, offset }) => [name, type, [...desc], offset]),
    [
      ["CORE", 1, [1, 2, 3, 4, 5], 50n],
      ["", 7, [], 50n + 28n],
      ["LINUX", 0x202, [9], 50n + 28n + 16n],
    ],
  );
});

test("notes that lie about their lengths are refused", () => {
  const note = (nameLength: number, descLength: number) => {
    const writer = new ByteWriter();
    [nameLength, descLength, 1].forEach((value) => writer.u4(value));
    writer.bytes(Uint8Array.of(0x41, 0, 0, 0));
    return writer.finish();
  };
  const read = (bytes: Uint8Array) => [...iterateNotes(bytes, { source: "core", path: "notes" })];
  assert.throws(() => read(note(0xffff_ffff, 0)), { code: "bytes.count", path: "notes[0].n_namesz" });
  assert.throws(() => read(note(2, 0x8000_0000)), { code: "bytes.count", path: "notes[0].n_descsz" });
  assert.equal(read(note(2, 0))[0]?.name, "A");
});

test("a string table has each string once", () => {
  const table = new StringTableWriter();
  assert.deepEqual([table.add(""), table.add(".a"), table.add(".b"), table.add(".a")], [0, 1, 4, 1]);
  assert.equal(Buffer.from(table.finish()).toString("latin1"), "\0.a\0.b\0");
});

test("an image header without tables is 64 bytes with its constants", () => {
  const header = readElfHeader(fileOf({ eType: elfTypeValues.exec }));
  assert.equal(header.eMachine, 62);
  assert.equal(header.ePhoff, 0n);
});

test("a file that is not there", () => {
  assert.throws(() => FileBytes.open("/nonexistent/x"), {
    name: "CrimgError",
    code: "file.open",
    message: "cannot open /nonexistent/x: no such file or directory",
  });
});

test("a folder is no file", () => {
  const folder = FileBytes.open(projectRoot);
  try {
    // A folder has a size, but nothing that can be read.
    assert.throws(() => folder.read(0n, 1), { name: "CrimgError", code: /^(file\.read|bytes\.short)$/ });
  } finally {
    folder.close();
  }
});
