// SPDX-License-Identifier: Apache-2.0
/**
 * A second interpreter of restore programs, from spec/SPEC.md section 10: it executes the ops against a model of the kernel
 * (kernel.ts), and touches no process. It ends where the supervisor begins to trace: from there on the program lets go.
 */
import assert from "node:assert/strict";
import { ByteReader } from "../../../src/bytes/byte-reader.js";
import {
  argModeNames,
  computeOpNames,
  controlHeaderSize,
  expectNames,
  jumpIfNames,
  type Op,
  opFlagsBits,
  opKindNames,
  opSize,
  type ProgramHeader,
  readOp,
  readPiece,
  readProgramHeader,
} from "../../../src/gen/restore-program.js";
import { cpuid } from "../../../src/native/index.js";
import { nr } from "../../../src/linux/syscall-numbers.js";
import { calls, needsPrivilege } from "./kernel.js";
import { Block, Mappings } from "./memory.js";
import { Process, Thread } from "./process.js";

const names: ReadonlyMap<number, string> = new Map(Object.entries(nr).map(([name, number]) => [number, name]));
const noSlot = 0xffff_ffff;
const word = (value: bigint): bigint => BigInt.asUintN(64, value);
const signed = (value: bigint): bigint => BigInt.asIntN(64, value);
const imageFdSlot = 3;
/** MADV_POPULATE_WRITE, MADV_COLLAPSE: an interpreter makes them of its own accord too, so nobody counts them. */
const readiesMemory: ReadonlySet<bigint> = new Set([23n, 25n]);
/** More steps than any program of a test takes. */
const maxSteps = 2_000_000;

/** Stored bytes in the memory of a process. */
interface LoadedRange {
  readonly start: bigint;
  readonly end: bigint;
  readonly fileOffset: bigint;
  /** A parent read them before the fork. */
  readonly isInherited: boolean;
}

export class Machine {
  readonly header: ProgramHeader;
  readonly ops: readonly Op[];
  readonly control: Block;
  readonly processes: Process[] = [];
  readonly threads: Thread[] = [];
  readonly first: Process;
  /** Stored bytes that were read and are still there, by process: ranges of memory. Processes in one memory have one list. */
  readonly loaded = new Map<Process, LoadedRange[]>();
  /** Calls whose result was taken from the program's expectation. */
  readonly assumed = new Set<string>();
  #nextId = 4_000_000;
  #steps = 0;

  /** @param pid of the first process, which no task has */
  constructor(program: Uint8Array, pid = 3_999_999) {
    const reader = new ByteReader(program, { source: "program" });
    this.header = readProgramHeader(reader);
    const { ofsOps, numOps, addrProgram, lenMemory, addrControl, lenControl, addrSlots, holeBase, holeSize } = this.header;
    assert.equal(this.header.lenOp, opSize);
    assert.ok(addrControl === addrProgram + lenMemory && addrControl + lenControl <= holeBase + holeSize);
    reader.seek(Number(ofsOps));
    this.ops = Array.from({ length: numOps }, () => readOp(reader));
    const memory = new Uint8Array(Number(lenMemory));
    memory.set(program);
    this.control = new Block(addrControl, new Uint8Array(Number(lenControl)));
    this.first = new Process(pid, undefined, new Block(addrProgram, memory), new Mappings(), new Map());
    for (const fd of [0, 1, 2]) this.first.descriptors.set(fd, { file: { what: "stdio", size: 0n, pos: 0n }, isCloexec: false });
    this.first.memory.view.setBigUint64(
      Number(addrSlots - addrProgram) + 8 * imageFdSlot,
      BigInt(this.first.open("image", 0o2000000)),
      true,
    );
    this.control.view.setUint32(24, pid, true);
    this.start(this.first, new Thread(this.first, pid, this.header.entry));
  }

  /** Adds a thread, which goes on with the op behind its pc if `result` is given (a fork's second return). */
  start(process: Process, thread: Thread, result?: bigint): void {
    if (!this.processes.includes(process)) this.processes.push(process);
    this.threads.push(thread);
    if (result !== undefined) thread.waiting = () => result;
  }

  /** Runs until the supervisor traces. Fails where nobody can go on, where an op fails, or where the model says no. */
  run(): void {
    for (;;) {
      let isMoving = false;
      for (let index = 0; index < this.threads.length; index++) {
        const thread = this.threads[index] as Thread;
        while (!thread.isOver && !this.isTraced(thread)) {
          if (!this.#step(thread)) break;
          isMoving = true;
          assert.ok(++this.#steps < maxSteps, "the program does not end");
        }
      }
      if (isMoving) continue;
      const supervisor = this.threads.find(({ process, isOver }) => process === this.first && !isOver);
      assert.ok(supervisor && this.isTraced(supervisor), `nobody can go on: ${this.#whereabouts()}`);
      return;
    }
  }

  /** Whether the next op of a thread traces: the end of what is modelled. */
  isTraced({ pc }: Thread): boolean {
    const op = this.ops[pc];
    return op !== undefined && opKindNames.get(op.kind) === "syscall" && names.get(op.nr) === "ptrace";
  }

  #whereabouts(): string {
    return this.threads
      .filter(({ isOver }) => !isOver)
      .map(({ tid, pc }) => `${tid} at op ${pc} (${this.#message(this.ops[pc])})`)
      .join(", ");
  }

  #message(op: Op | undefined): string {
    return op === undefined ? "none" : `${this.text(this.first, this.#dataAddress(op.message))}`;
  }

  #dataAddress(offset: number | bigint): bigint {
    return this.header.addrProgram + this.header.ofsData + BigInt(offset);
  }

  /** One op. False if the thread has to wait. */
  #step(thread: Thread): boolean {
    const op = this.ops[thread.pc];
    assert.ok(op, `there is no op ${thread.pc}`);
    const kind = opKindNames.get(op.kind);
    let result: bigint;
    if (thread.waiting) {
      const now = thread.waiting();
      if (now === undefined) return false;
      thread.waiting = undefined;
      result = now;
    } else {
      const args = op.args.map((_, index) => this.#argument(thread, op, index));
      if (kind === "jump") {
        thread.pc = this.#jumps(op.nr, args[0] ?? 0n, args[1] ?? 0n) ? op.target : thread.pc + 1;
        return true;
      }
      const outcome = kind === "syscall" ? this.#call(thread, op, args) : this.#do(thread, op, kind ?? "", args);
      if (typeof outcome !== "bigint") {
        thread.waiting = outcome;
        const now = outcome();
        if (now === undefined) return false;
        thread.waiting = undefined;
        result = now;
      } else result = outcome;
    }
    if (thread.isOver) return true;
    if (op.store !== noSlot) this.store8(thread.process, this.#slot(op.store), word(result));
    if (this.#isRight(op, result)) thread.pc++;
    else if ((op.flags & opFlagsBits.else_jump) !== 0) thread.pc = op.target;
    else assert.fail(`op ${thread.pc} of ${thread.tid} (${kind} ${names.get(op.nr) ?? ""}, ${this.#message(op)}) gave ${signed(result)}`);
    return true;
  }

  #isRight(op: Op, result: bigint): boolean {
    const value = signed(result);
    switch (expectNames.get(op.expect)) {
      case "not_error":
        return value >= 0n || value < -4095n;
      case "equals":
        return value === op.expectA;
      case "one_of":
        return value === op.expectA || value === op.expectB;
      default:
        return true;
    }
  }

  /** A result that the program counts as right. */
  #expected(op: Op): bigint {
    const kind = expectNames.get(op.expect);
    return kind === "equals" || kind === "one_of" ? op.expectA : 0n;
  }

  #call(thread: Thread, op: Op, args: readonly bigint[]): ReturnType<(typeof calls)[string]> {
    const name = names.get(op.nr) ?? assert.fail(`there is no call ${op.nr}`);
    const { process } = thread;
    if (name !== "madvise" || !readiesMemory.has(args[2] ?? 0n)) thread.calls.push(name);
    const before = thread.unprivileged;
    assert.ok(before === undefined || !needsPrivilege.has(name), `${name} comes after ${before} in process ${process.pid}`);
    const call = calls[name];
    if (call !== undefined) return call(this, thread, args);
    // A connect that may fail asks whether somebody else listens there, and in the model nobody does.
    const mayFail = (op.flags & opFlagsBits.else_jump) !== 0 || expectNames.get(op.expect) === "any";
    if (name === "connect" && mayFail) return -111n;
    this.assumed.add(name);
    return this.#expected(op);
  }

  #do(thread: Thread, op: Op, kind: string, args: readonly bigint[]): ReturnType<(typeof calls)[string]> {
    const { process } = thread;
    const [a = 0n, b = 0n, c = 0n, d = 0n] = args;
    switch (kind) {
      case "store4":
        this.store4(process, a, Number(b & 0xffffffffn));
        return 0n;
      case "store8":
        this.store8(process, a, word(b));
        return 0n;
      case "copy":
        this.store(process, a, this.load(process, b, Number(c)));
        return 0n;
      case "compare":
        return Buffer.compare(this.load(process, a, Number(c)), this.load(process, b, Number(c))) === 0 ? 0n : 1n;
      case "find": {
        if (this.#block(process, a, Number(b)) === undefined) return a; // what the kernel has there, such as the vDSO
        const at = Buffer.from(this.load(process, a, Number(b))).indexOf(this.load(process, c, Number(d)));
        return at < 0 ? -2n : a + BigInt(at);
      }
      case "compute":
        return this.#compute(process, op.nr, a, b);
      case "thread":
        return this.#thread(thread, a, op.target);
      case "count": {
        const at = this.control.at(a);
        this.control.view.setUint32(at, (this.control.view.getUint32(at, true) + Number(b & 0xffffffffn)) >>> 0, true);
        return 0n;
      }
      case "wait": {
        const at = this.control.at(a);
        const child = Number(c & 0xffffffffn);
        return () => {
          const now = this.control.view.getUint32(at, true);
          if (now >= Number(b & 0xffffffffn)) return BigInt(now);
          const ended = child !== 0 && this.processes.find(({ pid }) => pid === child)?.exitStatus !== undefined;
          return ended ? -10n : undefined;
        };
      }
      case "format": {
        const text = Buffer.from(`${this.text(process, b)}${c}${this.text(process, d)}\0`);
        this.store(process, a, text);
        return BigInt(text.length - 1);
      }
      case "populate":
        assert.ok(process.mappings.covers(a, a + b, 2), "memory that is populated can be written");
        return 0n;
      case "load":
        return this.#load(process, args);
      case "sigreturn":
        thread.isOver = true;
        thread.hasLeft = true;
        return 0n;
      case "cpuid":
        return BigInt(cpuid(Number(a), Number(b))[Number(c)] ?? 0);
      case "xgetbv":
        // Whatever is asked for is there.
        return 0xffff_ffff_ffff_ffffn;
      case "print":
      case "fill_tiles":
        return 0n;
      default:
        return assert.fail(`the program fails at op ${thread.pc}: ${this.#message(op)}`);
    }
  }

  #load(process: Process, [fd = 0n, at = 0n, count = 0n, offset = 0n, base = 0n]: readonly bigint[]): bigint {
    const bytes = this.load(process, at, 16 * Number(count));
    const reader = new ByteReader(bytes, { source: "pieces" });
    const isRead = BigInt.asIntN(32, fd) >= 0n;
    if (isRead) assert.ok(process.descriptors.get(Number(fd))?.file.what === "image", "stored bytes come from the image");
    let total = 0n;
    for (let index = 0n; index < count; index++) {
      const piece = readPiece(reader);
      const start = word(piece.address + base);
      const end = start + BigInt(piece.length);
      assert.ok(process.mappings.covers(start, end, isRead ? 2 : 1), `0x${start.toString(16)} can be ${isRead ? "written" : "read"}`);
      if (isRead) {
        // What was inherited may be replaced; who reads a page of its own twice is found by the judge.
        this.#forget(process, start, end, ({ isInherited }) => isInherited);
        this.#loadedOf(process).push({ start, end, fileOffset: offset + total, isInherited: false });
      }
      total += BigInt(piece.length);
    }
    return total;
  }

  #loadedOf(process: Process): LoadedRange[] {
    const list = this.loaded.get(process) ?? [];
    this.loaded.set(process, list);
    return list;
  }

  #forget(process: Process, start: bigint, end: bigint, which: (range: LoadedRange) => boolean): void {
    const list = this.#loadedOf(process);
    const rest = list.flatMap((one) => {
      if (!which(one) || one.end <= start || one.start >= end) return [one];
      const parts: LoadedRange[] = [];
      if (one.start < start) parts.push({ ...one, end: start });
      if (one.end > end) parts.push({ ...one, start: end, fileOffset: one.fileOffset + (end - one.start) });
      return parts;
    });
    list.splice(0, list.length, ...rest);
  }

  /** The pages of a range are gone (munmap, MADV_DONTNEED). */
  dropPages(process: Process, start: bigint, end: bigint): void {
    this.#forget(process, start, end, () => true);
  }

  /** A fork has the pages of its parent. */
  inheritPages(parent: Process, child: Process): void {
    this.loaded.set(
      child,
      this.#loadedOf(parent).map((one) => ({ ...one, isInherited: true })),
    );
  }

  /** clone3 with shared memory: a thread, or (without CLONE_THREAD) a process in the same memory. */
  #thread({ process, calls: made }: Thread, at: bigint, target: number): bigint {
    made.push("clone3");
    const field = (index: number): bigint => this.load8(process, at + BigInt(8 * index));
    assert.notEqual(field(0) & 0x100n, 0n, "a thread shares memory");
    const wanted = field(9) > 0n ? this.load4(process, field(8)) : 0;
    if (wanted !== 0 && this.isAlive(wanted)) return -17n;
    const tid = wanted === 0 ? this.spareId() : wanted;
    if ((field(0) & 0x10000n) !== 0n) this.start(process, new Thread(process, tid, target));
    else {
      const helper = new Process(tid, process, process.memory, process.mappings, process.descriptors);
      this.loaded.set(helper, this.#loadedOf(process));
      this.start(helper, new Thread(helper, tid, target));
    }
    return BigInt(tid);
  }

  #compute(process: Process, operator: number, a: bigint, b: bigint): bigint {
    switch (computeOpNames.get(operator)) {
      case "add":
        return word(a + b);
      case "sub":
        return word(a - b);
      case "and":
        return a & b;
      case "or":
        return a | b;
      case "shift_left":
        return word(a << (b & 63n));
      case "shift_right":
        return a >> (b & 63n);
      case "load4":
        return BigInt(this.load4(process, word(a + b)));
      case "load8":
        return this.load8(process, word(a + b));
      default:
        return a;
    }
  }

  #jumps(condition: number, a: bigint, b: bigint): boolean {
    switch (jumpIfNames.get(condition)) {
      case "eq":
        return a === b;
      case "ne":
        return a !== b;
      case "lt":
        return signed(a) < signed(b);
      case "ge":
        return signed(a) >= signed(b);
      case "bits":
        return (a & b) !== 0n;
      case "no_bits":
        return (a & b) === 0n;
      default:
        return true;
    }
  }

  #slot(index: number): bigint {
    assert.ok(index < this.header.numSlots, `there is no slot ${index}`);
    return this.header.addrSlots + BigInt(8 * index);
  }

  #argument({ process }: Thread, op: Op, index: number): bigint {
    const value = op.args[index] ?? 0n;
    const data = word(this.#dataAddress(value));
    switch (argModeNames.get(op.modes[index] ?? 0)) {
      case "data":
        return data;
      case "slot":
        return word(this.load8(process, this.#slot(Number(value & 0xffffffffn))) + (signed(value) >> 32n));
      case "slot_address":
        return this.#slot(Number(value));
      case "mem4":
        return BigInt(this.load4(process, data));
      case "mem4s":
        return word(BigInt(this.load4(process, data) | 0));
      case "mem8":
        return this.load8(process, data);
      case "control":
        return this.header.addrControl + value;
      case "control4":
        return BigInt(this.control.view.getUint32(Number(value), true));
      case "auxv":
        return 0x7fff_0000_0000n;
      case "hole":
        return this.header.holeBase + value;
      default:
        return word(value);
    }
  }

  #block(process: Process, address: bigint, length: number): Block | undefined {
    return [process.memory, this.control].find((block) => block.has(address, length));
  }

  load(process: Process, address: bigint, length: number): Uint8Array {
    const block = this.#block(process, address, length) ?? assert.fail(`the program reads ${length} bytes at 0x${address.toString(16)}`);
    return block.bytes.subarray(block.at(address), block.at(address) + length);
  }

  store(process: Process, address: bigint, bytes: Uint8Array): void {
    const block = this.#block(process, address, bytes.length);
    assert.ok(block, `the program writes ${bytes.length} bytes at 0x${address.toString(16)}, which is not its own`);
    block.bytes.set(bytes, block.at(address));
  }

  load4(process: Process, address: bigint): number {
    return Buffer.from(this.load(process, address, 4)).readUInt32LE();
  }

  load8(process: Process, address: bigint): bigint {
    return Buffer.from(this.load(process, address, 8)).readBigUInt64LE();
  }

  store4(process: Process, address: bigint, value: number): void {
    this.store(process, address, new Uint8Array(Uint32Array.of(value >>> 0).buffer));
  }

  store8(process: Process, address: bigint, value: bigint): void {
    this.store(process, address, new Uint8Array(BigUint64Array.of(value).buffer));
  }

  text(process: Process, address: bigint): string {
    const block = this.#block(process, address, 1) ?? assert.fail(`the program reads text at 0x${address.toString(16)}`);
    const start = block.at(address);
    return Buffer.from(block.bytes.subarray(start, block.bytes.indexOf(0, start))).toString("utf8");
  }

  isAlive(id: number): boolean {
    return (
      this.processes.some(({ pid, isReaped }) => pid === id && !isReaped) || this.threads.some(({ tid, isOver }) => tid === id && !isOver)
    );
  }

  spareId(): number {
    return this.#nextId++;
  }

  isInHole(start: bigint, end: bigint): boolean {
    return start < this.header.holeBase + this.header.holeSize && end > this.header.holeBase;
  }

  /** Where the kernel would map without an address: high, below what is there. */
  freeRange(process: Process, length: bigint): bigint {
    let at = 0x7ff0_0000_0000n;
    while (process.mappings.overlaps(at - length, at)) at -= 0x1_0000_0000n;
    return at - length;
  }
}

export const counterStart = controlHeaderSize;
