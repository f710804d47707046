// SPDX-License-Identifier: Apache-2.0
/** All descriptors of some processes, looked at natively in one go (native/addon/descriptors.h). */
import { isLogged, logCall } from "../errors/log.js";
import { errno } from "../linux/errno.js";
import { addon } from "./addon.js";
import { SysError } from "./sys.js";

/** Bytes of a row, and numbers of 4 bytes from where on what is in it. */
const rowLength = 240;
const word = {
  process: 0,
  fd: 1,
  copied: 2,
  statResult: 40,
  flags: 42,
  signal: 44,
  ownerResult: 46,
  owner: 48,
  magic: 50,
  magicResult: 52,
  info: 54,
  link: 56,
  alike: 58,
  same: 59,
  all: rowLength / 4,
} as const;
const statAt = 16;
const statLength = 144;

/** Numbers for each row that the addon works with. */
const scratchOfRow = 9;
const firstRows = 256;
/** Bytes of fdinfo and of the link of a descriptor, usually: what does not fit is asked by itself. */
const arenaOfRow = 512;
const longestArena = 0x7fff_ffff;

/** Calls by `failure[0]`. */
const steps = ["pidfd_open", "open", "kcmp"] as const;

/** What is known of each descriptor, ascending by process and number. Rows are numbered from 0. */
export class DescriptorLooks {
  readonly #words: Int32Array;

  constructor(
    readonly count: number,
    private readonly rows: Buffer,
    private readonly arena: Buffer,
    private readonly state: BigInt64Array,
  ) {
    this.#words = new Int32Array(rows.buffer, rows.byteOffset, rows.length >> 2);
  }

  /** Index of its process. */
  process(row: number): number {
    return this.#words[row * word.all + word.process] as number;
  }

  fd(row: number): number {
    return this.#words[row * word.all + word.fd] as number;
  }

  /** The first row of which everything but number and process is the same: itself, if no other. */
  alike(row: number): number {
    return this.#words[row * word.all + word.alike] as number;
  }

  /** The first row that is the same open file description, once `awaitSame` has returned. */
  same(row: number): number {
    return this.#words[row * word.all + word.same] as number;
  }

  /** Waits until it is known which are the same. @throws SysError */
  awaitSame(): void {
    const result = addon().awaitBackground(this.state);
    if (result < 0) throw new SysError("kcmp", -result, "open files of the tree");
  }

  /** Of pidfd_getfd: 0 or −errno. */
  copied(row: number): number {
    return this.#words[row * word.all + word.copied] as number;
  }

  /** Of fstat: 0 or −errno. */
  statResult(row: number): number {
    return this.#words[row * word.all + word.statResult] as number;
  }

  /** struct stat, one character a byte. */
  stat(row: number): string {
    const at = row * rowLength + statAt;
    return this.rows.toString("latin1", at, at + statLength);
  }

  /** F_GETFL, or −errno. */
  flags(row: number): number {
    return this.#words[row * word.all + word.flags] as number;
  }

  /** F_GETSIG, or −errno. */
  signal(row: number): number {
    return this.#words[row * word.all + word.signal] as number;
  }

  /** F_GETOWN_EX: type and id; undefined where it cannot be had. */
  owner(row: number): readonly [number, number] | undefined {
    const at = row * word.all;
    if (this.#words[at + word.ownerResult] !== 0) return undefined;
    return [this.#words[at + word.owner] as number, this.#words[at + word.owner + 1] as number];
  }

  /** f_type of fstatfs, its halves; undefined where it cannot be had. */
  magic(row: number): readonly [number, number] | undefined {
    const at = row * word.all;
    if (this.#words[at + word.magicResult] !== 0) return undefined;
    return [this.#words[at + word.magic] as number, this.#words[at + word.magic + 1] as number];
  }

  /** fdinfo, one character a byte; undefined if it could not be had, or is very long. */
  info(row: number): string | undefined {
    return this.#text(row * word.all + word.info);
  }

  /** The link's target, likewise. */
  link(row: number): string | undefined {
    return this.#text(row * word.all + word.link);
  }

  #text(at: number): string | undefined {
    const [from, length] = [this.#words[at] as number, this.#words[at + 1] as number];
    return length < 0 ? undefined : this.arena.toString("latin1", from, from + length);
  }
}

/** Numbers of a process whose place in the order is remembered. */
const mostRanked = 1 << 16;

/** An order that bin/bundle.cjs has begun to find, before it loads any code: what it gave to the addon. */
interface BegunOrder {
  readonly pid: number;
  /** Descriptors for which there is room. */
  readonly room: number;
  readonly ranks: Int32Array;
  readonly state: BigInt64Array;
}

/** Where it leaves that. */
const begunOrder = Symbol.for("crimg.descriptor-order");

/** What a look works with, for `room` descriptors: a power of two. */
class LookRoom {
  // Only what is written to takes memory.
  readonly rows: Buffer;
  readonly arena: Buffer;
  readonly scratch: Int32Array;
  /** How far it is: struct asked, twice. */
  readonly asked = new BigInt64Array(10);

  constructor(room: number) {
    this.rows = Buffer.allocUnsafeSlow(room * rowLength);
    this.arena = Buffer.allocUnsafeSlow(Math.min(room * arenaOfRow, longestArena));
    this.scratch = new Int32Array(room * scratchOfRow);
  }
}

/**
 * The order that kcmp gives the descriptors of a process which still runs, found by another thread. It need not be right: when
 * the process stands still it only has to be confirmed, which takes a tenth of the calls.
 */
export class DescriptorOrder {
  readonly #ranks: Int32Array;
  readonly #state: BigInt64Array;
  #begun: LookRoom | undefined;
  /** Made before the process stands still. */
  #spare: LookRoom | undefined;
  /** Descriptors for which there is room: a power of two. */
  readonly room: number;

  /** Begins, unless that was done already. @param count descriptors of the process, as far as is known */
  constructor(
    readonly pid: number,
    readonly count: number,
  ) {
    const begun = Reflect.get(globalThis, begunOrder) as BegunOrder | undefined;
    if (begun?.pid === pid && begun.room >= count) {
      [this.room, this.#ranks, this.#state] = [begun.room, begun.ranks, begun.state];
      return;
    }
    let room = 64;
    while (room < count + 32) room *= 2;
    this.room = room;
    this.#ranks = new Int32Array(Math.min(room * 2, mostRanked));
    this.#state = new BigInt64Array(2);
    const rows = Buffer.allocUnsafeSlow(room * rowLength);
    addon().orderDescriptors(Int32Array.of(pid), rows, new Int32Array(room * scratchOfRow), this.#ranks, this.#state);
  }

  /** Waits until it is found: better now than while the process stands still. */
  settle(): void {
    addon().awaitBackground(this.#state);
    this.#spare ??= new LookRoom(this.room);
  }

  /**
   * Has another thread begin to look at the descriptors now that the process stands still, until `lookAtDescriptors` goes on with it.
   * @param isAlone no other process will be looked at
   */
  beginLook(isAlone: boolean): void {
    const { ranks } = this;
    this.#begun = undefined;
    if (!isAlone || ranks.length === 0) return;
    this.#begun = this.#spare ?? new LookRoom(this.room);
    this.#spare = undefined;
    const { rows, scratch, arena, asked } = this.#begun;
    addon().beginLook(Int32Array.of(this.pid), rows, scratch, arena, asked, ranks);
  }

  /** What has been begun, once. */
  takeBegun(): LookRoom | undefined {
    const begun = this.#begun;
    this.#begun = undefined;
    return begun;
  }

  /** Places by number, from 1 on; 0 where it is not known. Empty if they are not all found yet. */
  get ranks(): Int32Array {
    return Atomics.load(this.#state, 0) !== 0n && this.#state[1] === 0n ? this.#ranks : new Int32Array(0);
  }
}

/** Looks at every descriptor of frozen processes. `order`: of one of them, from before. @throws SysError */
export function lookAtDescriptors(pids: readonly number[], order?: DescriptorOrder): DescriptorLooks {
  const failure = new Int32Array(2);
  const begun = order?.takeBegun();
  let known = pids.length === 1 && pids[0] === order?.pid ? begun : undefined;
  for (let room = Math.max(firstRows, order?.room ?? 0); ; room *= 4, known = undefined) {
    const { rows, scratch, arena, asked } = known ?? new LookRoom(room);
    const state = new BigInt64Array(2);
    const ranks = order?.ranks ?? new Int32Array(0);
    const count = addon().lookAtDescriptors(Int32Array.from(pids), rows, scratch, arena, failure, state, ranks, asked, order?.pid ?? 0);
    if (count >= 0) {
      if (isLogged()) logLooks(count);
      return new DescriptorLooks(count, rows, arena, state);
    }
    if (count === -errno.E2BIG) continue;
    const pid = pids[failure[1] ?? 0] ?? 0;
    throw new SysError(steps[failure[0] ?? 0] ?? "open", -count, failure[0] === 0 ? `process ${pid}` : `/proc/${pid}/fd`);
  }
}

/** What is asked of each. */
const callsOfRow = ["pidfd_getfd", "fstat", "fstatfs", "fcntl", "fcntl", "fcntl", "close", "open, read, close", "readlink"] as const;

function logLooks(count: number): void {
  for (let row = 0; row < count; row++) for (const name of callsOfRow) logCall("crimg", name, 0);
}
