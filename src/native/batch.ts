// SPDX-License-Identifier: Apache-2.0
/** System calls that another thread makes, one after the other, while JavaScript goes on. */
import { addon } from "./addon.js";
import { addressOf } from "./sys.js";
import { nr, type SyscallName } from "../linux/syscall-numbers.js";

const wordsOfCall = 8;
/** Stands for no call of the kernel: BATCH_CHECKSUM of the addon. */
const checksumNumber = -1;
/** Words of the state that both threads see. */
const state = { done: 0, result: 1, stop: 2 } as const;

export class CallBatch {
  readonly #words: BigInt64Array;
  readonly #halves: Int32Array;
  readonly #state = new BigInt64Array(3);
  /** What arguments point to: it must stay until the calls are made. */
  readonly #held: ArrayBufferView[] = [];
  #length = 0;

  /** @param capacity the most calls that will be added */
  constructor(capacity: number) {
    this.#words = new BigInt64Array(capacity * wordsOfCall);
    this.#halves = new Int32Array(this.#words.buffer);
  }

  /** Calls added so far. */
  get length(): number {
    return this.#length;
  }

  /** Calls that had the result that was expected, so far. */
  get done(): number {
    return Number(Atomics.load(this.#state, state.done));
  }

  /** After the end, if not all are done and nobody stopped it: the result of the call after those, or −errno. */
  get result(): number {
    return Number(this.#state[state.result]);
  }

  /** The address of a buffer, which is kept for as long as the batch. */
  address(buffer: ArrayBufferView): number {
    this.#held.push(buffer);
    return Number(addressOf(buffer));
  }

  /** Adds a call. The ones after it are made only if its result is `expected`. */
  add(expected: number, name: SyscallName, ...args: readonly (number | bigint)[]): void {
    if (args.length > 6) throw new RangeError("CallBatch.add");
    this.#next(nr[name], args, expected);
  }

  /**
   * Adds, as a call whose result is 0: the `count` u4 at `sums` become the checksums of runs of bytes that follow each
   * other from `address` on; their lengths are the u4 at `lengths`.
   */
  addChecksums(address: number, count: number, lengths: number, sums: number): void {
    this.#next(checksumNumber, [address, count, lengths, sums], 0);
  }

  /** Numbers are stored by halves: a GiB takes thousands of calls, and each BigInt would be an object. */
  #next(number: number, args: readonly (number | bigint)[], expected: number): void {
    const at = this.#length * wordsOfCall;
    if (at === this.#words.length) throw new RangeError("CallBatch: no room");
    const put = (index: number, value: number): void => {
      this.#halves[2 * (at + index)] = value | 0;
      this.#halves[2 * (at + index) + 1] = Math.floor(value / 2 ** 32);
    };
    put(0, number);
    for (let index = 0; index < args.length; index++) {
      const value = args[index] as number | bigint;
      if (typeof value === "bigint") this.#words[at + 1 + index] = value;
      else put(1 + index, value);
    }
    put(7, expected);
    this.#length += 1;
  }

  /** Makes the calls on another thread. Resolves when it is over, however it went. */
  async run(): Promise<void> {
    await addon().runBatch(this.#words.subarray(0, this.#length * wordsOfCall), this.#state);
    // Named after the wait, so that the buffers live until then.
    this.#held.length = 0;
  }

  /** Asks it to end after the call that is being made. */
  stop(): void {
    Atomics.store(this.#state, state.stop, 1n);
  }
}
