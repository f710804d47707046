// SPDX-License-Identifier: Apache-2.0
/**
 * Linking: gives a built program its addresses and its bytes.
 *
 * Memory in the hole, from its base:
 *   code       page 0 of the image and the interpreter (`codeSize`)
 *   program    header | ops | data (as in the file) | zeroed buffers | slots | stack | startup area
 *   control    header | counters | process ids (shared)
 */
import { alignUp } from "./align.js";
import { ByteWriter } from "../bytes/byte-writer.js";
import {
  type Op,
  argModeValues,
  controlHeaderSize,
  expectValues,
  op as opRecord,
  opFlagsBits,
  opKindValues,
  opSize,
  programHeader,
  programHeaderSize,
  type ProgramHeader,
  writeOp,
  writeProgramHeader,
} from "../gen/restore-program.js";
import { errno as errnoNumbers, errorTexts } from "../linux/errno.js";
import { putChecksum } from "./checksum.js";
import { type Arg, DataRef, type Label, Shared, Slot } from "./operands.js";
import type { DraftOp, Expectation, PointerFixup, ProgramBuilder } from "./program-builder.js";

const pageSize = 4096n;
/** The first process's stack; run() needs about 8 KiB when it reports. */
const stackSize = 32768;
/** Behind the stack: copies of the auxiliary vector and of the values of options (struct startup in startup.h). */
const startupSize = 8192;

/** control_header.supervisor. */
const supervisorOffset = 24n;

export interface LinkedProgram {
  /** The program segment as it lies in the file. */
  readonly bytes: Uint8Array;
  readonly header: ProgramHeader;
  /** Where in it checksums of stored bytes belong; they are 0 ("not known") until `putProgramSums`. */
  readonly sums: readonly ProgramSums[];
}

/** `count` records `piece` from `offset` of the program on, of chunks that follow each other from `fileOffset` on. */
export interface ProgramSums {
  readonly offset: number;
  readonly fileOffset: bigint;
  readonly count: number;
}

export interface LinkOptions {
  /** Bytes of page 0 and the interpreter, a multiple of the page size. */
  readonly codeSize: bigint;
  /** Checksum of the interpreter (checksum.ts). */
  readonly codeChecksum: number;
  /** First address of a free range of `size` bytes. */
  readonly chooseHole: (size: bigint) => bigint;
  /** Text for --help. */
  readonly usage: string;
  readonly title: string;
}

/** Where things are. */
interface Layout {
  readonly dataOffset: bigint;
  readonly zeroedOffset: bigint;
  readonly holeBase: bigint;
  readonly holeSize: bigint;
  readonly addrProgram: bigint;
  readonly addrSlots: bigint;
  readonly addrControl: bigint;
  readonly numCounters: number;
  readonly numLastingPids: number;
}

export function linkProgram(builder: ProgramBuilder, entry: Label, options: LinkOptions): LinkedProgram {
  const text = (message: string | undefined): number => (message ? builder.string(message).offset : 0);
  // Texts grow the data, so they go in before anything is measured.
  const texts = builder.ops.map((draft) => ({
    subject: text(draft.subject),
    message: text(draft.options.message),
    hint: text(draft.options.hint),
  }));
  const errors = builder.u4s(...errorTable(builder));
  const usage = builder.string(options.usage);
  const title = builder.string(options.title);
  const slotNames = builder.string(
    [...builder.slots, ...builder.counters, ...builder.pids, ...builder.endingPids]
      .map(({ name }) => name.replaceAll(/[\0\n]/g, " "))
      .join("\n"),
  );
  const files = builder.u4s(...builder.files.flatMap(({ path, slot }) => [builder.string(path).offset, slot.index]));
  builder.data.align(64);

  const numPids = builder.pids.length + builder.endingPids.length;
  const opsOffset = BigInt(programHeaderSize);
  const dataOffset = alignUp(opsOffset + BigInt(builder.ops.length * opSize), 64n);
  const lenFile = dataOffset + BigInt(builder.data.length);
  const zeroedOffset = alignUp(lenFile, 64n) - dataOffset;
  const slotsOffset = alignUp(dataOffset + zeroedOffset + BigInt(builder.zeroedSize), 8n);
  const stackOffset = alignUp(slotsOffset + BigInt(builder.slots.length * 8), 64n);
  const lenMemory = alignUp(stackOffset + BigInt(stackSize + startupSize), pageSize);
  const lenControl = alignUp(BigInt(controlHeaderSize + 4 * (builder.counters.length + numPids)), pageSize);
  const holeSize = options.codeSize + lenMemory + lenControl;
  const holeBase = options.chooseHole(holeSize);
  const addrProgram = holeBase + options.codeSize;
  const layout: Layout = {
    dataOffset,
    zeroedOffset,
    holeBase,
    holeSize,
    addrProgram,
    addrSlots: addrProgram + slotsOffset,
    addrControl: addrProgram + lenMemory,
    numCounters: builder.counters.length,
    numLastingPids: builder.pids.length,
  };
  const header = programHeader({
    versionMajor: 1,
    entry: positionOf(entry),
    numOps: builder.ops.length,
    lenOp: opSize,
    ofsOps: opsOffset,
    ofsData: dataOffset,
    lenData: BigInt(builder.data.length),
    holeBase,
    holeSize,
    addrProgram,
    lenMemory,
    addrSlots: layout.addrSlots,
    addrStack: addrProgram + stackOffset + BigInt(stackSize),
    addrControl: layout.addrControl,
    lenControl,
    numSlots: builder.slots.length,
    numErrors: errors.size / 4,
    ofsErrors: errors.offset,
    ofsUsage: usage.offset,
    ofsTitle: title.offset,
    ofsSlotNames: slotNames.offset,
    numCounters: builder.counters.length,
    numPids,
    numLastingPids: builder.pids.length,
    numFiles: builder.files.length,
    ofsFiles: files.offset,
  });
  const writer = new ByteWriter(Number(lenFile));
  writeProgramHeader(writer, header);
  builder.ops.forEach((draft, index) => {
    writeOp(writer, opRecord({ ...linkOp(draft, layout), ...texts[index] }));
  });
  writer.zeros(Number(dataOffset) - writer.length);
  const data = builder.data.finish().slice();
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (const { at, target } of builder.pointers) view.setBigUint64(at.offset, addressOf(target, layout), true);
  writer.bytes(data);
  const bytes = writer.finish();
  const sum = putChecksum(bytes, options.codeChecksum);
  const sums = builder.sums.map(({ at, fileOffset, count }) => ({ offset: Number(dataOffset) + at.offset, fileOffset, count }));
  return { bytes, header: { ...header, checksum: sum }, sums };
}

function linkOp(draft: DraftOp, layout: Layout): Partial<Op> {
  const args = [0, 1, 2, 3, 4, 5].map((index) => linkArg(draft.args[index] ?? 0, layout));
  const { orElse, store, isPatient = false } = draft.options;
  return {
    kind: opKindValues[draft.kind],
    nr: draft.nr,
    modes: args.map(([mode]) => argModeValues[mode]),
    args: args.map(([, value]) => BigInt.asUintN(64, value)),
    flags: (orElse === undefined ? 0 : opFlagsBits.else_jump) | (isPatient ? opFlagsBits.patient : 0),
    store: store?.index ?? 0xffff_ffff,
    target: draft.target === undefined ? 0 : positionOf(draft.target),
    ...linkExpectation(draft.options.expect ?? "any"),
  };
}

function linkExpectation(expect: Expectation): Pick<Op, "expect" | "expectA" | "expectB"> {
  if (expect === "any" || expect === "not_error") return { expect: expectValues[expect], expectA: 0n, expectB: 0n };
  if (typeof expect === "number" || typeof expect === "bigint") {
    return { expect: expectValues.equals, expectA: BigInt.asIntN(64, BigInt(expect)), expectB: 0n };
  }
  return { expect: expectValues.one_of, expectA: BigInt(expect[0]), expectB: BigInt(expect[1]) };
}

function linkArg(arg: Arg, layout: Layout): readonly [keyof typeof argModeValues, bigint] {
  if (typeof arg === "number" || typeof arg === "bigint") return ["imm", BigInt(arg)];
  if (arg instanceof DataRef) return ["data", dataOffsetOf(arg, layout)];
  if (arg instanceof Slot) return ["slot", BigInt(arg.index)];
  if (arg instanceof Shared) return ["control", sharedOffset(arg, layout)];
  switch (arg.mode) {
    case "slot":
      return ["slot", BigInt(arg.slot.index) | (BigInt(arg.addend) << 32n)];
    case "slot_address":
      return ["slot_address", BigInt(arg.slot.index)];
    case "mem4":
    case "mem4s":
    case "mem8":
      return [arg.mode, dataOffsetOf(arg.ref, layout)];
    case "control4":
      return ["control4", sharedOffset(arg.shared, layout)];
    case "control_aborted":
      return ["control4", 0n];
    case "control_supervisor":
      return ["control", supervisorOffset];
    case "auxv":
      return ["auxv", BigInt(arg.type)];
    case "hole_base":
      return ["hole", 0n];
    case "hole_end":
      return ["hole", layout.holeSize];
    case "hole_size":
      return ["imm", layout.holeSize];
  }
}

/** Offset from the start of the data; zeroed buffers lie behind what the file holds. */
function dataOffsetOf(ref: DataRef, layout: Layout): bigint {
  return BigInt(ref.offset) + (ref.isZeroed ? layout.zeroedOffset : 0n);
}

function sharedOffset(shared: Shared, layout: Layout): bigint {
  const before = { counter: 0, pid: layout.numCounters, ending_pid: layout.numCounters + layout.numLastingPids };
  return BigInt(controlHeaderSize + 4 * (before[shared.kind] + shared.index));
}

function addressOf(target: PointerFixup["target"], layout: Layout): bigint {
  if (target === "hole_size") return layout.holeSize;
  if ("hole" in target) return layout.holeBase + target.hole;
  if (target instanceof Slot) return layout.addrSlots + BigInt(target.index * 8);
  return layout.addrProgram + layout.dataOffset + dataOffsetOf(target, layout);
}

function positionOf(label: Label): number {
  if (label.position === undefined) throw new Error(`label ${label.name} is not placed`);
  return label.position;
}

function errorTable(builder: ProgramBuilder): number[] {
  const last = Math.max(...errorTexts.keys());
  return Array.from({ length: last + 1 }, (_, errno) => {
    const errorText = errno === errnoNumbers.EBADMSG ? "the checksum of the stored bytes is wrong" : errorTexts.get(errno);
    return errorText === undefined ? 0 : builder.string(errorText).offset;
  });
}
