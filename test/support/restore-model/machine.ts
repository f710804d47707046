// SPDX-License-Identifier: Apache-2.0
/**
 * A second interpreter of restore programs, written from SPEC.md (section 10) alone. It executes the ops of an image against a model
 * of kernel state (kernel.ts), all processes and threads in turn, on one thread and without touching the machine but for reading
 * files. As under a tracer, PTRACE_SEIZE is refused, so that every thread leaves by rt_sigreturn.
 */
import { inflateLz4 } from "../../../src/bytes/lz4-block.js";
import assert from "node:assert/strict";
import { FileBytes } from "../../../src/bytes/random-bytes.js";
import { nr } from "../../../src/linux/syscall-numbers.js";
import { storedSum } from "./crc32c.js";
import { firstOwnSlot, type Image, inRow, Mode, type Op, view } from "./image.js";
import { calls, expected, needsPrivilege } from "./kernel.js";
import { Block, Mappings } from "./memory.js";
import { Process, Thread } from "./process.js";
import { type Frame, frameOf, readFrame } from "./sigframe.js";

const names: ReadonlyMap<number, string> = new Map(Object.entries(nr).map(([name, number]) => [number, name]));
const word = 0xffff_ffff_ffff_ffffn;
const sysinfoEhdr = 33n;
const vdso = 0x7ffd_f000_0000n;
const isError = (result: bigint): boolean => result >= -4095n && result <= -1n;
const ENOENT = 2n;
const EBADMSG = 74n;
const ENOMEM = 12n;
const ECHILD = 10n;
const maxRounds = 5_000_000;

const OpKind = {
  syscall: 1,
  store4: 2,
  store8: 3,
  copy: 4,
  compare: 5,
  find: 6,
  compute: 7,
  jump: 8,
  thread: 9,
  count: 10,
  wait: 11,
  format: 12,
  print: 13,
  sigreturn: 14,
  fail: 15,
  report: 16,
  populate: 17,
  cpuid: 18,
  xgetbv: 19,
  fillTiles: 20,
  load: 21,
  frames: 24,
  symbol: 25,
  protect: 26,
  each: 27,
  next: 28,
  leave: 29,
} as const;

/** The program failed: what a user would read. */
export class Failed extends Error {}

/** Where stored bytes were read to. */
export interface Loaded {
  readonly start: bigint;
  readonly end: bigint;
  readonly fileOffset: bigint;
  readonly path: string;
}

export interface MachineOptions {
  /** Of how many stored bytes the checksums are looked at; the first ones. */
  readonly verifyBytes?: number;
  /** The kernel's vDSO is another than at the dump, and has these functions. */
  readonly otherVdso?: readonly string[];
}

export class Machine {
  readonly processes: Process[] = [];
  readonly threads: Thread[] = [];
  readonly loaded = new Map<Mappings, Loaded[]>();
  /** The signal frames by which threads left, by thread id. */
  readonly frames = new Map<number, Frame>();
  readonly printed: string[] = [];
  readonly first: Process;
  private readonly control: Block;
  private nextId = 100_000;
  private left: number;

  constructor(
    readonly image: Image,
    readonly options: MachineOptions = {},
  ) {
    const { header, segment } = image;
    const memory = new Uint8Array(Number(header.lenMemory));
    memory.set(segment);
    this.control = new Block(header.addrControl, new Uint8Array(Number(header.lenControl)));
    this.left = options.verifyBytes ?? Number.POSITIVE_INFINITY;
    this.first = new Process(99_999, undefined, new Block(header.addrProgram, memory), new Mappings(), new Map());
    // What a process has that was just executed: a stack, the vDSO, standard streams.
    for (const start of [vdso, 0x7ffe_0000_0000n])
      this.first.mappings.add({ start, end: start + 0x20000n, prot: 5, isShared: false, file: "" });
    for (let fd = 0; fd < 3; fd++) this.first.open("inherited", 0);
    const imageFd = this.first.open("path", 0o2000000, image.path);
    this.start(this.first, new Thread(this.first, this.first.pid, header.entry), undefined);
    // Option slots that are not 0 without options: the descriptor of the image.
    this.store8(this.first, header.addrSlots + 8n * 3n, BigInt(imageFd));
  }

  /** Runs until nobody can go on. @throws Failed, or an assertion for what a program must not do */
  run(): void {
    for (let rounds = 0; rounds < maxRounds; rounds++) {
      let hasMoved = false;
      for (const thread of [...this.threads]) hasMoved = this.turn(thread) || hasMoved;
      if (!hasMoved) return;
    }
    assert.fail("the program comes to no end");
  }

  isAlive(pid: number): boolean {
    return this.processes.some((one) => one.pid === pid && !one.isReaped) || this.threads.some(({ tid, isOver }) => tid === pid && !isOver);
  }

  spareId(): number {
    return this.nextId++;
  }

  /** A new process or thread; `result` is that of the call which made it, undefined where it begins at its `pc`. */
  start(process: Process, thread: Thread, result: bigint | undefined): void {
    if (!this.processes.includes(process)) this.processes.push(process);
    this.threads.push(thread);
    if (result !== undefined) this.finish(thread, this.opOf(thread), result);
  }

  inheritPages(parent: Process, child: Process): void {
    this.loaded.set(child.mappings, [...(this.loaded.get(parent.mappings) ?? [])]);
  }

  dropPages(process: Process, start: bigint, end: bigint): void {
    const kept = (this.loaded.get(process.mappings) ?? []).flatMap((one) => {
      if (one.end <= start || one.start >= end) return [one];
      const before = one.start < start ? [{ ...one, end: start }] : [];
      const after = one.end > end ? [{ ...one, start: end, fileOffset: one.fileOffset + (end - one.start) }] : [];
      return [...before, ...after];
    });
    this.loaded.set(process.mappings, kept);
  }

  freeRange(process: Process, size: bigint): bigint {
    let start = 0x7e00_0000_0000n - size;
    while (process.mappings.overlaps(start, start + size) || this.isInHole(start, start + size)) start -= size + 0x10_0000n;
    return start;
  }

  isInHole(start: bigint, end: bigint): boolean {
    const { holeBase, holeSize } = this.image.header;
    return start < holeBase + holeSize && end > holeBase;
  }

  load4(process: Process, address: bigint): number {
    const block = this.blockAt(process, address, 4);
    return block.view.getUint32(block.at(address), true);
  }

  load8(process: Process, address: bigint): bigint {
    const block = this.blockAt(process, address, 8);
    return block.view.getBigUint64(block.at(address), true);
  }

  store4(process: Process, address: bigint, value: number): void {
    const block = this.blockAt(process, address, 4);
    block.view.setUint32(block.at(address), value >>> 0, true);
  }

  store8(process: Process, address: bigint, value: bigint): void {
    const block = this.blockAt(process, address, 8);
    block.view.setBigUint64(block.at(address), value & word, true);
  }

  store(process: Process, address: bigint, bytes: Uint8Array): void {
    this.bytesAt(process, address, bytes.length).set(bytes);
  }

  /** Bytes of the restore's own memory, in place. */
  bytesAt(process: Process, address: bigint, length: number): Uint8Array {
    const block = this.blockAt(process, address, length);
    return block.bytes.subarray(block.at(address), block.at(address) + length);
  }

  text(process: Process, address: bigint): string {
    const block = this.blockAt(process, address, 1);
    const start = block.at(address);
    return Buffer.from(block.bytes.subarray(start, block.bytes.indexOf(0, start))).toString("utf8");
  }

  /** Whether there is memory of a task that is still to be read from the image: a page of it may be made before. */
  private canTouch(process: Process, address: bigint): boolean {
    const isLoaded = (this.loaded.get(process.mappings) ?? []).some(({ start, end }) => address >= start && address < end);
    return !isLoaded && !this.isInHole(address, address + 4n) && process.mappings.covers(address, address + 4n, 3);
  }

  /** Nothing is ever written to memory of the tasks that is not theirs: all that ops touch is the restore's own. */
  private blockAt(process: Process, address: bigint, length: number): Block {
    for (const block of [process.memory, this.control, ...process.own.values()]) if (block.has(address, length)) return block;
    assert.fail(`${length} bytes at ${address.toString(16)} are not the restore's`);
  }

  private opOf(thread: Thread): Op {
    return this.image.ops[thread.pc] ?? assert.fail(`the thread ran past the last op, ${thread.pc}`);
  }

  /** Lets a thread do what it can; true if it did something. */
  private turn(thread: Thread): boolean {
    let hasMoved = false;
    for (let steps = 0; !thread.isOver && steps < 100_000; steps++) {
      const op = this.opOf(thread);
      if (thread.waiting) {
        const result = thread.waiting();
        if (result === undefined) return hasMoved;
        thread.waiting = undefined;
        this.finish(thread, op, result);
      } else this.execute(thread, op);
      hasMoved = true;
    }
    return hasMoved;
  }

  private execute(thread: Thread, op: Op): void {
    const args = op.args.map((value, index) => this.argument(thread, op.modes[index] ?? 0, value));
    const result = this.perform(thread, op, args);
    if (result === "went") return;
    if (typeof result === "function") thread.waiting = result;
    else if (!thread.isOver) this.finish(thread, op, result);
  }

  /** The value that the row of a thread has at an offset. */
  private inRow({ process, row }: Thread, at: bigint, width: 4 | 8): bigint {
    assert.ok(row !== undefined && at + BigInt(width) <= row.stride, `a row has ${width} bytes at ${at}`);
    return width === 8 ? this.load8(process, row.at + at) : BigInt(this.load4(process, row.at + at));
  }

  private argument(thread: Thread, given: number, offered: bigint): bigint {
    const { process } = thread;
    const { header } = this.image;
    const data = header.addrProgram + header.ofsData;
    const [mode, isOfRow] = [given & ~(inRow.u4 | inRow.u8), (given & (inRow.u4 | inRow.u8)) !== 0];
    const value = isOfRow ? this.inRow(thread, offered, (given & inRow.u8) === 0 ? 4 : 8) : offered;
    if (isOfRow) this.image.judgeArgument(mode, value);
    const own = Number(value & 0xffff_ffffn) - firstOwnSlot;
    const slot = (): bigint => header.addrSlots + 8n * (value & 0xffff_ffffn);
    if (mode === Mode.slot && own >= 0) return ((thread.slots[own] ?? 0n) + (BigInt.asIntN(64, value) >> 32n)) & word;
    assert.ok(mode !== Mode.slotAddress || own < 0, "addresses of a thread's own slots are not in the model");
    switch (mode) {
      case Mode.imm:
        return value;
      case Mode.data:
        return data + value;
      case Mode.slot:
        return (this.load8(process, slot()) + (BigInt.asIntN(64, value) >> 32n)) & word;
      case Mode.slotAddress:
        return slot();
      case Mode.mem4:
        return BigInt(this.load4(process, data + value));
      case Mode.mem8:
        return this.load8(process, data + value);
      case Mode.control:
        return header.addrControl + value;
      case Mode.control4:
        return BigInt(this.load4(process, header.addrControl + value));
      case Mode.auxv:
        return value === sysinfoEhdr ? vdso : 0n;
      case Mode.hole:
        return header.holeBase + value;
      case Mode.mem4s:
        return BigInt(this.load4(process, data + value) | 0) & word;
      default:
        assert.fail(`argument mode ${mode}`);
    }
  }

  /** Does an op; what it gives, what it waits for, or "went" if it has set the next op itself. */
  private perform(thread: Thread, op: Op, args: readonly bigint[]): bigint | (() => bigint | undefined) | "went" {
    const { process } = thread;
    const [a = 0n, b = 0n, c = 0n, d = 0n] = args;
    switch (op.kind) {
      case OpKind.syscall:
        return this.systemCall(thread, op, args);
      case OpKind.store4:
        if (b === 0n && this.canTouch(process, a)) return 0n;
        this.store4(process, a, Number(b & 0xffff_ffffn));
        return 0n;
      case OpKind.store8:
        this.store8(process, a, b);
        return 0n;
      case OpKind.copy:
        // The bytes of an old vDSO are the one thing that is written to memory of a task.
        if (this.options.otherVdso !== undefined && process.mappings.covers(a, a + c, 3)) {
          process.written.set(a, this.bytesAt(process, b, Number(c)).slice());
          return 0n;
        }
        this.store(process, a, this.bytesAt(process, b, Number(c)).slice());
        return 0n;
      case OpKind.compare:
        return Buffer.compare(this.bytesAt(process, a, Number(c)), this.bytesAt(process, b, Number(c))) === 0 ? 0n : 1n;
      case OpKind.find: {
        // The vDSO of this machine is taken to be the one that is looked for.
        if (a === vdso) return d > b || this.options.otherVdso !== undefined ? -ENOENT : a;
        const at = Buffer.from(this.bytesAt(process, a, Number(b))).indexOf(this.bytesAt(process, c, Number(d)));
        return at < 0 ? -ENOENT : a + BigInt(at);
      }
      case OpKind.symbol: {
        assert.equal(a, vdso, "functions are looked for in the vDSO");
        const at = this.options.otherVdso?.indexOf(this.text(process, b)) ?? -1;
        return at < 0 ? -ENOENT : a + BigInt(0x100 * (at + 1));
      }
      case OpKind.compute:
        return this.computed(process, op.nr, a, b);
      case OpKind.jump:
        thread.pc = jumps(op.nr, a, b) ? op.target : thread.pc + 1;
        return "went";
      case OpKind.thread:
        return this.newThread(thread, op, a);
      case OpKind.count:
        this.store4(process, a, (this.load4(process, a) + Number(b & 0xffff_ffffn)) >>> 0);
        return 0n;
      case OpKind.wait:
        return () => this.waited(thread, a, b, c);
      case OpKind.format: {
        const text = `${this.text(process, b)}${c & word}${this.text(process, d)}`;
        this.store(process, a, Buffer.from(`${text}\0`, "latin1"));
        return BigInt(text.length);
      }
      case OpKind.print:
        this.printed.push(this.textFor(thread, op.message));
        return 0n;
      case OpKind.sigreturn:
        this.frames.set(thread.tid, readFrame(process, a));
        thread.isOver = thread.hasLeft = true;
        return "went";
      case OpKind.leave:
        this.frames.set(thread.tid, frameOf(process, args));
        thread.isOver = thread.hasLeft = true;
        return "went";
      case OpKind.each:
        thread.row = { at: a, stride: c, left: b - 1n, body: thread.pc + 1 };
        return 0n;
      case OpKind.next: {
        const { row } = thread;
        assert.ok(row !== undefined, "rows end where they began");
        if (row.left === 0n) thread.row = undefined;
        else thread.row = { ...row, at: row.at + row.stride, left: row.left - 1n };
        thread.pc = row.left === 0n ? thread.pc + 1 : row.body;
        return "went";
      }
      case OpKind.fail:
        return this.failed(thread, op, a);
      case OpKind.report:
        return this.failed(thread, op, 0n);
      case OpKind.populate:
        assert.ok(process.mappings.covers(a, a + b), "what is given memory is mapped");
        return 0n;
      case OpKind.cpuid:
        return a === 13n && c === 1n ? (intelOffsets[Number(b)] ?? 0n) : 0n;
      case OpKind.xgetbv:
        return 0x602e7n;
      case OpKind.fillTiles:
        return 0n;
      case OpKind.load:
        return this.load(thread, args);
      case OpKind.protect:
        return this.protect(thread, a, b, c);
      case OpKind.frames:
        this.frameTable = this.bytesAt(process, a, Number(24n * b)).slice();
        return 0n;
      default:
        assert.fail(`op kind ${op.kind}`);
    }
  }

  /** Records `range`. */
  private protect({ process: { memory, mappings }, calls }: Thread, at: bigint, count: bigint, prot: bigint): bigint {
    for (let record = at; record < at + 16n * count; record += 16n) {
      const [start, end] = [memory.view.getBigUint64(memory.at(record), true), memory.view.getBigUint64(memory.at(record + 8n), true)];
      assert.ok(start < end, "what is protected is not empty");
      calls.push("mprotect");
      if (!mappings.covers(start, end)) return -ENOMEM;
      mappings.protect(start, end, Number(prot));
    }
    return 0n;
  }

  private systemCall(thread: Thread, op: Op, args: readonly bigint[]): bigint | (() => bigint | undefined) {
    const name = names.get(op.nr) ?? assert.fail(`system call ${op.nr}`);
    // Advice to have memory ready (MADV_POPULATE_WRITE, MADV_COLLAPSE) is what `populate` may do by itself, too.
    const isPreparing = name === "madvise" && (args[2] === 23n || args[2] === 25n);
    thread.calls.push(isPreparing ? "populate" : name);
    assert.ok(
      thread.unprivileged === undefined || !needsPrivilege.has(name),
      `${name} comes after ${thread.unprivileged}, which gave privileges up (thread ${thread.tid}, op ${thread.pc})`,
    );
    const model = calls[name];
    return model === undefined ? expected(op) : model(this, thread, args, op);
  }

  private computed(process: Process, operator: number, a: bigint, b: bigint): bigint {
    const bits = b & 63n;
    switch (operator) {
      case 0:
        return a;
      case 1:
        return a + b;
      case 2:
        return a - b;
      case 3:
        return a & b;
      case 4:
        return a | b;
      case 5:
        return a << bits;
      case 6:
        return a >> bits;
      case 7:
        return BigInt(this.load4(process, (a + b) & word));
      case 8:
        return this.load8(process, (a + b) & word);
      default:
        assert.fail(`operator ${operator}`);
    }
  }

  private newThread(maker: Thread, op: Op, at: bigint): bigint {
    maker.calls.push("clone3");
    const flags = this.load8(maker.process, at);
    assert.notEqual(flags & 0x100n, 0n, "a thread shares the memory of its maker");
    const wanted = this.load8(maker.process, at + 72n) > 0n ? this.load4(maker.process, this.load8(maker.process, at + 64n)) : 0;
    if (wanted !== 0 && this.isAlive(wanted)) return -17n;
    const tid = wanted === 0 ? this.spareId() : wanted;
    const isTask = (flags & 0x10000n) === 0n;
    const { process } = maker;
    const descriptors = (flags & 0x400n) !== 0n ? process.descriptors : new Map(process.descriptors);
    // Without CLONE_THREAD it is a process of its own in the same memory.
    const owner = isTask ? new Process(tid, process, process.memory, process.mappings, descriptors) : process;
    const thread = new Thread(owner, tid, op.target);
    thread.unprivileged = maker.unprivileged;
    thread.row = maker.row;
    this.start(owner, thread, undefined);
    return BigInt(tid);
  }

  private waited(thread: Thread, counter: bigint, wanted: bigint, child: bigint): bigint | undefined {
    const now = this.load4(thread.process, counter);
    if (now >= Number(wanted & 0xffff_ffffn) || this.load4(thread.process, this.image.header.addrControl) !== 0) return BigInt(now);
    const ended = this.processes.find((one) => one.pid === Number(child & 0xffff_ffffn) && one.parent === thread.process);
    return child !== 0n && ended?.exitStatus !== undefined ? -ECHILD : undefined;
  }

  /** Records `frame`. */
  private frameTable: Uint8Array = new Uint8Array(0);

  private load(
    { process }: Thread,
    [fd = 0n, records = 0n, count = 0n, offset = 0n, added = 0n, noVerify = 0n]: readonly bigint[],
  ): bigint {
    const isReading = BigInt.asIntN(32, fd) >= 0n;
    let at = offset;
    let sum = 0n;
    for (let index = 0n; index < count; index++) {
      const record = view(this.bytesAt(process, records + 16n * index, 16));
      const start = (record.getBigUint64(0, true) + added) & word;
      const length = record.getUint32(8, true);
      const end = start + BigInt(length);
      // Bytes that are only looked at are there already, in a mapping of the image.
      const canBe = process.mappings.covers(start, end, isReading ? 2 : 1) || this.isInHole(start, end);
      assert.ok(canBe, `stored bytes are in memory at ${start.toString(16)}`);
      const path = isReading ? this.pathOf(process, fd) : this.image.path;
      assert.ok(path !== undefined, "stored bytes are read from a file");
      if (noVerify === 0n && !this.isSumRight(path, at, length, record.getUint32(12, true))) return -EBADMSG;
      // A page of a parent's tables only tells whether it is the right one.
      if (isReading && !this.isInHole(start, end)) {
        this.dropPages(process, start, end);
        const pages = this.loaded.get(process.mappings) ?? [];
        this.loaded.set(process.mappings, [...pages, { start, end, fileOffset: at, path }]);
      }
      at += BigInt(length);
      sum += BigInt(length);
    }
    return sum;
  }

  private pathOf(process: Process, fd: bigint): string | undefined {
    return process.descriptors.get(Number(BigInt.asIntN(32, fd)))?.file.path;
  }

  private isSumRight(path: string, offset: bigint, length: number, sum: number): boolean {
    if (sum === 0 || this.left < length) return true;
    this.left -= length;
    if (path === this.image.path) return storedSum(this.content(offset, length)) === sum;
    const file = FileBytes.open(path);
    try {
      return storedSum(file.read(offset, length)) === sum;
    } finally {
      file.close();
    }
  }

  /** Stored bytes, counted as if nothing were compressed. */
  private content(offset: bigint, length: number): Uint8Array {
    const table = view(this.frameTable);
    if (table.byteLength === 0 || offset < table.getBigUint64(0, true)) return this.image.bytes(offset, length);
    const parts: Uint8Array[] = [];
    for (let at = 0; at < table.byteLength; at += 24) {
      const start = Number(table.getBigUint64(at, true) - offset);
      const [size, stored] = [table.getUint32(at + 16, true), table.getUint32(at + 20, true)];
      if (start + size <= 0 || start >= length) continue;
      const bytes = this.image.bytes(table.getBigUint64(at + 8, true), stored);
      const content = stored === size ? bytes : new Uint8Array(size);
      if (stored !== size) assert.ok(inflateLz4(bytes, content), "a frame is a block of LZ4");
      parts.push(content.subarray(Math.max(0, -start), Math.min(size, length - start)));
    }
    return Buffer.concat(parts);
  }

  private finish(thread: Thread, op: Op, result: bigint): void {
    const value = BigInt.asIntN(64, result);
    if (op.store !== 0xffffffff && op.store >= firstOwnSlot) thread.slots[op.store - firstOwnSlot] = value & word;
    else if (op.store !== 0xffffffff) this.store8(thread.process, this.image.header.addrSlots + 8n * BigInt(op.store), value);
    if (isRight(op, value)) thread.pc += 1;
    else if ((op.flags & 1) !== 0) thread.pc = op.target;
    else this.failed(thread, op, value);
  }

  private failed(thread: Thread, op: Op, result: bigint): never {
    throw new Failed(
      `${this.textFor(thread, op.subject)}: ${this.textFor(thread, op.message)}: op ${thread.pc} gave ${BigInt.asIntN(64, result)} ` +
        `(${names.get(op.nr) ?? "no call"}); ${this.textFor(thread, op.hint)}`,
    );
  }

  /** A text as whoever runs the op would say it. */
  private textFor(thread: Thread, offset: number): string {
    const text = this.image.text(offset < inRow.text ? offset : Number(this.inRow(thread, BigInt(offset - inRow.text), 4)));
    return thread.row === undefined ? text : text.replaceAll("\u0001", String(this.inRow(thread, 0n, 4)));
  }
}

function isRight(op: Op, result: bigint): boolean {
  if (op.expect === 0) return true;
  if (op.expect === 1) return !isError(result);
  return result === op.expectA || (op.expect === 3 && result === op.expectB);
}

function jumps(how: number, a: bigint, b: bigint): boolean {
  const [x, y] = [BigInt.asIntN(64, a), BigInt.asIntN(64, b)];
  return [true, x === y, x !== y, x < y, x >= y, (x & y) !== 0n, (x & y) === 0n][how] ?? assert.fail(`jump ${how}`);
}

/** Where components of extended state lie on Intel processors (CPUID leaf 13). */
const intelOffsets: Readonly<Record<number, bigint>> = { 2: 576n, 5: 1088n, 6: 1152n, 7: 1664n, 9: 2688n, 17: 2752n, 18: 2816n };
