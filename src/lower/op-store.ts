// SPDX-License-Identifier: Apache-2.0
/**
 * Ops as they will lie in the image, from the moment at which they are added: a tree of ten thousand threads has half a million
 * of them, for which objects would take gigabytes and seconds. What depends on where things come to lie is noted, and put
 * right at the end (`finish`).
 */
import { argModeValues, controlHeaderSize, expectValues, opFlagsBits, opKindValues, opSize } from "../gen/restore-program.js";
import type { OpKind } from "../gen/restore-program.js";
import { type Arg, DataRef, inRow, type Label, type Operand, Shared, Slot, textInRow } from "./operands.js";
import type { Expectation, OpOptions } from "./program-builder.js";

/** Words of 4 bytes in an op, and where in it is what. */
const wordsOfOp = opSize / 4;
const word = { head: 0, nr: 1, modes: 2, args: 4, expectA: 16, expectB: 18, store: 20, target: 21, texts: 22 } as const;

const opsOfChunk = 8192;
const wordsOfChunk = opsOfChunk * wordsOfOp;

/** control_header.supervisor. */
const supervisorOffset = 24;

const twoTo32 = 0x1_0000_0000;
const noSlot = 0xffff_ffff;

const modes = argModeValues;

/** Numbers of the layout that an argument may have to be raised by. */
export interface LayoutNumbers {
  /** Bytes from the data to the zeroed memory behind it. */
  readonly zeroedOffset: number;
  readonly numCounters: number;
  /** Pids that last; those of processes that end on purpose follow. */
  readonly numLastingPids: number;
  readonly holeSize: number;
}

/** What an argument is to be raised by. */
export type Raise = "zeroed" | "pid" | "ending_pid" | "hole_size";
const raiseKinds = ["zeroed", "pid", "ending_pid", "hole_size"] as const satisfies readonly Raise[];

/** How much of a store there was at some time. */
export interface Mark {
  readonly ops: number;
  readonly raises: Readonly<Record<Raise, number>>;
  readonly targets: number;
}

/** Fields of an op that rows may have: arguments 0 to 5, texts 6 to 8. A field of the second op of several is 9 and up. */
const fieldsOfOp = 9;
const firstText = 6;

/** Values of rows that depend on where things come to lie: in the data, one every `stride` bytes from `at` on. */
interface RowRaise {
  readonly by: Raise;
  readonly at: number;
  readonly stride: number;
  readonly count: number;
  readonly width: 4 | 8;
}

/** What a text has in place of an offset if there is none. */
const noText = 0;

/** Ops that are added again and again: see `stampOf`. */
export interface OpStamp {
  /** As they are stored; targets count from the first of them. */
  readonly words: Uint32Array;
  /** Words that are targets. */
  readonly targets: readonly number[];
  /** Words that name the slot. */
  readonly slots: readonly number[];
  readonly raises: readonly { readonly by: Raise; readonly at: number }[];
  /** The word that is the message. */
  readonly messageAt: number;
}

export class OpStore {
  readonly #chunks: Uint32Array<ArrayBuffer>[] = [];
  #length = 0;
  /** Words of all ops that are to be raised, by what. */
  readonly #raises: Record<Raise, number[]> = { zeroed: [], pid: [], ending_pid: [], hole_size: [] };
  /** Targets that had no place yet: op, label. */
  readonly #targets: { readonly op: number; readonly label: Label }[] = [];
  readonly #rowRaises: RowRaise[] = [];
  #chunk = new Uint32Array(0);
  #lastSubject = "";
  #lastSubjectAt = noText;

  /**
   * @param textAt interns a text in the data, and tells where it is.
   * @param textOnce likewise of a text that is not met again
   */
  constructor(
    private readonly textAt: (text: string) => number,
    private readonly textOnce: (text: string) => number = textAt,
  ) {}

  /** How many there are. */
  get length(): number {
    return this.#length;
  }

  /** `expect` and `message`: what they are where the options do not say. */
  add(
    kind: OpKind,
    nr: number,
    args: readonly Arg[],
    options: OpOptions,
    target: Label | undefined,
    subject: string,
    expect: Expectation,
    message: string | undefined,
  ): void {
    const inChunk = this.#length % opsOfChunk;
    if (inChunk === 0) {
      this.#chunk = new Uint32Array(wordsOfChunk);
      this.#chunks.push(this.#chunk);
    }
    const op = this.#length++;
    const words = this.#chunk;
    const at = inChunk * wordsOfOp;
    const { orElse, store, isPatient, hint } = options;
    let flags = 0;
    if (orElse !== undefined) flags |= opFlagsBits.else_jump;
    if (isPatient === true) flags |= opFlagsBits.patient;
    words[at + word.head] = opKindValues[kind] | (this.#putExpectation(words, at, expect) << 8) | (flags << 16);
    words[at + word.nr] = nr;
    for (let index = 0; index < args.length; index++) this.#putArg(words, at, op, index, args[index] ?? 0);
    words[at + word.store] = store?.index ?? noSlot;
    if (target !== undefined) {
      if (target.position !== undefined) words[at + word.target] = target.position;
      else this.#targets.push({ op, label: target });
    }
    words[at + word.texts] = this.#subjectAt(subject);
    if (message !== undefined && message !== "") words[at + word.texts + 1] = this.textAt(message);
    if (hint !== undefined && hint !== "") words[at + word.texts + 2] = this.textAt(hint);
  }

  /**
   * The ops from `first` on, to be added again (`put`) with another slot in place of `slot`, and where one has `message` with
   * another of these. Undefined where none has, or a jump of theirs leads elsewhere.
   */
  stampOf(first: number, slot: Slot, message: string): OpStamp | undefined {
    const count = this.#length - first;
    const inChunk = first % opsOfChunk;
    if (count <= 0 || first === 0 || inChunk + count > opsOfChunk) return undefined;
    const words = this.#chunk.slice(inChunk * wordsOfOp, (inChunk + count) * wordsOfOp);
    const text = this.textAt(message);
    const messages = Array.from({ length: count }, (_, op) => op * wordsOfOp + word.texts + 1).filter((at) => words[at] === text);
    const [messageAt] = messages;
    if (messageAt === undefined || messages.length > 1) return undefined;
    const targets: number[] = [];
    for (const { op, label } of this.#targets.slice(-count)) {
      if (op < first) continue;
      if (label.position === undefined) return undefined;
      words[(op - first) * wordsOfOp + word.target] = label.position;
    }
    const slots: number[] = [];
    for (let op = 0; op < count; op++) {
      const at = op * wordsOfOp;
      const target = words[at + word.target] as number;
      if (target !== 0) {
        if (target < first || target > this.#length) return undefined;
        targets.push(at + word.target);
        words[at + word.target] = target - first;
      }
      if (words[at + word.store] === slot.index) slots.push(at + word.store);
      for (let index = 0; index < 6; index++) {
        const mode = ((words[at + word.modes + (index >> 2)] as number) >> ((index & 3) * 8)) & 0xff;
        const place = at + word.args + index * 2;
        if ((mode === modes.slot || mode === modes.slot_address) && words[place] === slot.index) slots.push(place);
      }
    }
    const start = first * wordsOfOp;
    const raises = raiseKinds.flatMap((by) => this.#raises[by].filter((at) => at >= start).map((at) => ({ by, at: at - start })));
    return { words, targets, slots, raises, messageAt };
  }

  /** Whether there is room for a stamp in the chunk; where there is none, its ops are added one by one. */
  fits({ words }: OpStamp): boolean {
    const inChunk = this.#length % opsOfChunk;
    return inChunk !== 0 && inChunk * wordsOfOp + words.length <= wordsOfChunk;
  }

  /** Adds the ops of a stamp that fits again, with a message that no other op has. */
  put({ words, targets, slots, raises, messageAt }: OpStamp, slot: Slot, message: string): void {
    const first = this.#length;
    const start = (first % opsOfChunk) * wordsOfOp;
    const chunk = this.#chunk;
    chunk.set(words, start);
    for (let index = 0; index < targets.length; index++) {
      const place = targets[index] as number;
      chunk[start + place] = (words[place] as number) + first;
    }
    const number = slot.index;
    for (let index = 0; index < slots.length; index++) chunk[start + (slots[index] as number)] = number;
    for (let index = 0; index < raises.length; index++) {
      const raise = raises[index] as OpStamp["raises"][number];
      this.#raises[raise.by].push(first * wordsOfOp + raise.at);
    }
    chunk[start + messageAt] = this.textOnce(message);
    this.#length += words.length / wordsOfOp;
  }

  /** Those of many ops one after the other are the same. */
  #subjectAt(subject: string): number {
    if (subject !== this.#lastSubject) {
      this.#lastSubject = subject;
      this.#lastSubjectAt = subject === "" ? noText : this.textAt(subject);
    }
    return this.#lastSubjectAt;
  }

  #putExpectation(words: Uint32Array, at: number, expect: Expectation): number {
    if (typeof expect === "string") return expectValues[expect];
    if (typeof expect === "object") {
      putSigned(words, at + word.expectA, expect[0]);
      putSigned(words, at + word.expectB, expect[1]);
      return expectValues.one_of;
    }
    putSigned(words, at + word.expectA, expect);
    return expectValues.equals;
  }

  #putArg(words: Uint32Array, at: number, op: number, index: number, arg: Arg): void {
    const place = at + word.args + index * 2;
    let mode: number = modes.imm;
    if (typeof arg === "number") {
      words[place] = arg;
      // Two's complement, for immediates below zero.
      if (arg < 0 || arg >= twoTo32) words[place + 1] = Math.floor(arg / twoTo32);
    } else if (typeof arg === "bigint") putSigned(words, place, arg);
    else if (arg instanceof Slot) {
      mode = modes.slot;
      words[place] = arg.index;
    } else if (arg instanceof DataRef) mode = this.#putData(words, place, op, index, "data", arg);
    else if (arg instanceof Shared) mode = this.#putShared(words, place, op, index, "control", arg);
    else mode = this.#putOperand(words, place, op, index, arg);
    words[at + word.modes + (index >> 2)] = (words[at + word.modes + (index >> 2)] as number) | (mode << ((index & 3) * 8));
  }

  #putOperand(words: Uint32Array, place: number, op: number, index: number, arg: Operand): number {
    switch (arg.mode) {
      case "slot":
        words[place] = arg.slot.index;
        words[place + 1] = arg.addend;
        return modes.slot;
      case "slot_address":
        words[place] = arg.slot.index;
        return modes.slot_address;
      case "mem4":
      case "mem4s":
      case "mem8":
        return this.#putData(words, place, op, index, arg.mode, arg.ref);
      case "control4":
        return this.#putShared(words, place, op, index, "control4", arg.shared);
      case "row":
        words[place] = arg.offset;
        return modes[arg.as] | inRow.u4;
      case "control_aborted":
        return modes.control4;
      case "control_supervisor":
        words[place] = supervisorOffset;
        return modes.control;
      case "auxv":
        words[place] = arg.type;
        return modes.auxv;
      case "hole_base":
        return modes.hole;
      case "hole_end":
        this.#raise("hole_size", op, index);
        return modes.hole;
      case "hole_size":
        this.#raise("hole_size", op, index);
        return modes.imm;
    }
  }

  #putData(words: Uint32Array, place: number, op: number, index: number, mode: "data" | "mem4" | "mem4s" | "mem8", ref: DataRef): number {
    words[place] = ref.offset;
    words[place + 1] = Math.floor(ref.offset / twoTo32);
    if (ref.isZeroed) this.#raise("zeroed", op, index);
    return modes[mode];
  }

  #putShared(words: Uint32Array, place: number, op: number, index: number, mode: "control" | "control4", shared: Shared): number {
    words[place] = controlHeaderSize + 4 * shared.index;
    if (shared.kind !== "counter") this.#raise(shared.kind, op, index);
    return modes[mode];
  }

  #raise(by: Raise, op: number, index: number): void {
    this.#raises[by].push(op * wordsOfOp + word.args + index * 2);
  }

  mark(): Mark {
    const { zeroed, pid, ending_pid, hole_size } = this.#raises;
    const raises = { zeroed: zeroed.length, pid: pid.length, ending_pid: ending_pid.length, hole_size: hole_size.length };
    return { ops: this.#length, raises, targets: this.#targets.length };
  }

  /** Forgets what was added since. */
  truncate({ ops, raises, targets }: Mark): void {
    for (let op = ops; op < this.#length; op++) this.wordsOf(op).fill(0);
    this.#length = ops;
    this.#chunks.length = Math.ceil(ops / opsOfChunk);
    this.#chunk = this.#chunks.at(-1) ?? new Uint32Array(0);
    for (const by of raiseKinds) this.#raises[by].length = raises[by];
    this.#targets.length = targets;
  }

  /** Puts in the targets since the mark whose labels have a place by now. */
  settleTargets({ targets }: Mark): void {
    const open = this.#targets.splice(targets);
    for (const { op, label } of open) {
      if (label.position === undefined) this.#targets.push({ op, label });
      else this.wordsOf(op)[word.target] = label.position;
    }
  }

  /**
   * Whether as many ops from `other` on differ from those from `first` on in arguments and texts only. Jumps among them count as
   * the same if they are the same seen from there. The marks are from before each.
   */
  isAlike(first: Mark, other: Mark, count: number): boolean {
    for (let index = 0; index < count; index++) {
      const [one, two] = [this.wordsOf(first.ops + index), this.wordsOf(other.ops + index)];
      for (const at of shapeWords) if (one[at] !== two[at]) return false;
      const [target, otherTarget] = [one[word.target] as number, two[word.target] as number];
      if (target !== otherTarget && !isInside(target - first.ops, otherTarget - other.ops, count)) return false;
    }
    for (const by of raiseKinds) {
      const end = first.raises[by] + this.#raises[by].length - other.raises[by];
      for (let index = first.raises[by]; index < end; index++) {
        const [place, otherPlace] = [this.#raises[by][index] as number, this.#raises[by][other.raises[by] + index - first.raises[by]]];
        if (place - first.ops * wordsOfOp !== (otherPlace as number) - other.ops * wordsOfOp) return false;
      }
    }
    const open = this.#targets.length - other.targets;
    for (let index = 0; index < open; index++) {
      const [one, two] = [this.#targets[first.targets + index], this.#targets[other.targets + index]];
      if (one?.label !== two?.label || (one?.op ?? 0) - first.ops !== (two?.op ?? 0) - other.ops) return false;
    }
    return true;
  }

  /** Tells where the ops from `other` on differ from those from `first` on, by field and values of both, low and high words. */
  compare(first: number, other: number, count: number, differs: (field: number) => void): void {
    for (let index = 0; index < count; index++) {
      const [one, two] = [this.wordsOf(first + index), this.wordsOf(other + index)];
      for (let at: number = word.args, field = index * fieldsOfOp; at < word.expectA; at += 2, field++)
        if (one[at] !== two[at] || one[at + 1] !== two[at + 1]) differs(field);
      for (let text = 0; text < 3; text++)
        if (one[word.texts + text] !== two[word.texts + text]) differs(index * fieldsOfOp + firstText + text);
    }
  }

  /** The low and the high word of a field of the ops from `first` on. */
  low(first: number, field: number): number {
    return this.wordsOf(first + Math.floor(field / fieldsOfOp))[placeOf(field)] as number;
  }

  high(first: number, field: number): number {
    if (field % fieldsOfOp >= firstText) return 0;
    return this.wordsOf(first + Math.floor(field / fieldsOfOp))[placeOf(field) + 1] as number;
  }

  /** What a field of the ops since a mark is to be raised by. */
  raisesSince(mark: Mark): ReadonlyMap<number, Raise> {
    const found = new Map<number, Raise>();
    for (const by of raiseKinds) {
      for (const place of this.#raises[by].slice(mark.raises[by])) {
        const [op, at] = [Math.floor(place / wordsOfOp) - mark.ops, (place % wordsOfOp) - word.args];
        found.set(op * fieldsOfOp + at / 2, by);
      }
    }
    return found;
  }

  /** Makes a field of the ops from `first` on one that the row has, `width` bytes at `offset`. */
  takeFromRow(first: number, field: number, offset: number, width: 4 | 8): void {
    const words = this.wordsOf(first + Math.floor(field / fieldsOfOp));
    const [which, place] = [field % fieldsOfOp, placeOf(field)];
    if (which >= firstText) {
      words[place] = textInRow + offset;
      return;
    }
    words[place] = offset;
    words[place + 1] = 0;
    const mode = width === 4 ? inRow.u4 : inRow.u8;
    words[word.modes + (which >> 2)] = (words[word.modes + (which >> 2)] as number) | (mode << ((which & 3) * 8));
  }

  /** Values in rows that are raised when the program is linked. */
  raiseRows(raise: RowRaise): void {
    this.#rowRaises.push(raise);
  }

  /** Makes an argument of an op that number, in the mode of a place in the data or of a number. */
  setArg(op: number, index: number, mode: "imm" | "data", value: number): void {
    const words = this.wordsOf(op);
    words[word.args + index * 2] = value;
    words[word.modes + (index >> 2)] = (words[word.modes + (index >> 2)] as number) | (modes[mode] << ((index & 3) * 8));
  }

  #isOfRow(words: Uint32Array, at: number): boolean {
    const index = ((at % wordsOfOp) - word.args) / 2;
    const op = at - (at % wordsOfOp);
    return (((words[op + word.modes + (index >> 2)] as number) >>> ((index & 3) * 8)) & (inRow.u4 | inRow.u8)) !== 0;
  }

  /** All ops, one part behind the other: views, since there may be much of them. Rows in `data` are completed. */
  finish(layout: LayoutNumbers, data: DataView): Uint8Array[] {
    const sums: Record<Raise, number> = {
      zeroed: layout.zeroedOffset,
      pid: layout.numCounters * 4,
      ending_pid: (layout.numCounters + layout.numLastingPids) * 4,
      hole_size: layout.holeSize,
    };
    for (const { by, at, stride, count, width } of this.#rowRaises) {
      for (let place = at; place < at + stride * count; place += stride) {
        if (width === 8) data.setBigUint64(place, data.getBigUint64(place, true) + BigInt(sums[by]), true);
        else data.setUint32(place, raised(data.getUint32(place, true) + sums[by]), true);
      }
    }
    for (const by of raiseKinds) {
      for (const place of this.#raises[by]) {
        const words = this.#chunks[Math.floor(place / wordsOfChunk)] as Uint32Array;
        const at = place % wordsOfChunk;
        if (this.#isOfRow(words, at)) continue;
        const sum = (words[at] as number) + (words[at + 1] as number) * twoTo32 + sums[by];
        words[at] = sum;
        words[at + 1] = Math.floor(sum / twoTo32);
      }
    }
    for (const { op, label } of this.#targets) this.wordsOf(op)[word.target] = positionOf(label);
    const all = this.#length * wordsOfOp;
    return this.#chunks.map((chunk, index) => {
      const count = Math.min(wordsOfChunk, all - index * wordsOfChunk);
      return new Uint8Array(chunk.buffer, chunk.byteOffset, count * 4);
    });
  }

  /** One op as it is stored so far, for tests: its words. */
  wordsOf(index: number): Uint32Array {
    const start = (index % opsOfChunk) * wordsOfOp;
    return this.#chunks[Math.floor(index / opsOfChunk)]?.subarray(start, start + wordsOfOp) ?? new Uint32Array(0);
  }
}

/** Words in which ops that are alike do not differ: all but arguments, target and texts. */
const shapeWords = [
  word.head,
  word.nr,
  word.modes,
  word.modes + 1,
  word.expectA,
  word.expectA + 1,
  word.expectB,
  word.expectB + 1,
  word.store,
] as const;

function isInside(target: number, other: number, count: number): boolean {
  return target === other && target >= 0 && target <= count;
}

function placeOf(field: number): number {
  const which = field % fieldsOfOp;
  return which < firstText ? word.args + which * 2 : word.texts + which - firstText;
}

function raised(value: number): number {
  if (value >= twoTo32) throw new RangeError("a restore program of more than 4 GiB");
  return value;
}

function putSigned(words: Uint32Array, at: number, value: number | bigint): void {
  if (typeof value === "number") {
    words[at] = value;
    words[at + 1] = Math.floor(value / twoTo32);
    return;
  }
  words[at] = Number(value & 0xffff_ffffn);
  words[at + 1] = Number((value >> 32n) & 0xffff_ffffn);
}

/** Where a label stands. @throws if it was never placed */
export function positionOf(label: Label): number {
  if (label.position === undefined) throw new Error(`label ${label.name} is not placed`);
  return label.position;
}
