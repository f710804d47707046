// SPDX-License-Identifier: Apache-2.0
/** System calls that another thread makes, one after the other, while JavaScript goes on. */
import { addon } from "./addon.js";
import { addressOf } from "./sys.js";
import { nr, type SyscallName } from "../linux/syscall-numbers.js";

const wordsOfCall = 8;
/** Words of the state that both threads see. */
const state = { done: 0, result: 1, stop: 2 } as const;

export class CallBatch {
  readonly #words: BigInt64Array;
  readonly #state = new BigInt64Array(3);
  /** What arguments point to: it must stay until the calls are made. */
  readonly #held: ArrayBufferView[] = [];
  #length = 0;

  /** @param capacity the most calls that will be added */
  constructor(capacity: number) {
    this.#words = new BigInt64Array(capacity * wordsOfCall);
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
  address(buffer: ArrayBufferView): bigint {
    this.#held.push(buffer);
    return addressOf(buffer);
  }

  /** Adds a call. The ones after it are made only if its result is `expected`. */
  add(expected: number, name: SyscallName, ...args: readonly (number | bigint)[]): void {
    const at = this.#length * wordsOfCall;
    if (at === this.#words.length || args.length > 6) throw new RangeError("CallBatch.add");
    this.#words[at] = BigInt(nr[name]);
    for (let index = 0; index < args.length; index++) {
      const value = args[index] as number | bigint;
      this.#words[at + 1 + index] = typeof value === "bigint" ? value : BigInt(value);
    }
    this.#words[at + 7] = BigInt(expected);
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
