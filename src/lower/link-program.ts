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
  controlHeaderSize,
  opSize,
  programHeader,
  programHeaderSize,
  type ProgramHeader,
  writeProgramHeader,
} from "../gen/restore-program.js";
import { errno as errnoNumbers, errorTexts } from "../linux/errno.js";
import { putChecksum } from "./checksum.js";
import { positionOf } from "./op-store.js";
import { type DataRef, type Label, Slot } from "./operands.js";
import type { PointerFixup, ProgramBuilder } from "./program-builder.js";

const pageSize = 4096n;
/** The first process's stack; run() needs about 8 KiB when it reports. */
const stackSize = 32768;
/** Behind the stack: copies of the auxiliary vector and of the values of options (struct startup in startup.h). */
const startupSize = 8192;

/** A program with its addresses. Its bytes are in parts: together they may be a hundred MiB. */
export class LinkedProgram {
  /** Bytes of it. */
  readonly length: number;

  constructor(
    /** Header, ops and data as they lie in the file, one behind the other; whole words each. */
    readonly parts: readonly [Uint8Array, ...Uint8Array[]],
    readonly header: ProgramHeader,
    /** Where in its data checksums of stored bytes belong; they are 0 ("not known") until `putProgramSums`. */
    readonly sums: readonly ProgramSums[],
  ) {
    this.length = parts.reduce((sum, part) => sum + part.length, 0);
  }

  /** The data: the last part. */
  get data(): Uint8Array {
    return this.parts.at(-1) as Uint8Array;
  }

  /** The program segment as it lies in the file: a copy. */
  get bytes(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const part of this.parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }
}

/** `count` records `piece` from `offset` of the data on, of chunks that follow each other from `fileOffset` on. */
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
}

export function linkProgram(builder: ProgramBuilder, entry: Label, options: LinkOptions): LinkedProgram {
  const errors = builder.u4s(...errorTable(builder));
  const usage = builder.string(options.usage);
  const title = builder.string(options.title);
  const slotNames = builder.string(namesOf([builder.slots, builder.counters, builder.pids, builder.endingPids]));
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
    addrControl: addrProgram + lenMemory,
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
  const writer = new ByteWriter(programHeaderSize);
  writeProgramHeader(writer, header);
  const head = writer.finish();
  const data = builder.data.finish();
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const numbers = {
    zeroedOffset: Number(zeroedOffset),
    numCounters: builder.counters.length,
    numLastingPids: builder.pids.length,
    holeSize: Number(holeSize),
  };
  const ops = builder.ops.finish(numbers, view);
  const gap = new Uint8Array(Number(dataOffset) - programHeaderSize - builder.ops.length * opSize);
  for (const { at, target } of builder.pointers) view.setBigUint64(at.offset, addressOf(target, layout), true);
  const sum = putChecksum(head, options.codeChecksum, [...ops, gap, data]);
  const sums = builder.sums.map(({ at, fileOffset, count, source }) => ({ offset: at.offset, fileOffset, count, source }));
  return new LinkedProgram([head, ...ops, gap, data], { ...header, checksum: sum }, sums);
}

/** Names of slots and the like, one a line. Those of a file that is open a thousand times are one text. */
function namesOf(groups: readonly (readonly { readonly name: string }[])[]): string {
  let lines = "";
  let [last, count] = ["", 0];
  const end = (): void => {
    if (count > 0) lines += `${last.replaceAll(/[\0\n]/g, " ")}\n`.repeat(count);
  };
  for (const group of groups) {
    for (let index = 0; index < group.length; index++) {
      const { name } = group[index] as { readonly name: string };
      if (name !== last) {
        end();
        [last, count] = [name, 0];
      }
      count++;
    }
  }
  end();
  return lines.slice(0, -1);
}

/** Offset from the start of the data; zeroed buffers lie behind what the file holds. */
function dataOffsetOf(ref: DataRef, layout: Layout): number {
  return ref.offset + (ref.isZeroed ? Number(layout.zeroedOffset) : 0);
}

function addressOf(target: PointerFixup["target"], layout: Layout): bigint {
  if (target === "hole_size") return layout.holeSize;
  if ("hole" in target) return layout.holeBase + target.hole;
  if (target instanceof Slot) return layout.addrSlots + BigInt(target.index * 8);
  return layout.addrProgram + layout.dataOffset + BigInt(dataOffsetOf(target, layout));
}

function errorTable(builder: ProgramBuilder): number[] {
  const texts = errorTexts();
  const last = Math.max(...texts.keys());
  return Array.from({ length: last + 1 }, (_, errno) => {
    const errorText = errno === errnoNumbers.EBADMSG ? "the checksum of the stored bytes is wrong" : texts.get(errno);
    return errorText === undefined ? 0 : builder.string(errorText).offset;
  });
}
