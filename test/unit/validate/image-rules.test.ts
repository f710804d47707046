// SPDX-License-Identifier: Apache-2.0
/** Rules about an executable image as a file and about its program: each finds an image that was changed to break it. */
import assert from "node:assert/strict";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { registry } from "../../../formats/registry.js";
import { opSize, programHeaderSize } from "../../../src/gen/restore-program.js";
import { programHeaderSize as segmentSize, segmentTypeValues } from "../../../src/gen/elf64.js";
import { kindChecksums, kindStrings } from "../../../src/gen/tables.js";
import { checksumOffset } from "../../../src/lower/checksum.js";
import { type ValidationReport, validate } from "../../../src/ops/validate.js";
import { checksumRules } from "../../../src/validate/rules/checksums.js";
import { containerRules } from "../../../src/validate/rules/container.js";
import { programRules, programUnreadable } from "../../../src/validate/rules/program.js";
import { smallImage } from "../../support/images.js";
import { temporaryDirectory } from "../../support/processes.js";

const judge = (path: string): Promise<ValidationReport> => validate(path, { registry, profile: "format" });

/** Where the parts of an image are. */
class Layout {
  constructor(readonly bytes: Buffer) {}

  /** Offset of the program header of a type. */
  headerOf(type: number): number {
    const start = Number(this.bytes.readBigUInt64LE(32));
    for (let index = 0; index < this.bytes.readUInt16LE(56); index += 1) {
      const at = start + index * segmentSize;
      if (this.bytes.readUInt32LE(at) === type) return at;
    }
    throw new Error("no such segment");
  }

  /** Offset in the file of a segment. */
  startOf(type: number): number {
    return Number(this.bytes.readBigUInt64LE(this.headerOf(type) + 8));
  }

  get program(): number {
    return this.startOf(segmentTypeValues.ckpt_program);
  }

  /** Offset of the directory entry of a table. */
  directoryEntry(kind: number): number {
    for (let at = this.startOf(segmentTypeValues.ckpt_tables) + 32; ; at += 32) if (this.bytes.readUInt32LE(at) === kind) return at;
  }

  /** Offset of the first checksum of stored bytes. */
  get checksums(): number {
    return this.startOf(segmentTypeValues.ckpt_tables) + Number(this.bytes.readBigUInt64LE(this.directoryEntry(kindChecksums) + 16));
  }

  /** Offset of the first op that `matches`. */
  op(matches: (at: number) => boolean): number {
    const count = this.bytes.readUInt32LE(this.program + 16);
    for (let index = 0; index < count; index += 1) {
      const at = this.program + programHeaderSize + index * opSize;
      if (matches(at)) return at;
    }
    throw new Error("no such op");
  }
}

/** Zeros between the tables and the restore program. */
function gapBefore(l: Layout): number {
  const header = l.headerOf(segmentTypeValues.ckpt_tables);
  return l.program - l.startOf(segmentTypeValues.ckpt_tables) - Number(l.bytes.readBigUInt64LE(header + 32));
}

const mmap = 9;
const isTaskMap =
  (layout: Layout) =>
  (at: number): boolean => {
    return layout.bytes[at] === 1 && layout.bytes.readUInt32LE(at + 4) === mmap && layout.bytes.readUInt32LE(at + 88) !== 0;
  };
const type = segmentTypeValues;

const broken: Readonly<Record<string, readonly ((layout: Layout) => void)[]>> = {
  "container.overlap": [(l) => void l.bytes.writeBigUInt64LE(BigInt(l.startOf(type.ckpt_tables) + 8), l.headerOf(type.ckpt_program) + 8)],
  "container.segments": [(l) => void l.bytes.writeUInt32LE(type.ckpt_core, l.headerOf(type.gnu_stack))],
  "container.segment-range": [
    (l) => void l.bytes.writeBigUInt64LE(3n, l.headerOf(type.gnu_stack) + 48),
    (l) => void l.bytes.writeBigUInt64LE(1n << 40n, l.headerOf(type.gnu_stack) + 32),
  ],
  "container.header-fields": [
    (l) => void l.bytes.writeUInt32LE(6, l.headerOf(type.ckpt_tables) + 4),
    (l) => void l.bytes.writeUInt32LE(5, l.headerOf(type.ckpt_extents) + 4),
    (l) => void l.bytes.writeUInt32LE(7, l.headerOf(type.ckpt_program) + 4),
    (l) => void l.bytes.writeBigUInt64LE(0x1000n, l.headerOf(type.ckpt_program) + 24),
  ],
  "container.gaps": [
    (l) => {
      // Behind the string heap, which has no whole number of words.
      const entry = l.directoryEntry(kindStrings);
      const end = Number(l.bytes.readBigUInt64LE(entry + 16)) + Number(l.bytes.readBigUInt64LE(entry + 8));
      assert.notEqual(end % 8, 0);
      l.bytes.writeUInt8(1, l.startOf(type.ckpt_tables) + end);
    },
  ],
  "container.executable": [(l) => void l.bytes.writeUInt16LE(4, 16), (l) => void l.bytes.writeBigUInt64LE(0x5000n, 24)],
  "container.load-hole": [(l) => void l.bytes.writeBigUInt64LE(0x401000n, l.headerOf(type.load) + 16)],
  "container.sections": [
    (l) => void l.bytes.writeBigUInt64LE(1n << 50n, 40),
    (l) => void l.bytes.writeBigUInt64LE(7n, Number(l.bytes.readBigUInt64LE(40)) + 4 * 64 + 24),
  ],
  "checksum.absent": [(l) => void l.bytes.writeUInt32LE(0, l.startOf(type.ckpt_tables) + 24)],
  "checksum.tables": [
    (l) => void l.bytes.writeUInt32LE(1, l.startOf(type.ckpt_tables) + 24),
    (l) => void l.bytes.writeUInt8(9, l.startOf(type.ckpt_program) - 1 - gapBefore(l)),
  ],
  "checksum.rest": [
    (l) => void l.bytes.writeUInt32LE(1, l.startOf(type.ckpt_tables) + 28),
    (l) => void l.bytes.writeUInt8(1, 4000),
    (l) => void l.bytes.writeUInt8(1, l.startOf(type.ckpt_program) - 1),
    (l) => void l.bytes.writeUInt8(0x41, l.bytes.length - 1),
  ],
  "checksum.chunks": [
    (l) => void l.bytes.writeUInt32LE(4097, l.checksums + 8),
    (l) => void l.bytes.writeUInt32LE(1 << 21, l.checksums + 8),
    (l) => void l.bytes.writeBigUInt64LE(0x1000n, l.checksums),
    (l) => void l.bytes.writeBigUInt64LE(1n, l.directoryEntry(kindChecksums) + 8),
  ],
  "checksum.pages": [
    (l) => void l.bytes.writeUInt8((l.bytes[l.startOf(type.ckpt_extents) + 100] ?? 0) ^ 0x10, l.startOf(type.ckpt_extents) + 100),
    (l) => void l.bytes.writeUInt32LE(7, l.checksums + 12),
  ],
  "program.unreadable": [(l) => void l.bytes.write("X", l.program), (l) => void l.bytes.writeUInt32LE(0x7fffffff, l.program + 16)],
  "program.ops": [
    (l) => void l.bytes.writeUInt32LE(0x7fffffff, l.program + 12),
    (l) => void l.bytes.writeUInt32LE(0x7fffffff, l.op((at) => l.bytes[at] === 8) + 84),
    (l) => void l.bytes.writeUInt32LE(0x7ffffffe, l.op((at) => l.bytes[at] === 1) + 80),
    (l) => void l.bytes.writeUInt32LE(0x7ffffffe, l.op((at) => l.bytes[at] === 1) + 92),
  ],
  "program.checksum": [
    (l) => void l.bytes.writeUInt32LE((l.bytes.readUInt32LE(l.program + checksumOffset) ^ 1) >>> 0, l.program + checksumOffset),
    (l) => void l.bytes.writeUInt8((l.bytes[4097] ?? 0) ^ 1, 4097),
    (l) => void l.bytes.writeUInt8((l.bytes[l.program + 60_000] ?? 0) ^ 0xff, l.program + 60_000),
  ],
  "program.place": [
    (l) => void l.bytes.writeBigUInt64LE(0x400000n, l.program + 48),
    (l) => void l.bytes.writeBigUInt64LE(0x77000n, l.headerOf(type.ckpt_program) + 16),
  ],
  "program.maps": [(l) => void l.bytes.writeBigUInt64LE(0x66660000n, l.op(isTaskMap(l)) + 16)],
  "program.interpreter": [(l) => void l.bytes.writeUInt8((l.bytes[4096] ?? 0) ^ 1, 4096)],
  "program.helper": [(l) => void l.bytes.writeUInt32LE(type.ckpt_helper, l.headerOf(type.gnu_stack))],
  "program.differs": [
    (l) => void l.bytes.writeUInt8((l.bytes[l.program + 144 + 20] ?? 0) ^ 1, l.program + 144 + 20),
    (l) => void l.bytes.writeUInt8((l.bytes[l.program + 60_000] ?? 0) ^ 0xff, l.program + 60_000),
  ],
};

test("every rule about the file has examples here", () => {
  const codes = [...containerRules, ...checksumRules, programUnreadable, ...programRules].map((rule) => rule.code).sort();
  assert.deepEqual(codes, Object.keys(broken).sort());
});

test("a valid image has no findings", async (t) => {
  const report = await judge(await smallImage(temporaryDirectory(t)));
  assert.deepEqual(report.findings, []);
  assert.equal(report.unjudged, undefined);
});

for (const [code, changes] of Object.entries(broken)) {
  test(`${code} finds what breaks it`, async (t) => {
    const directory = temporaryDirectory(t);
    const image = await smallImage(directory);
    for (const [index, change] of changes.entries()) {
      const path = join(directory, `broken-${index}.elf`);
      copyFileSync(image, path);
      const layout = new Layout(readFileSync(image));
      change(layout);
      writeFileSync(path, layout.bytes);
      const report = await judge(path);
      const found = report.findings.map((finding) => finding.code);
      assert.ok(found.includes(code), `example ${index} found only ${found.join(", ") || "nothing"}`);
    }
  });
}

test("an image of a program on a GPU has the helper, and a changed one is found", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory, "ckpt-elf", (tables) => {
    tables.cudaProcesses.push({ task: 0, restoreThread: 0 });
    const uuid = "GPU-00112233-4455-6677-8899-aabbccddeeff";
    tables.gpus.push({ uuid, name: "One", memoryBytes: 1n, usedBytes: 0n, driver: "580.1", cudaVersion: 13000 });
  });
  assert.deepEqual((await judge(image)).findings, []);
  const bytes = readFileSync(image);
  const at = new Layout(bytes).startOf(type.ckpt_helper);
  assert.deepEqual(bytes.subarray(at, at + 4), Buffer.from("\x7fELF"));
  bytes.writeUInt8((bytes[at + 5000] ?? 0) ^ 1, at + 5000);
  writeFileSync(image, bytes);
  assert.deepEqual((await judge(image)).findings.map(({ code }) => code).sort(), ["checksum.rest", "program.helper"]);
});

test("findings about rows point at the field in the file", async (t) => {
  const image = await smallImage(temporaryDirectory(t), "ckpt-elf", (tables) => {
    tables.rlimits[1] = { ...tables.rlimits[1], soft: 0x1122334455667788n } as (typeof tables.rlimits)[number];
  });
  const report = await judge(image);
  const finding = report.findings.find(({ code }) => code === "limit.order");
  assert.equal(finding?.path, "rlimits[1].soft");
  assert.ok(finding?.offset !== undefined);
  assert.equal(readFileSync(image).readBigUInt64LE(Number(finding.offset)), 0x1122334455667788n);
  assert.equal(finding.length, 8);
});

test("an image that others may read is warned of", async (t) => {
  const image = await smallImage(temporaryDirectory(t));
  const { chmodSync } = await import("node:fs");
  chmodSync(image, 0o744);
  const report = await judge(image);
  assert.deepEqual(
    report.findings.map(({ code, severity }) => [code, severity]),
    [["file.readable-by-others", "warning"]],
  );
});
