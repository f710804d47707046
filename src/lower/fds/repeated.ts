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

export class RepeatedOpenings {
  readonly #known = new Map<string, { readonly name: string; readonly stamp: OpStamp } | "once">();

  constructor(private readonly builder: ProgramBuilder) {}

  /** Opens object `index` with these flags: by `build` the first times. */
  open(index: number, object: ObjectRow, flags: number, purpose: string, build: () => Slot): Slot {
    if (!isOpenedByName(object)) return build();
    const key = `${index}:${flags}`;
    const known = this.#known.get(key);
    if (known === undefined) {
      this.#known.set(key, "once");
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
    if (stamp !== undefined) this.#known.set(key, { name: slotNameOf(object), stamp });
    return slot;
  }
}
