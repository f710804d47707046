// SPDX-License-Identifier: Apache-2.0
/**
 * Lists that the addon works off by itself: questions about many threads or descriptors (native/addon/gather.h), the stops of
 * many threads (stops.h), and calls made by frozen threads (inject.h). What is asked is decided here; nothing goes back and
 * forth through JavaScript meanwhile.
 */
import { isLogged, logCall } from "../errors/log.js";
import { nr, type SyscallName } from "../linux/syscall-numbers.js";
import { addon } from "./addon.js";
import { requestName } from "./ptrace-requests.js";
import { assertAskableIds } from "./stand-in.js";

/** An argument of a question: a value, an id of the row, room for what comes back, bytes that go in, or an earlier result. */
export type QuestionArgument =
  | number
  | bigint
  | { readonly id: 0 | 1 }
  | { readonly room: number }
  | { readonly in: Uint8Array }
  /** A number of 4 bytes that the call is told and may change, such as a length. */
  | { readonly counter: number }
  | { readonly resultOf: number };

/** One question of a list. In paths `\u0001` and `\u0002` stand for the ids of a row. */
export type Question =
  | { readonly call: SyscallName; readonly args: readonly QuestionArgument[] }
  | { readonly file: string }
  | { readonly link: string }
  /** The mappings of the process that is the first id: only of lists that are asked elsewhere. */
  | { readonly mappings: true };

const wordsOf = { kind: 0, what: 1, types: 2, values: 3, result: 9, all: 12 } as const;
const kindOf = { call: 0, file: 1, link: 2, mappings: 3 } as const;
const typeOf = { value: 0, id: 1, inRow: 2, inNames: 3, result: 4 } as const;

/** A list of questions, ready to be asked of any number of rows. */
export class QuestionList {
  readonly #words: BigInt64Array;
  readonly #names: Buffer;
  readonly #stride: number;
  /** What counters are at first: where in a row. */
  readonly #counters: { readonly at: number; readonly value: number }[] = [];
  readonly #questions: readonly Question[];
  /** Where in a row the result of each question is, and what its arguments store. */
  readonly #places: { readonly result: number; readonly rooms: readonly { readonly at: number; readonly length: number }[] }[] = [];

  constructor(questions: readonly Question[]) {
    this.#questions = questions;
    this.#words = new BigInt64Array(questions.length * wordsOf.all);
    const names: Buffer[] = [];
    let namesLength = 0;
    let at = 0;
    const addName = (bytes: Uint8Array): number => {
      names.push(Buffer.from(bytes));
      namesLength += bytes.length;
      return namesLength - bytes.length;
    };
    questions.forEach((question, index) => {
      const base = index * wordsOf.all;
      const result = at;
      at += "call" in question ? 8 : 16;
      const rooms: { at: number; length: number }[] = [];
      if ("call" in question) {
        let types = 0;
        this.#words[base + wordsOf.what] = BigInt(nr[question.call]);
        question.args.forEach((argument, position) => {
          let type: number = typeOf.value;
          let value = 0n;
          if (typeof argument !== "object") value = BigInt(argument);
          else if ("id" in argument) [type, value] = [typeOf.id, BigInt(argument.id)];
          else if ("in" in argument) [type, value] = [typeOf.inNames, BigInt(addName(argument.in))];
          else if ("resultOf" in argument) [type, value] = [typeOf.result, BigInt(this.#places[argument.resultOf]?.result ?? 0)];
          else {
            const length = "room" in argument ? argument.room : 4;
            [type, value] = [typeOf.inRow, BigInt(at)];
            if ("counter" in argument) this.#counters.push({ at, value: argument.counter });
            rooms.push({ at, length });
            at += (length + 7) & ~7;
          }
          types |= type << (position * 4);
          this.#words[base + wordsOf.values + position] = BigInt.asIntN(64, value);
        });
        this.#words[base + wordsOf.types] = BigInt(types);
      } else if ("mappings" in question) {
        this.#words[base + wordsOf.kind] = BigInt(kindOf.mappings);
      } else {
        this.#words[base + wordsOf.kind] = BigInt("file" in question ? kindOf.file : kindOf.link);
        this.#words[base + wordsOf.what] = BigInt(addName(Buffer.from(`${"file" in question ? question.file : question.link}\0`)));
      }
      this.#words[base + wordsOf.result] = BigInt(result);
      this.#places.push({ result, rooms });
    });
    this.#names = Buffer.concat(names);
    this.#stride = Math.max(at, 8);
  }

  #log(answers: Answers): void {
    for (let row = 0; row < answers.count; row++) {
      this.#questions.forEach((question, index) => logCall("crimg", nameOf(question), answers.result(row, index)));
    }
  }

  /** Room for answers, and what the addon is given. `ready`: for the number of rows that are there, if they are asked elsewhere. */
  prepare(ids: Int32Array, arenaLength: number, ready?: Int32Array): { readonly answers: Answers; readonly given: GivenList } {
    assertAskableIds(ids);
    const count = ids.length >> 1;
    const rows = Buffer.alloc(Math.max(count * this.#stride, 8));
    for (const { at, value } of this.#counters) for (let row = 0; row < count; row++) rows.writeInt32LE(value, row * this.#stride + at);
    const arena = Buffer.allocUnsafeSlow(Math.max(arenaLength, 8));
    return {
      answers: new Answers(rows, this.#stride, this.#places, arena, count, ready),
      given: [this.#words, this.#names, ids, rows, this.#stride, arena],
    };
  }

  /** What bin/bundle.cjs has begun to ask of one row. */
  adopt({ rows, arena, ready }: Begun): Answers {
    if (rows.length < this.#stride) throw new Error("rows that were begun are not of this list");
    return new Answers(rows, this.#stride, this.#places, arena, 1, ready);
  }

  /**
   * Asks all of it of each row. `ids`: two numbers a row. `arenaLength`: room for the contents of files and links of all rows;
   * what does not fit is answered by −7 (E2BIG).
   */
  ask(ids: Int32Array, arenaLength = 0): Answers {
    const { answers, given } = this.prepare(ids, arenaLength);
    addon().gather(...given, 0);
    if (isLogged()) this.#log(answers);
    return answers;
  }
}

/** How the log names a question; a file is opened, read and closed. */
function nameOf(question: Question): string {
  if ("file" in question) return "open, read, close";
  if ("link" in question) return "readlink";
  if ("mappings" in question) return "read";
  return callName(question.call, question.args[0]);
}

/** `fcntl`, `ptrace(SEIZE)`. */
function callName(call: SyscallName, first: unknown): string {
  return call === "ptrace" ? `ptrace(${requestName(Number(first))})` : call;
}

/** Questions, names, ids, rows, stride, arena. */
type GivenList = readonly [BigInt64Array, Uint8Array, Int32Array, Uint8Array, number, Uint8Array];

/** A list, whom it is asked of, and bytes for the contents of files and links. */
export interface AskedList {
  readonly list: QuestionList;
  readonly ids: Int32Array;
  readonly room: number;
}

/**
 * Asks lists on another thread, one after another, while this one goes on (native/addon/gather-elsewhere.h): `awaitRow` says when
 * answers are there. undefined where that cannot be, or each call is to be logged.
 * @param bits as for `readSmaps`
 */
export function askElsewhere(bits: Uint8Array, lists: readonly AskedList[]): Answers[] | undefined {
  if (isLogged()) return undefined;
  const prepared = lists.map(({ list, ids, room }) => {
    const ready = new Int32Array(1);
    const { answers, given } = list.prepare(ids, room, ready);
    return { answers, given: [...given, ready] };
  });
  const result = addon().gatherElsewhere(bits, ...prepared.flatMap(({ given }) => given));
  return result < 0 ? undefined : prepared.map(({ answers }) => answers);
}

/** What bin/bundle.cjs gave to the addon before any code was loaded, of one process. */
interface Begun {
  readonly pid: number;
  readonly rows: Buffer;
  readonly arena: Buffer;
  readonly ready: Int32Array;
}

/** Where it leaves that. */
const begunMappings = Symbol.for("crimg.mappings");

/** Answers to a list that asks for mappings only, begun by bin/bundle.cjs for this process, if it has `room` for them; once. */
export function begunElsewhere(list: QuestionList, pid: number, room: number): Answers | undefined {
  const begun = Reflect.get(globalThis, begunMappings) as Begun | undefined;
  if (begun === undefined || isLogged()) return undefined;
  Reflect.deleteProperty(globalThis, begunMappings);
  return begun.pid === pid && begun.arena.length >= room ? list.adopt(begun) : undefined;
}

/** Answers to a list of questions. */
export class Answers {
  /** `rows` as numbers of 4 bytes. */
  readonly #words: Int32Array;

  constructor(
    private readonly rows: Buffer,
    private readonly stride: number,
    private readonly places: readonly {
      readonly result: number;
      readonly rooms: readonly { readonly at: number; readonly length: number }[];
    }[],
    private readonly arena: Buffer,
    readonly count: number,
    private readonly ready?: Int32Array,
  ) {
    this.#words = new Int32Array(rows.buffer, rows.byteOffset, rows.length >> 2);
  }

  #at(row: number, question: number): number {
    return row * this.stride + (this.places[question]?.result ?? 0);
  }

  /** Waits until a row, and those before it, are there, if they are asked elsewhere. */
  awaitRow(row: number): void {
    if (this.ready !== undefined && Atomics.load(this.ready, 0) <= row) addon().awaitRow(this.ready, row + 1);
  }

  /** Whether a row, and those before it, are there. */
  isThere(row: number): boolean {
    return this.ready === undefined || Atomics.load(this.ready, 0) > row;
  }

  /** The result of a call, or the length of a file or link; −errno. Exact up to 2^53. */
  result(row: number, question: number): number {
    const at = this.#at(row, question) >> 2;
    return (this.#words[at + 1] as number) * 0x1_0000_0000 + ((this.#words[at] as number) >>> 0);
  }

  /** What the call stored through its `which`-th argument with room. A view. */
  stored(row: number, question: number, which = 0): Buffer {
    const room = this.places[question]?.rooms[which];
    if (room === undefined) throw new RangeError(`question ${question} has no room ${which}`);
    const at = row * this.stride + room.at;
    return this.rows.subarray(at, at + room.length);
  }

  /** Everything of a row: what two rows were told is the same where these bytes are. A view. */
  allOf(row: number): Buffer {
    return this.rows.subarray(row * this.stride, (row + 1) * this.stride);
  }

  /** Where in the arena an answer is. */
  #inArena(row: number, question: number): number {
    return this.rows.readUInt32LE(this.#at(row, question) + 8) + this.rows.readUInt32LE(this.#at(row, question) + 12) * 0x1_0000_0000;
  }

  /** Contents of the file, or target of the link: a view; undefined if it could not be had. */
  bytes(row: number, question: number): Buffer | undefined {
    const length = this.result(row, question);
    if (length < 0) return undefined;
    const at = this.#inArena(row, question);
    return this.arena.subarray(at, at + length);
  }

  /** Mappings as `readSmaps` gives them: views; −errno. */
  mappings(row: number, question: number): { readonly rows: Buffer; readonly names: Buffer } | number {
    const count = this.result(row, question);
    if (count < 0) return count;
    const at = this.#inArena(row, question);
    const end = at + count * smapsRow.length;
    const rows = this.arena.subarray(at, end);
    return { rows, names: this.arena.subarray(end, end + lengthOfNames(rows)) };
  }
}

/** Words of a row of `readSmaps` (native/addon/smaps.h), in bytes. */
export const smapsRow = {
  length: 96,
  start: 0,
  end: 8,
  /** PROT_* bits, 8 if shared, the protection key from bit 8 on. */
  how: 16,
  offset: 24,
  minor: 32,
  major: 36,
  ino: 40,
  flags: 48,
  anonymous: 56,
  name: 64,
  nameLength: 72,
  shared: 80,
  pageSize: 88,
} as const;

/**
 * The mappings of a process: rows, and their names one after another; −errno if they cannot be read. `bits`: by two letters of
 * a VmFlags word, the number of its bit + 1.
 */
export function readSmaps(pid: number, bits: Uint8Array): { readonly rows: Buffer; readonly names: Buffer } | number {
  for (;;) {
    smapsRoom ??= makeSmapsRoom(1 << 14);
    const { rows, names } = smapsRoom;
    const count = addon().readSmaps(pid, bits, rows, names);
    if (count >= 0) {
      const own = copyOf(rows, count * smapsRow.length);
      return { rows: own, names: copyOf(names, lengthOfNames(own)) };
    }
    if (count !== -7) return count;
    smapsRoom = makeSmapsRoom((rows.length / smapsRow.length) * 16);
  }
}

/** Names lie one behind the other. */
function lengthOfNames(rows: Buffer): number {
  const last = rows.length - smapsRow.length;
  return last < 0 ? 0 : rows.readUInt32LE(last + smapsRow.name) + rows.readUInt32LE(last + smapsRow.nameLength);
}

/** Only what is written to takes memory. Most processes have hundreds of mappings; one room serves all. */
function makeSmapsRoom(count: number): { readonly rows: Buffer; readonly names: Buffer } {
  return { rows: Buffer.allocUnsafeSlow(count * smapsRow.length), names: Buffer.allocUnsafeSlow(count * 128) };
}

let smapsRoom: ReturnType<typeof makeSmapsRoom> | undefined;

function copyOf(bytes: Buffer, length: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(length);
  bytes.copy(copy, 0, 0, length);
  return copy;
}

/** What all mappings of a process have in common (native/addon/smaps.h). */
export interface SmapsSummary {
  /** Flags that any of them has. */
  readonly flags: bigint;
  /** Bytes of private mappings that other processes have too. */
  readonly shared: bigint;
  /** Bits of protection keys. */
  readonly keys: number;
  /** Which can be read and executed. */
  readonly code: Int32Array;
  /** Which have a name, an inode, or one of the flags that are unusual. */
  readonly others: Int32Array;
  /** Start and end of what can be read and written; ranges that touch are joined. */
  readonly writable: BigInt64Array;
}

/** @param unusual flags of mappings that have to be looked at one by one */
export function summarizeSmaps(rows: Uint8Array, unusual: bigint): SmapsSummary {
  const count = rows.length / smapsRow.length;
  const [words, writable] = [new BigInt64Array(6), new BigInt64Array(count * 2)];
  const [code, others] = [new Int32Array(count), new Int32Array(count)];
  words[0] = unusual;
  addon().summarizeSmaps(rows, words, code, others, writable);
  const [flags = 0n, shared = 0n, keys = 0n, codeCount = 0n, writableCount = 0n, otherCount = 0n] = words;
  return {
    flags,
    shared,
    keys: Number(keys),
    code: code.slice(0, Number(codeCount)),
    others: others.slice(0, Number(otherCount)),
    writable: writable.slice(0, Number(writableCount) * 2),
  };
}

/** Mappings as columns; by index. */
export interface SortedMappings {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  /** The number of the sample that it is like but for its place; 255: of none. */
  readonly kinds: Uint8Array;
  /** Indices of mappings. */
  readonly samples: Int32Array;
  /** Indices of those that are like no sample, ascending. */
  readonly alone: Int32Array;
}

/** @param others mappings (ascending) of which there is more to be told than rows do */
export function sortMappings(rows: Uint8Array, others: Int32Array): SortedMappings {
  const count = rows.length / smapsRow.length;
  const [starts, ends, kinds] = [new Float64Array(count), new Float64Array(count), new Uint8Array(count)];
  const [samples, alone, counts] = [new Int32Array(255), new Int32Array(count), new Int32Array(2)];
  addon().sortMappings(rows, others, starts, ends, kinds, samples, alone, counts);
  return { starts, ends, kinds, samples: samples.slice(0, counts[0]), alone: alone.slice(0, counts[1]) };
}

/** Where in a record is what of a mapping, in bytes; protection and key are one byte. */
export interface MappingRecord {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly prot: number;
  readonly key: number;
}

/** Records, each from a template, of all mappings that have a sample; those of the others are zeros. */
export function encodeMappings(rows: Uint8Array, kinds: Uint8Array, template: Uint8Array, record: MappingRecord): Uint8Array {
  const { start, end, flags, prot, key } = record;
  const records = new Uint8Array(kinds.length * template.length);
  addon().encodeMappings(rows, kinds, template, Uint32Array.of(template.length, start, end, flags, prot, key), records);
  return records;
}

/**
 * Whether mappings are what they were before, but for the numbers of their pages.
 * @param before what `readSmaps` gave, and `now` likewise
 */
export function areSameMappings(before: Uint8Array, now: Uint8Array): boolean {
  return addon().areSameMappings(before, now);
}

/** What a mapping is to `findExtents` (native/addon/extents.h). */
export const extentKind = { none: 0, stored: 1, mayBeFull: 2, full: 3, noPlace: 4 } as const;

/** Start and end of each run, one pair behind the other, ascending: to be looked at before the next are found. */
export interface FoundExtents {
  readonly runs: BigInt64Array;
  readonly guards: BigInt64Array;
}

/**
 * Which pages of an address space exist, as runs within one mapping each, and which are guards; −errno (ENOTTY where the kernel
 * cannot be asked so).
 * @param pagemap descriptor of /proc/PID/pagemap
 * @param rows what `readSmaps` gave
 * @param kinds an `extentKind` for each mapping
 */
export function findExtents(pagemap: number, rows: Uint8Array, kinds: Uint8Array): FoundExtents | number {
  const counts = new Int32Array(2);
  for (;;) {
    extentRoom ??= makeExtentRoom(1 << 13);
    const { runs, guards } = extentRoom;
    const result = addon().findExtents(pagemap, rows, kinds, runs, guards, counts);
    if (isLogged()) logCall("crimg", "ioctl", result === -7 ? 0 : result);
    // Views: what comes of the next process takes their place.
    if (result >= 0) return { runs: runs.subarray(0, (counts[0] ?? 0) * 2), guards: guards.subarray(0, (counts[1] ?? 0) * 2) };
    if (result !== -7) return result;
    extentRoom = makeExtentRoom(runs.length * 2);
  }
}

const makeExtentRoom = (count: number): FoundExtents => ({ runs: new BigInt64Array(count * 2), guards: new BigInt64Array(count * 2) });

let extentRoom: FoundExtents | undefined;

/**
 * Runs of pages of `ranges` that are the same in two address spaces: start and end each. −errno: EPERM where the kernel does not
 * tell the numbers of pages.
 * @param first descriptor of a /proc/PID/pagemap
 */
export function samePages(first: number, second: number, ranges: BigInt64Array): BigInt64Array | number {
  for (let room = Math.max(ranges.length, 64); ; room *= 4) {
    const runs = new BigInt64Array(room);
    const count = addon().samePages(first, second, ranges, runs);
    if (isLogged()) logCall("crimg", "pread64", count);
    if (count >= 0) return runs.subarray(0, count * 2);
    if (count !== -7) return count;
  }
}

/** Bytes of a stop_row (native/addon/stops.h), and offsets of what is in it. */
export const stopRow = { length: 320, result: 0, status: 8, stoppedAt: 16, sigmask: 24, rseqAddress: 32, rseqCs: 56, regs: 64 } as const;

/** Puts down where a thread stands: its registers and signal mask. */
export function writeStop(stops: Buffer, row: number, { regs, sigmask }: { readonly regs: Uint8Array; readonly sigmask: bigint }): void {
  stops.set(regs, row * stopRow.length + stopRow.regs);
  stops.writeBigUInt64LE(sigmask, row * stopRow.length + stopRow.sigmask);
}

/** Waits for the stops of seized and interrupted threads (pid and tid each), each at most so long. Returns a stop_row each. */
export function awaitStops(ids: Int32Array, milliseconds: number): Buffer {
  const rows = Buffer.alloc(Math.max((ids.length >> 1) * stopRow.length, 8));
  addon().awaitStops(ids, rows, milliseconds);
  return rows;
}

/** What the page of a process whose threads run lists of calls holds; `leave` is where its first thread waits meanwhile. */
export function stubCode(): Buffer {
  return addon().stubCode();
}

/** Numbers of an order: row, tid, call that a restart continues, processor. */
const wordsOfOrder = 4;
/** Those of struct inject_process (native/addon/inject.h). */
const wordsOfProcess = 38;

/** An entry of a list of injected calls. */
export interface InjectedCall {
  readonly name: SyscallName;
  readonly args: readonly (number | bigint | { readonly in: Uint8Array } | { readonly room: number })[];
}

/** A list of calls for frozen threads. All its arguments lie below their stacks, so it is not long: see `maxBytes`. */
export class InjectedList {
  static readonly maxBytes = 6144;
  readonly #words: BigInt64Array;
  readonly #in: Buffer;
  readonly #rooms: { readonly at: number; readonly length: number }[][] = [];
  readonly #stored: number;
  readonly calls: readonly InjectedCall[];

  constructor(calls: readonly InjectedCall[]) {
    this.calls = calls;
    this.#words = new BigInt64Array(Math.max(calls.length, 1) * 8);
    const ins: Buffer[] = [];
    let [stored, inLength] = [0, 0];
    calls.forEach(({ name, args }, index) => {
      let types = 0;
      const rooms: { at: number; length: number }[] = [];
      this.#words[index * 8] = BigInt(nr[name]);
      args.forEach((argument, position) => {
        let value = 0n;
        if (typeof argument !== "object") value = BigInt(argument);
        else if ("in" in argument) {
          types |= typeOf.inNames << (position * 4);
          value = BigInt(inLength);
          const length = (argument.in.length + 15) & ~15;
          ins.push(Buffer.concat([argument.in], length));
          inLength += length;
        } else {
          types |= typeOf.inRow << (position * 4);
          value = BigInt(stored);
          rooms.push({ at: stored, length: argument.room });
          stored += (argument.room + 15) & ~15;
        }
        this.#words[index * 8 + 2 + position] = BigInt.asIntN(64, value);
      });
      this.#words[index * 8 + 1] = BigInt(types);
      this.#rooms.push(rooms);
    });
    this.#in = Buffer.concat([...ins, Buffer.alloc(16)]);
    this.#stored = stored;
  }

  /** Bytes that the list takes below a stack. */
  static bytesOf(call: InjectedCall): number {
    const rooms = call.args.map((argument) =>
      typeof argument !== "object" ? 0 : (("in" in argument ? argument.in.length : argument.room) + 15) & ~15,
    );
    return 64 + rooms.reduce((sum, length) => sum + length, 0);
  }

  #log(answers: InjectedAnswers, orders: Int32Array): void {
    for (let order = 0; order < orders.length; order += wordsOfOrder) {
      const row = orders[order] ?? 0;
      if (answers.status(row) === 0) this.calls.forEach(({ name }, call) => logCall("tree", name, answers.result(row, call)));
    }
  }

  /** Room for the answers of so many threads: an inject_row each. */
  #prepare(count: number, arena: XstateArena): { readonly out: Buffer; readonly answers: InjectedAnswers } {
    const stride = 64 + this.calls.length * 8 + this.#stored;
    const out = Buffer.alloc(Math.max(count * stride, 8));
    return { out, answers: new InjectedAnswers(out, stride, this.calls.length, this.#rooms, arena) };
  }

  /** Has the threads of processes that have one each make the calls, all at the same time. Answers by row; a row for each. */
  injectAlone(processes: readonly AloneProcess[]): { readonly answers: InjectedAnswers; readonly row: number }[] {
    const all: { answers: InjectedAnswers; row: number }[] = [];
    for (let at = 0; at < processes.length; at += mostAlone) {
      const part = processes.slice(at, at + mostAlone);
      const answers = this.#injectPart(part);
      part.forEach((_, row) => all.push({ answers, row }));
    }
    return all;
  }

  #injectPart(processes: readonly AloneProcess[]): InjectedAnswers {
    const common = new BigInt64Array(wordsOfProcess);
    [common[6], common[7]] = [BigInt(this.calls.length), BigInt(this.#stored)];
    const words = new BigInt64Array(processes.length * wordsOfAlone);
    const ranges = new BigInt64Array(
      Math.max(
        processes.reduce((sum, one) => sum + one.ranges.length, 0),
        2,
      ),
    );
    const stops = Buffer.alloc(processes.length * stopRow.length);
    let rangeAt = 0;
    processes.forEach((one, row) => {
      const place = [BigInt(one.pid), BigInt.asIntN(64, one.syscall), BigInt.asIntN(64, one.restorer), one.stub, BigInt(one.signal)];
      words.set([...place, BigInt(rangeAt), BigInt(one.ranges.length >> 1), BigInt(one.restarted)], row * wordsOfAlone);
      ranges.set(one.ranges, rangeAt * 2);
      rangeAt += one.ranges.length >> 1;
      writeStop(stops, row, one);
    });
    const arena = new XstateArena(processes.length);
    const { out, answers } = this.#prepare(processes.length, arena);
    arena.used = addon().injectAlone(common, this.#words, this.#in, ranges, words, stops, out, arena.bytes);
    if (isLogged()) this.#log(answers, Int32Array.from(processes.flatMap((_, row) => [row, 0, 0, 0])));
    return answers;
  }

  /** Has threads make the calls. `orders`: row in `stops` and in the answers, tid, call that a restart continues (−1), processor. */
  inject(where: InjectionPlace, orders: Int32Array, stops: Buffer, arena: XstateArena): InjectedAnswers {
    const process = new BigInt64Array(wordsOfProcess);
    process.set([
      BigInt(where.pid),
      BigInt.asIntN(64, where.syscall),
      BigInt.asIntN(64, where.restorer),
      where.stub,
      where.counter,
      BigInt(where.signal),
      BigInt(this.calls.length),
      BigInt(this.#stored),
      BigInt(where.ranges.length >> 1),
      where.first === undefined ? 0n : 1n,
      where.first?.top ?? 0n,
    ]);
    if (where.first !== undefined) process.set(new BigInt64Array(new Uint8Array(where.first.home).buffer), 11);
    const { out, answers } = this.#prepare(stops.length / stopRow.length, arena);
    arena.used = addon().injectLists(process, this.#words, this.#in, where.ranges, orders, stops, out, arena.bytes, arena.used);
    if (isLogged()) this.#log(answers, orders);
    return answers;
  }
}

/** A process with one thread that lists are run in. The words of native/addon/inject-alone.h. */
export interface AloneProcess extends Pick<InjectionPlace, "pid" | "syscall" | "restorer" | "stub" | "signal" | "ranges"> {
  /** Registers and signal mask of its thread. */
  readonly regs: Uint8Array;
  readonly sigmask: bigint;
  /** What a restart_syscall continues; −1 if it is in none. */
  readonly restarted: number;
}

/** At most that many processes at a time. */
const mostAlone = 64;
const wordsOfAlone = 12;

/** Where in a process lists are run. */
export interface InjectionPlace {
  readonly pid: number;
  /** Addresses of its code: `syscall; ret`, and a call of rt_sigreturn. */
  readonly syscall: bigint;
  readonly restorer: bigint;
  /** The page with `stubCode`. */
  readonly stub: bigint;
  /** A word of the first thread's stack that is borrowed all the time. */
  readonly counter: bigint;
  /** A signal that the process ignores and that does not wait. */
  readonly signal: number;
  /** Start and end of mappings that can be read and written, ascending. */
  readonly ranges: BigInt64Array;
  /** For the first thread alone: where what it has borrowed begins, and the registers to which it is put back. */
  readonly first?: { readonly top: bigint; readonly home: Uint8Array };
}

/** Room for the extended states of the threads that lists are injected into. */
export class XstateArena {
  readonly bytes: Buffer;
  used = 0;

  constructor(threads: number) {
    // Only what is written to takes memory.
    this.bytes = Buffer.allocUnsafeSlow(Math.max(threads, 1) * 11_072);
  }
}

/** What became of a list in each thread. */
export class InjectedAnswers {
  constructor(
    private readonly out: Buffer,
    private readonly stride: number,
    private readonly count: number,
    private readonly rooms: readonly (readonly { readonly at: number; readonly length: number }[])[],
    private readonly arena: XstateArena,
  ) {}

  /** 0 if all calls were made, else −errno. */
  status(row: number): number {
    return Number(this.out.readBigInt64LE(row * this.stride));
  }

  /** The extended state, without zeros at its end. A view. */
  xstate(row: number): Buffer | undefined {
    const at = row * this.stride;
    const [start, length] = [Number(this.out.readBigInt64LE(at + 8)), Number(this.out.readBigInt64LE(at + 16))];
    return length === 0 ? undefined : this.arena.bytes.subarray(start, start + length);
  }

  /** Signals that stopped the thread and must be sent again. */
  owed(row: number): number[] {
    const mask = this.out.readBigUInt64LE(row * this.stride + 24);
    if (mask === 0n) return [];
    return Array.from({ length: 64 }, (_, index) => index + 1).filter((signal) => (mask >> BigInt(signal - 1)) & 1n);
  }

  /** Whether the thread could not be stopped again, or not be put back: it goes back by itself when it is let go. */
  isOnItsWay(row: number): boolean {
    return this.out.readBigInt64LE(row * this.stride + 32) !== 0n;
  }

  /** The result of a call. */
  result(row: number, call: number): bigint {
    return this.out.readBigInt64LE(row * this.stride + 64 + call * 8);
  }

  /** What a call stored through its `which`-th argument with room. A view. */
  stored(row: number, call: number, which: number): Buffer {
    const room = this.rooms[call]?.[which];
    if (room === undefined) throw new RangeError(`call ${call} has no room ${which}`);
    const at = row * this.stride + 64 + this.count * 8 + room.at;
    return this.out.subarray(at, at + room.length);
  }
}
