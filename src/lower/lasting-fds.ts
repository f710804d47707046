// SPDX-License-Identifier: Apache-2.0
/** Descriptors that the first process keeps when it closes all others, and what it does with them at the end. */
import { openFlags } from "../linux/open-flags.js";
import type { HighFds } from "./high-fds.js";
import type { Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

export class LastingFds {
  readonly #slots: Slot[] = [];
  readonly #ends: (() => void)[] = [];
  #longest: Slot | undefined;

  constructor(
    private readonly builder: ProgramBuilder,
    private readonly range: HighFds,
  ) {}

  /** See LowerContext.untilEnd. */
  add(slots: readonly Slot[], build: (fds: readonly number[]) => void): void {
    const first = this.range.firstUntilEnd + this.#slots.length;
    this.#slots.push(...slots);
    this.#ends.push(() => build(slots.map((_, index) => first + index)));
  }

  /** One that is closed when the tree runs; negative where there is none. */
  keepLongest(slot: Slot): void {
    this.#longest = slot;
  }

  /** Ops: they get the numbers that they have to the end. */
  keep(): void {
    [...this.#slots, ...(this.#longest === undefined ? [] : [this.#longest])].forEach((slot, index) => {
      // A slot may hold none.
      this.builder.syscall("dup3", [slot, this.range.firstUntilEnd + index, openFlags.CLOEXEC], { expect: "any" });
    });
  }

  /** Ops: all descriptors of the restore but these are closed. */
  closeOthers(): void {
    const { first, firstUntilEnd, last } = this.range;
    const end = this.#slots.length === 0 && this.#longest === undefined ? last : firstUntilEnd - 1;
    this.builder.syscall("close_range", [first, end, 0], { message: "close what the restore had open" });
  }

  /** Ops: what is to be done at the end, in the order in which it was added; then they are closed. */
  end(): void {
    if (this.#slots.length === 0) return;
    for (const build of this.#ends) build();
    const end = this.#longest === undefined ? this.range.last : this.range.firstUntilEnd + this.#slots.length - 1;
    this.builder.syscall("close_range", [this.range.firstUntilEnd, end, 0], { message: "close what the restore had open" });
  }

  /** Ops: the tree runs. */
  close(): void {
    if (this.#longest === undefined) return;
    const first = this.range.firstUntilEnd + this.#slots.length;
    this.builder.syscall("close_range", [first, this.range.last, 0], { message: "close what the restore had open" });
  }
}
