// SPDX-License-Identifier: Apache-2.0
/** Ops are put into place by hand: they must be what the generated writer writes. */
import assert from "node:assert/strict";
import test from "node:test";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import {
  argModeValues,
  controlHeaderSize,
  expectValues,
  opFlagsBits,
  op as opRecord,
  opKindValues,
  opSize,
  programHeaderSize,
  readOp,
  writeOp,
} from "../../src/gen/restore-program.js";
import { nr } from "../../src/linux/syscall-numbers.js";
import { linkProgram } from "../../src/lower/link-program.js";
import { ProgramBuilder } from "../../src/lower/program-builder.js";

test("every kind of argument and of expectation is linked to the record that the spec has", () => {
  const b = new ProgramBuilder();
  const entry = b.label("entry");
  b.place(entry);
  const slot = b.slot("one");
  const [first, counter] = [b.counter("first"), b.counter("second")];
  const pid = b.pid("pid");
  const data = b.bytes(new Uint8Array(24));
  const zeroed = b.buffer(64);
  b.about("task 1", () => b.syscall("mmap", [0xffff_8000_1234_5000n, -1, -100n, data.at(8), zeroed, slot], { store: slot, expect: -7 }));
  b.syscall("close", [slot.plus(-8), slot.address, data.u4, data.u8, counter, pid.u4], { expect: [-(2n ** 63n), 4096] });
  b.syscall("read", [{ mode: "hole_base" }, { mode: "hole_end" }, { mode: "hole_size" }, 2 ** 40], {
    orElse: entry,
    message: "read it",
    hint: "try",
  });
  b.jump(entry);
  const { bytes, header } = linkProgram(b, entry, {
    codeSize: 0x4000n,
    codeChecksum: 1,
    chooseHole: () => 0x7000_0000n,
    usage: "",
    title: "",
  });
  const reader = new ByteReader(bytes.subarray(programHeaderSize, programHeaderSize + header.numOps * opSize));
  const ops = Array.from({ length: header.numOps }, () => readOp(reader));
  const writer = new ByteWriter();
  for (const one of ops) writeOp(writer, one);
  assert.deepEqual(writer.finish(), bytes.subarray(programHeaderSize, programHeaderSize + header.numOps * opSize), "padding is zero");

  const mode = (...names: (keyof typeof argModeValues)[]): number[] =>
    [...names.map((name) => argModeValues[name]), 0, 0, 0, 0, 0, 0].slice(0, 6);
  const zeroedAt = ((BigInt(header.lenData) + header.ofsData + 63n) / 64n) * 64n - header.ofsData + BigInt(zeroed.offset);
  const controlAt = BigInt(controlHeaderSize);
  const wanted = [
    opRecord({
      kind: opKindValues.syscall,
      nr: nr.mmap,
      modes: mode("imm", "imm", "imm", "data", "data", "slot"),
      args: [0xffff_8000_1234_5000n, 2n ** 64n - 1n, 2n ** 64n - 100n, BigInt(data.offset + 8), zeroedAt, BigInt(slot.index)],
      expect: expectValues.equals,
      expectA: -7n,
      store: slot.index,
    }),
    opRecord({
      kind: opKindValues.syscall,
      nr: nr.close,
      modes: mode("slot", "slot_address", "mem4", "mem8", "control", "control4"),
      args: [
        BigInt.asUintN(64, BigInt(slot.index) | (-8n << 32n)),
        BigInt(slot.index),
        BigInt(data.offset),
        BigInt(data.offset),
        controlAt + 4n * BigInt(counter.index),
        controlAt + 4n * 2n,
      ],
      expect: expectValues.one_of,
      expectA: -(2n ** 63n),
      expectB: 4096n,
      store: 0xffff_ffff,
    }),
    opRecord({
      kind: opKindValues.syscall,
      nr: nr.read,
      modes: mode("hole", "hole", "imm", "imm"),
      args: [0n, header.holeSize, header.holeSize, 2n ** 40n, 0n, 0n],
      flags: opFlagsBits.else_jump,
      expect: expectValues.not_error,
      store: 0xffff_ffff,
    }),
    opRecord({ kind: opKindValues.jump, nr: 0, store: 0xffff_ffff }),
  ];
  assert.equal(first.index, 0);
  assert.deepEqual(
    ops.map((one) => ({ ...one, subject: 0, message: 0, hint: 0 })),
    wanted,
  );
  const textAt = (offset: number): string =>
    Buffer.from(bytes)
      .toString("latin1", Number(header.ofsData) + offset)
      .split("\0")[0] ?? "";
  assert.equal(textAt(ops[0]?.subject ?? 0), "task 1");
  assert.equal(textAt(ops[2]?.message ?? 0), "read it");
  assert.equal(textAt(ops[2]?.hint ?? 0), "try");
});
