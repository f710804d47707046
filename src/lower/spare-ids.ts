// SPDX-License-Identifier: Apache-2.0
/** Ids for processes that exist only while the tree is made, and must not take one that the tree needs. */
import type { Checkpoint } from "../model/checkpoint.js";

export class SpareIds {
  readonly #taken: ReadonlySet<number>;
  /** The highest id that every kernel has (PID_MAX_DEFAULT): where ids are given in ascending order, seldom in use. */
  #last = 32768;

  constructor({ tables }: Checkpoint) {
    this.#taken = new Set([...tables.tasks.flatMap(({ pid, sid, pgid }) => [pid, sid, pgid]), ...tables.threads.map(({ tid }) => tid)]);
  }

  /** An id that nobody in the tree has. Outside of it somebody may: making the process fails then. */
  next(): number {
    do this.#last--;
    while (this.#taken.has(this.#last));
    return this.#last;
  }
}
