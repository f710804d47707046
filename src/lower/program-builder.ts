// SPDX-License-Identifier: Apache-2.0
/**
 * Builds a restore program: ops, their data, slots, labels. Pure; linking (link-program.ts) gives it addresses.
 *
 *     const b = new ProgramBuilder();
 *     const fd = b.slot("fd of /etc/motd");
 *     b.about("task 7 (cat)", () => {
 *       b.syscall("openat", [AT_FDCWD, b.string("/etc/motd"), O_RDONLY, 0], { store: fd, message: "open /etc/motd for fd 3" });
 *       b.syscall("dup3", [fd, 3, 0], { message: "put /etc/motd at fd 3" });
 *       b.syscall("close", [fd]);
 *     });
 *
 * Every op that can fail in the world's hands has a message: an action and its object ("open /x for fd 3"); the
 * subject ("task 7 (cat)") and the errno text are put around it. A system call's result must not be an error
 * (`-4095…-1`) unless `expect` says otherwise; with `orElse` a wrong result jumps instead of failing.
 */
import { ByteWriter } from "../bytes/byte-writer.js";
import {
  type ComputeOp,
  type JumpIf,
  type OpKind,
  computeOpValues,
  jumpIfValues,
  optionSlotValues,
  pieceSize,
} from "../gen/restore-program.js";
import { OpStore } from "./op-store.js";
import { type Arg, DataRef, firstLocalSlot, Label, numLocalSlots, Shared, Slot } from "./operands.js";
import { addForEach } from "./row-ops.js";
import { nr, type SyscallName } from "../linux/syscall-numbers.js";
import type { ExtentRow } from "../gen/tables.js";
import { cutExtent } from "../model/stored-chunks.js";

/** Which results are right: any; no error; exactly this; one of two. */
export type Expectation = "any" | "not_error" | number | bigint | readonly [number | bigint, number | bigint];

export interface OpOptions {
  readonly store?: Slot;
  readonly expect?: Expectation;
  /** Where a wrong result goes; without it a wrong result ends the whole restore. */
  readonly orElse?: Label;
  /** -EEXIST is tried again for half a second: the id of a process that is gone is in use a moment longer. */
  readonly isPatient?: boolean;
  /** The action and its object, such as `open /var/x for fd 8`. */
  readonly message?: string;
  /** What to do if it fails, one sentence without a full stop. */
  readonly hint?: string;
}

/** An address in the hole: that many bytes from its base. */
export interface HoleAddress {
  readonly hole: bigint;
}

/** A u8 in the data that is to hold the address of something. */
export interface PointerFixup {
  readonly at: DataRef;
  readonly target: DataRef | Slot | HoleAddress | "hole_size";
}

/** `count` records `piece`, one after the other, of chunks that follow each other from `fileOffset` on. */
export interface SumFixup {
  readonly at: DataRef;
  readonly fileOffset: bigint;
  readonly count: number;
  /** What extents name the file by. */
  readonly source: number;
}

/** Bytes that ops for rows have in common where they are the same; siginfo_t has 128. */
const maxShortBytes = 128;

/** ENODEV, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH: the network of a rehearsal has nothing but the loopback device. */
const onlyOutside = [19, 99, 101, 113];

export class ProgramBuilder {
  readonly ops = new OpStore(
    (text) => this.string(text).offset,
    (text) => this.data.terminated(text),
  );
  readonly data = new ByteWriter(4096);
  /** Bytes of zeroed memory behind the data. */
  zeroedSize = 0;
  readonly slots: Slot[] = [];
  readonly counters: Shared[] = [];
  readonly pids: Shared[] = [];
  readonly endingPids: Shared[] = [];
  readonly pointers: PointerFixup[] = [];
  /** Paths that --files can name, and the slots of their policies. */
  readonly files: { readonly path: string; readonly slot: Slot }[] = [];
  /** Pieces of stored bytes in the data, whose checksums are put in when they are known. */
  readonly sums: SumFixup[] = [];
  readonly #strings = new Map<string, DataRef>();
  readonly #rehearsedNames = new Map<string, string>();
  /** Slots that ops for a row have so far; undefined: no such ops are being added. */
  #localSlots: number | undefined;
  /** Short bytes that ops for rows read. */
  readonly #shortBytes = new Map<string, DataRef>();
  #subject = "";

  constructor() {
    // Data offset 0 means "no text".
    this.data.zeros(16);
    // The option slots stand first, in the order of option_slot in restore_program.ksy.
    const options = [
      "detach",
      "pidfile",
      "pid mode",
      "image fd",
      "leave stopped",
      "no verify",
      "clock",
      "rehearse",
      "gpu map",
      "pid view",
      "memory",
      "rootfs",
    ];
    for (const name of options) this.slot(name === "image fd" ? name : `option ${name}`);
  }

  /** Not 0 if the user wants stored bytes as they are. */
  get noVerify(): Slot {
    const slot = this.slots[optionSlotValues.no_verify];
    if (slot === undefined) throw new Error("no option slots");
    return slot;
  }

  /** Not 0 in a rehearsal: the tree is made in namespaces of its own and discarded (rehearsal.ts). */
  get rehearsal(): Slot {
    const slot = this.slots[optionSlotValues.rehearse];
    if (slot === undefined) throw new Error("no option slots");
    return slot;
  }

  /** Ops that somebody outside could see: left out in a rehearsal. Nothing that they make may be needed later. */
  outside(build: () => void): void {
    const after = this.label("outside of a rehearsal");
    this.jumpIf(this.rehearsal, "ne", 0, after);
    build();
    this.place(after);
  }

  /** One value, or in a rehearsal another. */
  either(real: Arg, rehearsed: Arg, what: string): Slot {
    const slot = this.slot(what);
    const isReal = this.label(what);
    this.compute(slot, "move", real);
    this.jumpIf(this.rehearsal, "eq", 0, isReal);
    this.compute(slot, "move", rehearsed);
    this.place(isReal);
    return slot;
  }

  /** A system call on what may be only outside, such as a network device: a rehearsal goes on without it. */
  syscallOutside(name: SyscallName, args: readonly Arg[], options: Omit<OpOptions, "store" | "orElse">): void {
    const result = this.slot(`result of ${name}`);
    const [failed, judged, done] = [this.label("it failed"), this.label("it is judged"), this.label("it is done")];
    this.syscall(name, args, { ...options, store: result, orElse: failed });
    this.jump(done);
    this.place(failed);
    this.jumpIf(this.rehearsal, "eq", 0, judged);
    for (const errno of onlyOutside) this.jumpIf(result, "eq", -errno, done);
    this.place(judged);
    this.fail(options.message ?? name, options.hint, result);
    this.place(done);
  }

  /**
   * The address of a path at which something is going to be made, or that was made. In a rehearsal it is a name in the
   * current directory, which is a private one then.
   */
  nameToMake(path: string): Slot {
    return this.either(this.string(path), this.string(this.rehearsedName(path)), `name of ${path}`);
  }

  /** The name that stands for a path in the private directory of a rehearsal. */
  rehearsedName(path: string): string {
    const known = this.#rehearsedNames.get(path) ?? `made-${this.#rehearsedNames.size}`;
    this.#rehearsedNames.set(path, known);
    return known;
  }

  /**
   * Records `piece` for the chunks of extents that follow each other in the file from `fileOffset` on; `place` says
   * where in memory something at an address of an extent, or at an offset of the file, belongs.
   */
  pieces(
    fileOffset: bigint,
    extents: readonly Pick<ExtentRow, "address" | "length" | "fileOffset">[],
    place: (address: bigint, fileOffset: bigint) => bigint,
    source = 0,
  ): { readonly at: DataRef; readonly count: number } {
    let count = 0;
    for (const extent of extents) cutExtent(extent, () => count++);
    // By hand: there are thousands in a GiB.
    const view = new DataView(new ArrayBuffer(count * pieceSize));
    let next = 0;
    for (const extent of extents) {
      const base = place(extent.address, extent.fileOffset);
      cutExtent(extent, (done, length) => {
        view.setBigUint64(next, base + BigInt(done), true);
        view.setUint32(next + 8, length, true);
        next += pieceSize;
      });
    }
    const at = this.bytes(new Uint8Array(view.buffer));
    this.sums.push({ at, fileOffset, count, source });
    return { at, count };
  }

  /** The same of records that are there; chunks follow each other in the file from `fileOffset` on. */
  pieceRecords(fileOffset: bigint, records: Uint8Array, source: number): { readonly at: DataRef; readonly count: number } {
    const [at, count] = [this.bytes(records), records.length / pieceSize];
    this.sums.push({ at, fileOffset, count, source });
    return { at, count };
  }

  /** Records one `piece` whose checksum is known. */
  piece(to: DataRef, length: number, sum: number): DataRef {
    const bytes = new DataView(new ArrayBuffer(pieceSize));
    bytes.setUint32(8, length, true);
    bytes.setUint32(12, sum, true);
    const at = this.bytes(new Uint8Array(bytes.buffer));
    this.pointer(at, to);
    return at;
  }

  /**
   * Ops for each of many, such as threads: those that `build` makes for one are in the program once, if only values differ. In
   * texts `rowId` stands for what `idOf` says. Meanwhile slots are of the thread that runs the ops, and short data, which nobody
   * may change, are shared.
   */
  forEach<Item>(items: Iterable<Item>, idOf: (item: Item) => number, build: (item: Item) => void): void {
    if (this.#localSlots !== undefined) throw new Error("ops for rows within ops for rows");
    const target = {
      ops: this.ops,
      plain: (kind: "each" | "next") => this.#add(kind, 0, []),
      place: (rows: Uint8Array) => this.#place(rows, 8),
    };
    addForEach(target, items, idOf, (item) => {
      this.#localSlots = 0;
      try {
        build(item);
      } finally {
        this.#localSlots = undefined;
      }
    });
  }

  /**
   * Ops that are run for each of many rows whose values are known already: `columns` u4 each (`ofRow`), the first of which is what
   * `rowId` in texts stands for. For slots and short data see `forEach`: what is needed later must be there before.
   */
  forRows(rows: Uint32Array, columns: number, build: () => void): void {
    if (this.#localSlots !== undefined) throw new Error("ops for rows within ops for rows");
    const at = this.#place(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength), 8);
    this.#add("each", 0, [at, rows.length / columns, 4 * columns]);
    this.#localSlots = 0;
    try {
      build();
    } finally {
      this.#localSlots = undefined;
    }
    this.#add("next", 0, []);
  }

  /** A new slot. */
  slot(name: string): Slot {
    if (this.#localSlots !== undefined && this.#localSlots < numLocalSlots) return new Slot(firstLocalSlot + this.#localSlots++, name);
    const slot = new Slot(this.slots.length, name);
    this.slots.push(slot);
    return slot;
  }

  /** A counter that all tasks share, starting at 0. */
  counter(name: string): Shared {
    const counter = new Shared("counter", this.counters.length, name);
    this.counters.push(counter);
    return counter;
  }

  /**
   * A shared u4 for a process id; whoever is named there is killed if the restore fails, and if it ends before the tree
   * runs, the restore fails.
   */
  pid(name: string): Shared {
    const pid = new Shared("pid", this.pids.length, name);
    this.pids.push(pid);
    return pid;
  }

  /** A shared u4 for the id of a process that ends on purpose: a zombie, a stand-in. */
  endingPid(name: string): Shared {
    const pid = new Shared("ending_pid", this.endingPids.length, name);
    this.endingPids.push(pid);
    return pid;
  }

  label(name: string): Label {
    return new Label(name);
  }

  /** The label stands for the next op. */
  place(label: Label): void {
    if (label.position !== undefined) throw new Error(`label ${label.name} is placed twice`);
    label.position = this.ops.length;
  }

  /** Puts bytes into the data; `alignment` a power of two up to 64. */
  bytes(bytes: Uint8Array, alignment = 8): DataRef {
    if (this.#localSlots === undefined || bytes.length > maxShortBytes) return this.#place(bytes, alignment);
    const key = `${alignment} ${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")}`;
    const ref = this.#shortBytes.get(key) ?? this.#place(bytes, alignment);
    this.#shortBytes.set(key, ref);
    return ref;
  }

  #place(bytes: Uint8Array, alignment: number): DataRef {
    this.data.align(alignment);
    const ref = new DataRef(this.data.length, bytes.length, false);
    this.data.bytes(bytes);
    return ref;
  }

  /** Little-endian integers of 4 bytes. */
  u4s(...values: readonly number[]): DataRef {
    return this.bytes(new Uint8Array(Uint32Array.from(values).buffer));
  }

  /** Little-endian integers of 8 bytes; a place or a slot stands for its address. */
  u8s(...values: readonly (number | bigint | DataRef | Slot)[]): DataRef {
    const numbers = values.map((value) => (typeof value === "number" || typeof value === "bigint" ? BigInt(value) : 0n));
    const all = new Uint8Array(BigInt64Array.from(numbers).buffer);
    const isPlain = values.every((value) => typeof value === "number" || typeof value === "bigint");
    const ref = isPlain ? this.bytes(all) : this.#place(all, 8);
    values.forEach((value, index) => {
      if (value instanceof DataRef || value instanceof Slot) this.pointer(ref.at(index * 8), value);
    });
    return ref;
  }

  /** A NUL-terminated string; equal strings are stored once. Never written to by ops. */
  string(text: string): DataRef {
    let ref = this.#strings.get(text);
    if (ref === undefined) {
      const at = this.data.terminated(text);
      ref = new DataRef(at, this.data.length - at, false);
      this.#strings.set(text, ref);
    }
    return ref;
  }

  /** Zeroed memory that ops may write; takes no room in the file. */
  buffer(size: number, alignment = 16): DataRef {
    this.zeroedSize = Math.ceil(this.zeroedSize / alignment) * alignment;
    const ref = new DataRef(this.zeroedSize, size, true);
    this.zeroedSize += size;
    return ref;
  }

  /** Makes the u8 at `at` hold the address of `target`. */
  pointer(at: DataRef, target: PointerFixup["target"]): void {
    if (at.isZeroed) throw new Error("pointers lie in data that the file holds");
    this.pointers.push({ at, target });
  }

  /** Everything that `build` adds concerns `subject`, such as `task 4711 (redis-server)`. */
  about<Result>(subject: string, build: () => Result): Result {
    const before = this.#subject;
    this.#subject = subject;
    try {
      return build();
    } finally {
      this.#subject = before;
    }
  }

  syscall(name: SyscallName, args: readonly Arg[], options: OpOptions = noOptions): void {
    const { expect, orElse, message } = options;
    // What hardly ever fails is named by its call at least.
    const canEndAll = expect !== "any" && orElse === undefined;
    this.#add("syscall", nr[name], args, options, orElse, expect ?? "not_error", message ?? (canEndAll ? name : undefined));
  }

  /** The u4 at an address becomes a value. */
  store4(address: Arg, value: Arg): void {
    this.#add("store4", 0, [address, value]);
  }

  /** The u8 at an address becomes a value. */
  store8(address: Arg, value: Arg): void {
    this.#add("store8", 0, [address, value]);
  }

  copy(to: Arg, from: Arg, length: Arg): void {
    this.#add("copy", 0, [to, from, length]);
  }

  /** Fails (or jumps to `orElse`) unless two memory ranges are equal. */
  compare(left: Arg, right: Arg, length: Arg, options: OpOptions): void {
    this.#add("compare", 0, [left, right, length], options, options.orElse, options.expect ?? 0);
  }

  /** Finds `needle` in `haystack`; the result is its address. */
  find(haystack: Arg, haystackLength: Arg, needle: Arg, needleLength: Arg, options: OpOptions): void {
    this.#add("find", 0, [haystack, haystackLength, needle, needleLength], options, options.orElse, options.expect ?? "not_error");
  }

  compute(store: Slot, operator: ComputeOp, left: Arg, right: Arg = 0): void {
    this.#add("compute", computeOps[operator], [left, right], { store });
  }

  jump(target: Label): void {
    this.#add("jump", jumpIfs.always, [], noOptions, target);
  }

  /** Jumps if `left condition right` (lt and ge are signed; bits: any common bit). */
  jumpIf(left: Arg, condition: Exclude<JumpIf, "always">, right: Arg, target: Label): void {
    this.#add("jump", jumpIfs[condition], [left, right], noOptions, target);
  }

  /** Adds to a shared counter and wakes who waits for it. */
  count(counter: Shared, by = 1): void {
    this.#add("count", 0, [counter, by]);
  }

  /** Waits until a shared counter is at least `value`; a result of -ECHILD says that `child` ended before. */
  wait(counter: Shared, value: number, child: Arg = 0, options: OpOptions = {}): void {
    this.#add("wait", 0, [counter, value, child], options);
  }

  /** At `to`: prefix, number in decimal, suffix, NUL. */
  format(to: DataRef | Slot, prefix: string, value: Arg, suffix = "", options: OpOptions = {}): void {
    this.#add("format", 0, [to, this.string(prefix), value, this.string(suffix)], options);
  }

  /** A line on standard error. */
  print(message: string): void {
    this.#add("print", 0, [], { message });
  }

  /** Ends the whole restore with this message; `result` is a negative errno or 0. */
  fail(message: string, hint?: string, result: Arg = 0): void {
    this.#add("fail", 0, [result], { message, hint });
  }

  /** Stored bytes go to memory: see the op load. `touches`: to private anonymous memory, which others may be changing the mappings of. */
  load(args: readonly Arg[], options: OpOptions, touches = false): void {
    this.#add("load", touches ? loadTouches : 0, args, options);
  }

  /** Any other op. */
  op(kind: OpKind, args: readonly Arg[], options: OpOptions = {}, target?: Label): void {
    this.#add(kind, 0, args, options, target);
  }

  #add(
    kind: OpKind,
    nr: number,
    args: readonly Arg[],
    options: OpOptions = noOptions,
    target: Label | undefined = options.orElse,
    expect: Expectation = options.expect ?? "any",
    message: string | undefined = options.message,
  ): void {
    if (args.length > 6) throw new Error(`${kind}: more than six arguments`);
    this.ops.add(kind, nr, args, options, target, this.#subject, expect, message);
  }
}

const noOptions: OpOptions = {};
/** `nr` of an op load. */
const loadTouches = 1;
const jumpIfs = jumpIfValues;
const computeOps = computeOpValues;
