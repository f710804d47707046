// SPDX-License-Identifier: Apache-2.0
/**
 * The restore program of an image, found and judged as SPEC.md says that an interpreter does (sections 2 and 10, "Loading").
 * Written from the specification, without a look at native/interp or at the generated readers: what it cannot do with that
 * text alone, nobody else can.
 */
import { closeSync, openSync, readSync } from "node:fs";

/** An image that an interpreter must not run (status 127), and the sentence of the specification that it breaks. */
export class BadProgram extends Error {}

function must(isRight: boolean, rule: string): void {
  if (!isRight) throw new BadProgram(rule);
}

const PT_LOAD = 1;
const PT_CKPT_PROGRAM = 0x61010106;
const page = 4096n;

/** Bytes of an op, of the program's header and of the control area's (the records of section 10). */
const lenOp = 104;
const lenHeader = 160;
export const ofsChecksum = 156;
const lenControlHeader = 32;
const optionSlots = 11;
const lastKind = 29;
const each = 27;
/** Slots of whoever runs an op. */
export const firstOwnSlot = 0x80000000;
export const ownSlots = 16;
/** A text or an argument that the row has: a bit of the offset, bits of the mode. */
export const inRow = { text: 0x80000000, u4: 0x40, u8: 0x80 } as const;
const maxRow = 4096;
const lastExpect = 3;
const stackBelow = 32_768n;
const stackAbove = 8192n;

/** An op as it stands in the file. */
export interface Op {
  readonly kind: number;
  readonly expect: number;
  readonly flags: number;
  readonly nr: number;
  readonly modes: readonly number[];
  readonly args: readonly bigint[];
  readonly expectA: bigint;
  readonly expectB: bigint;
  readonly store: number;
  readonly target: number;
  readonly subject: number;
  readonly message: number;
  readonly hint: number;
}

export class Image {
  private readonly fd: number;
  /** Where the program lies in the file. */
  readonly offset: bigint;
  readonly segment: Uint8Array;
  readonly header;
  readonly ops: readonly Op[];

  /** @throws BadProgram for what an interpreter refuses */
  constructor(readonly path: string) {
    this.fd = openSync(path, "r");
    const read = (offset: bigint, length: number): Uint8Array => this.bytes(offset, length);
    const load = firstHeader(read, PT_LOAD);
    const own = firstHeader(read, PT_CKPT_PROGRAM);
    this.offset = own.offset;
    this.segment = this.bytes(own.offset, Number(own.filesz));
    this.header = readHeader(view(this.segment));
    this.judge(load, own);
    this.ops = Array.from({ length: this.header.numOps }, (_, index) =>
      readOp(view(this.segment), Number(this.header.ofsOps) + index * lenOp),
    );
    for (const op of this.ops) this.judgeOp(op);
  }

  close(): void {
    closeSync(this.fd);
  }

  /** Bytes of the file; fewer where it ends before. */
  bytes(offset: bigint, length: number): Uint8Array {
    const into = new Uint8Array(length);
    return into.subarray(0, readSync(this.fd, into, 0, length, offset));
  }

  /** A text of the data. */
  text(offset: number): string {
    const start = Number(this.header.ofsData) + offset;
    return Buffer.from(this.segment.subarray(start, this.segment.indexOf(0, start))).toString("latin1");
  }

  private judge(load: Segment, own: Segment): void {
    const { header, segment } = this;
    const size = BigInt(segment.length);
    must(header.major === 1, "version 1 of restore programs");
    must(load.vaddr === header.holeBase && load.memsz % page === 0n && load.memsz > page, "PT_LOAD is the interpreter at hole_base");
    must(own.vaddr === header.addrProgram && own.vaddr === load.vaddr + load.memsz, "the program lies behind the interpreter");
    must(own.memsz === header.lenMemory && own.memsz % page === 0n, "p_memsz is len_memory, whole pages");
    must(size % 8n === 0n && size >= BigInt(lenHeader) && size <= own.memsz, "p_filesz is a multiple of 8 with room for the header");
    must(header.addrControl === header.addrProgram + header.lenMemory, "the control area lies behind the memory");
    must(
      header.lenControl % page === 0n && header.lenControl >= BigInt(lenControlHeader + 4 * (header.numCounters + header.numPids)),
      "len_control has room for header, counters and ids",
    );
    must(header.addrControl + header.lenControl <= header.holeBase + header.holeSize, "the control area ends within the hole");
    must(header.numLastingPids <= header.numPids, "num_lasting_pids is at most num_pids");
    must(header.ofsOps % 8n === 0n && header.ofsData % 8n === 0n && header.lenOp === lenOp, "ops and data are aligned, ops have 104 bytes");
    must(
      header.ofsOps >= BigInt(lenHeader) && header.ofsOps + BigInt(header.numOps * lenOp) <= size && header.entry < header.numOps,
      "ops lie behind the header",
    );
    must(header.lenData > 0n && header.ofsData + header.lenData <= size, "the data lie in the segment");
    must(segment[Number(header.ofsData + header.lenData) - 1] === 0, "the last byte of the data is 0");
    const isInMemory = (from: bigint, to: bigint): boolean => from >= header.addrProgram && to <= header.addrProgram + header.lenMemory;
    must(
      header.addrSlots % 8n === 0n &&
        header.numSlots >= optionSlots &&
        isInMemory(header.addrSlots, header.addrSlots + BigInt(8 * header.numSlots)),
      "the slots lie in the memory",
    );
    must(
      header.addrStack % 16n === 0n && isInMemory(header.addrStack - stackBelow, header.addrStack + stackAbove),
      "the stack lies in the memory",
    );
    const isText = (offset: number): boolean => BigInt(offset) < header.lenData;
    const table = view(segment.subarray(Number(header.ofsData), Number(header.ofsData + header.lenData)));
    must(header.ofsErrors + 4 * header.numErrors <= table.byteLength, "the table of errors lies in the data");
    for (let index = 0; index < header.numErrors; index++)
      must(isText(table.getUint32(header.ofsErrors + 4 * index, true)), "texts of errors");
    must(header.ofsFiles + 8 * header.numFiles <= table.byteLength, "the table of files lies in the data");
    for (let index = 0; index < header.numFiles; index++) {
      must(isText(table.getUint32(header.ofsFiles + 8 * index, true)), "paths of files");
      must(table.getUint32(header.ofsFiles + 8 * index + 4, true) < header.numSlots, "slots of files");
    }
    must(isText(header.ofsUsage), "the text for --help");
    must(rightChecksum((from, length) => this.bytes(from, length)) === header.checksum, "the checksum is right");
  }

  private judgeOp(op: Op): void {
    const { header } = this;
    must(op.kind >= 1 && op.kind <= lastKind && op.expect <= lastExpect, "a kind and an expectation that are known");
    must(op.target < header.numOps, "an op has a target below num_ops");
    must(
      [op.subject, op.message, op.hint].every(
        (text) => BigInt(text) < header.lenData || (text >= inRow.text && text - inRow.text <= maxRow - 4),
      ),
      "texts of an op lie in the data",
    );
    must(op.store === 0xffffffff || this.isSlot(op.store), "an op stores in a slot");
    if (op.kind === each) {
      const [at = 0n, count = 0n, stride = 0n] = op.args;
      must(op.modes[0] === Mode.data && op.modes[1] === Mode.imm && op.modes[2] === Mode.imm, "rows are named by the op itself");
      must(count > 0n && stride >= 4n && stride <= BigInt(maxRow) && at + count * stride <= header.lenData, "rows lie in the data");
    }
    for (const [index, mode] of op.modes.entries()) {
      if ((mode & (inRow.u4 | inRow.u8)) === 0) this.judgeArgument(mode, op.args[index] ?? 0n);
      else must((mode & 0x3f) <= Mode.mem4s, "an argument mode that is known");
    }
  }

  private isSlot(slot: number): boolean {
    return slot < this.header.numSlots || (slot >= firstOwnSlot && slot < firstOwnSlot + ownSlots);
  }

  /** @throws BadProgram for a value that an argument of that mode cannot have, be it that of an op or that of a row */
  judgeArgument(mode: number, value: bigint): void {
    const { header } = this;
    const room = header.lenMemory - header.ofsData;
    const slot = Number(value & 0xffffffffn);
    if (mode === Mode.data) must(value <= room, "an offset of the data");
    if (mode === Mode.mem4 || mode === Mode.mem4s) must(value + 4n <= room, "a u4 of the data");
    if (mode === Mode.mem8) must(value + 8n <= room, "a u8 of the data");
    if (mode === Mode.control || mode === Mode.control4) must(value + 4n <= header.lenControl, "a u4 of the control area");
    if (mode === Mode.slot || mode === Mode.slotAddress) must(this.isSlot(slot), "a slot");
    must(mode <= Mode.mem4s, "an argument mode that is known");
  }
}

type Segment = { readonly offset: bigint; readonly vaddr: bigint; readonly filesz: bigint; readonly memsz: bigint };

/** arg_mode */
export const Mode = {
  imm: 0,
  data: 1,
  slot: 2,
  slotAddress: 3,
  mem4: 4,
  mem8: 5,
  control: 6,
  control4: 7,
  auxv: 8,
  hole: 9,
  mem4s: 10,
} as const;

export const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function readHeader(at: DataView) {
  must(at.byteLength >= lenHeader && Buffer.from(at.buffer, at.byteOffset, 8).toString("latin1") === "CKPTPRG1", "the magic of programs");
  const u4 = (offset: number): number => at.getUint32(offset, true);
  const u8 = (offset: number): bigint => at.getBigUint64(offset, true);
  return {
    major: at.getUint16(8, true),
    entry: u4(12),
    numOps: u4(16),
    lenOp: u4(20),
    ofsOps: u8(24),
    ofsData: u8(32),
    lenData: u8(40),
    holeBase: u8(48),
    holeSize: u8(56),
    addrProgram: u8(64),
    lenMemory: u8(72),
    addrSlots: u8(80),
    addrStack: u8(88),
    addrControl: u8(96),
    lenControl: u8(104),
    numSlots: u4(112),
    numErrors: u4(116),
    ofsErrors: u4(120),
    ofsUsage: u4(124),
    ofsSlotNames: u4(128),
    ofsTitle: u4(132),
    numCounters: u4(136),
    numPids: u4(140),
    numLastingPids: u4(144),
    numFiles: u4(148),
    ofsFiles: u4(152),
    checksum: u4(156),
  };
}

function readOp(at: DataView, from: number): Op {
  const u4 = (offset: number): number => at.getUint32(from + offset, true);
  return {
    kind: at.getUint8(from),
    expect: at.getUint8(from + 1),
    flags: at.getUint16(from + 2, true),
    nr: u4(4),
    modes: [0, 1, 2, 3, 4, 5].map((index) => at.getUint8(from + 8 + index)),
    args: [0, 1, 2, 3, 4, 5].map((index) => at.getBigUint64(from + 16 + 8 * index, true)),
    expectA: at.getBigInt64(from + 64, true),
    expectB: at.getBigInt64(from + 72, true),
    store: u4(80),
    target: u4(84),
    subject: u4(88),
    message: u4(92),
    hint: u4(96),
  };
}

type Read = (offset: bigint, length: number) => Uint8Array;

function firstHeader(read: Read, type: number): Segment {
  const elf = view(read(0n, 64));
  const table = view(read(elf.getBigUint64(32, true), 56 * elf.getUint16(56, true)));
  for (let at = 0; at < table.byteLength; at += 56) {
    if (table.getUint32(at, true) !== type) continue;
    const word = (field: number): bigint => table.getBigUint64(at + field, true);
    return { offset: word(8), vaddr: word(16), filesz: word(32), memsz: word(40) };
  }
  throw new BadProgram(`a program header of type ${type.toString(16)}`);
}

/** The checksum that the program of a file should name (program_header.checksum). Lengths are multiples of 8. */
export function rightChecksum(read: Read): number {
  const load = firstHeader(read, PT_LOAD);
  const own = firstHeader(read, PT_CKPT_PROGRAM);
  const segment = read(own.offset, Number(own.filesz)).slice();
  view(segment).setUint32(ofsChecksum, 0, true);
  let sum = 0;
  for (const part of [read(page, Number(load.memsz - page)), segment]) {
    const words = view(part);
    for (let at = 0; at + 4 <= part.length; at += 4) {
      sum = Math.imul(sum ^ words.getUint32(at, true), 0x9e3779b1) >>> 0;
      sum = (sum ^ (sum >>> 15)) >>> 0;
    }
  }
  return sum;
}
