// SPDX-License-Identifier: Apache-2.0
/**
 * Files that a tree has open many times: the ops of the second opening are those of all later ones, but for the descriptor and
 * what a failure is called. They are copied, which takes a fraction of making them.
 */
import type { ObjectRow } from "../../gen/tables.js";
import { isOpenedByName, openingOf, slotNameOf } from "../objects.js";
import type { OpStamp } from "../op-store.js";
import type { Slot } from "../operands.js";
import type { ProgramBuilder } from "../program-builder.js";

type Known = { readonly name: string; readonly stamp: OpStamp } | "once";

export class RepeatedOpenings {
  readonly #known = new Map<string, Known>();
  /** That of the last opening: what is opened often comes in a row. */
  #last: { readonly index: number; readonly flags: number; readonly known: Known | undefined } | undefined;

  constructor(private readonly builder: ProgramBuilder) {}

  /** Opens object `index` with these flags: by `build` the first times. */
  open(index: number, object: ObjectRow, flags: number, purpose: string, build: () => Slot): Slot {
    if (!isOpenedByName(object)) return build();
    const known = this.#find(index, flags);
    if (known === undefined) {
      this.#keep(index, flags, "once");
      return build();
    }
    const { builder } = this;
    if (known !== "once") {
      if (!builder.ops.fits(known.stamp)) return build();
      const again = builder.slot(known.name);
      builder.ops.put(known.stamp, again, openingOf(object, purpose));
      return again;
    }
    const first = builder.ops.length;
    const slot = build();
    const stamp = builder.ops.stampOf(first, slot, openingOf(object, purpose));
    if (stamp !== undefined) this.#keep(index, flags, { name: slotNameOf(object), stamp });
    return slot;
  }

  #find(index: number, flags: number): Known | undefined {
    if (this.#last?.index !== index || this.#last.flags !== flags) {
      this.#last = { index, flags, known: this.#known.get(`${index}:${flags}`) };
    }
    return this.#last.known;
  }

  #keep(index: number, flags: number, known: Known): void {
    this.#known.set(`${index}:${flags}`, known);
    this.#last = { index, flags, known };
  }
}
