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
  argModeValues,
  controlHeaderSize,
  expectValues,
  opFlagsBits,
  opKindValues,
  opSize,
  programHeader,
  programHeaderSize,
  type ProgramHeader,
  writeProgramHeader,
} from "../gen/restore-program.js";
import { errno as errnoNumbers, errorTexts } from "../linux/errno.js";
import { putChecksum } from "./checksum.js";
import { type Arg, DataRef, type Label, type Operand, Shared, Slot } from "./operands.js";
import type { DraftOp, PointerFixup, ProgramBuilder } from "./program-builder.js";

const pageSize = 4096n;
/** The first process's stack; run() needs about 8 KiB when it reports. */
const stackSize = 32768;
/** Behind the stack: copies of the auxiliary vector and of the values of options (struct startup in startup.h). */
const startupSize = 8192;

/** control_header.supervisor. */
const supervisorOffset = 24;

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
  /** What extents name the file by. */
  readonly source: number;
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
  const texts = new Uint32Array(builder.ops.length * 3);
  builder.ops.forEach(({ subject, options: { message, hint } }, index) => {
    texts[index * 3] = text(subject);
    texts[index * 3 + 1] = text(message);
    texts[index * 3 + 2] = text(hint);
  });
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
  const bytes = new Uint8Array(Number(lenFile));
  const writer = new ByteWriter(programHeaderSize);
  writeProgramHeader(writer, header);
  bytes.set(writer.finish());
  const opsView = new DataView(bytes.buffer, programHeaderSize, builder.ops.length * opSize);
  builder.ops.forEach((draft, index) => linkOp(opsView, index * opSize, draft, layout, texts, index * 3));
  bytes.set(builder.data.finish(), Number(dataOffset));
  const view = new DataView(bytes.buffer, Number(dataOffset));
  for (const { at, target } of builder.pointers) view.setBigUint64(at.offset, addressOf(target, layout), true);
  const sum = putChecksum(bytes, options.codeChecksum);
  const sums = builder.sums.map(({ at, fileOffset, count, source }) => ({
    offset: Number(dataOffset) + at.offset,
    fileOffset,
    count,
    source,
  }));
  return { bytes, header: { ...header, checksum: sum }, sums };
}

/** Offsets in an op record. There may be hundreds of thousands: they are put into place by hand (see `writeOp`). */
const place = { kind: 0, expect: 1, flags: 2, nr: 4, modes: 8, args: 16, expectA: 64, expectB: 72, store: 80, target: 84, texts: 88 };

function linkOp(view: DataView, at: number, draft: DraftOp, layout: Layout, texts: Uint32Array, firstText: number): void {
  const { orElse, store, isPatient = false, expect = "any" } = draft.options;
  view.setUint8(at + place.kind, opKindValues[draft.kind]);
  view.setUint16(at + place.flags, (orElse === undefined ? 0 : opFlagsBits.else_jump) | (isPatient ? opFlagsBits.patient : 0), true);
  view.setUint32(at + place.nr, draft.nr, true);
  for (let index = 0; index < draft.args.length; index++) linkArg(view, at, index, draft.args[index] ?? 0, layout);
  if (typeof expect === "string") view.setUint8(at + place.expect, expectValues[expect]);
  else if (typeof expect === "object") {
    view.setUint8(at + place.expect, expectValues.one_of);
    view.setBigInt64(at + place.expectA, BigInt(expect[0]), true);
    view.setBigInt64(at + place.expectB, BigInt(expect[1]), true);
  } else {
    view.setUint8(at + place.expect, expectValues.equals);
    view.setBigInt64(at + place.expectA, BigInt.asIntN(64, BigInt(expect)), true);
  }
  view.setUint32(at + place.store, store?.index ?? 0xffff_ffff, true);
  if (draft.target !== undefined) view.setUint32(at + place.target, positionOf(draft.target), true);
  for (let index = 0; index < 3; index++) view.setUint32(at + place.texts + index * 4, texts[firstText + index] ?? 0, true);
}

const twoTo32 = 0x1_0000_0000;

function putArg(view: DataView, op: number, index: number, mode: keyof typeof argModeValues, value: number): void {
  view.setUint8(op + place.modes + index, argModeValues[mode]);
  view.setUint32(op + place.args + index * 8, value, true);
  // Two's complement, for immediates below zero.
  view.setUint32(op + place.args + index * 8 + 4, Math.floor(value / twoTo32), true);
}

function linkArg(view: DataView, op: number, index: number, arg: Arg, layout: Layout): void {
  const put = (mode: keyof typeof argModeValues, value: number): void => putArg(view, op, index, mode, value);
  if (typeof arg === "number") put("imm", arg);
  else if (typeof arg === "bigint") {
    put("imm", 0);
    view.setBigUint64(op + place.args + index * 8, BigInt.asUintN(64, arg), true);
  } else if (arg instanceof DataRef) put("data", dataOffsetOf(arg, layout));
  else if (arg instanceof Slot) put("slot", arg.index);
  else if (arg instanceof Shared) put("control", sharedOffset(arg, layout));
  else if (arg.mode === "slot") {
    put("slot", arg.slot.index);
    view.setInt32(op + place.args + index * 8 + 4, arg.addend, true);
  } else put(...operandOf(arg, layout));
}

function operandOf(arg: Exclude<Operand, { readonly mode: "slot" }>, layout: Layout): readonly [keyof typeof argModeValues, number] {
  switch (arg.mode) {
    case "slot_address":
      return ["slot_address", arg.slot.index];
    case "mem4":
    case "mem4s":
    case "mem8":
      return [arg.mode, dataOffsetOf(arg.ref, layout)];
    case "control4":
      return ["control4", sharedOffset(arg.shared, layout)];
    case "control_aborted":
      return ["control4", 0];
    case "control_supervisor":
      return ["control", supervisorOffset];
    case "auxv":
      return ["auxv", arg.type];
    case "hole_base":
      return ["hole", 0];
    case "hole_end":
      return ["hole", Number(layout.holeSize)];
    case "hole_size":
      return ["imm", Number(layout.holeSize)];
  }
}

/** Offset from the start of the data; zeroed buffers lie behind what the file holds. */
function dataOffsetOf(ref: DataRef, layout: Layout): number {
  return ref.offset + (ref.isZeroed ? Number(layout.zeroedOffset) : 0);
}

function sharedOffset(shared: Shared, layout: Layout): number {
  const before = { counter: 0, pid: layout.numCounters, ending_pid: layout.numCounters + layout.numLastingPids };
  return controlHeaderSize + 4 * (before[shared.kind] + shared.index);
}

function addressOf(target: PointerFixup["target"], layout: Layout): bigint {
  if (target === "hole_size") return layout.holeSize;
  if ("hole" in target) return layout.holeBase + target.hole;
  if (target instanceof Slot) return layout.addrSlots + BigInt(target.index * 8);
  return layout.addrProgram + layout.dataOffset + BigInt(dataOffsetOf(target, layout));
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
