// SPDX-License-Identifier: Apache-2.0
/**
 * Openings that differ in nothing but whose they are: the first is made like any other, later ones are rows of one. A tree that has
 * a file open a thousand times would have ten thousand ops otherwise.
 */
import { isOpenedByName, slotNameOf } from "../objects.js";
import { leastRows, ofRow, rowId, type Slot } from "../operands.js";
import { type FileSlots, flagsToOpen, objectOf, openFlags } from "./shared.js";

interface Openings {
  readonly object: number;
  /** As the file has them. */
  readonly flags: number;
  /** Whose task's descriptors they are named by in messages. */
  readonly task: number;
  readonly files: number[];
  /** Numbers of these descriptors. */
  readonly numbers: number[];
}

export class SameOpenings {
  readonly #all = new Map<string, Openings>();
  /** What is opened often comes in a row. */
  #last: Openings | undefined;

  constructor(private readonly slots: FileSlots) {}

  /** Whether `open` is going to open a file. The first of its like it does not, and none that needs more than to be opened. */
  takes(index: number): boolean {
    const { slots } = this;
    const { object, flags, pos } = slots.file(index);
    const holder = slots.firstHolder(index);
    if (object === null || holder === undefined || (pos > 0n && (flags & openFlags.PATH) === 0)) return false;
    const { task, fd } = holder;
    let same = this.#last;
    if (same?.object !== object || same.flags !== flags || same.task !== task) {
      const key = `${object} ${flags} ${task}`;
      same = this.#all.get(key);
      if (same === undefined) {
        if (!isOpenedByName(objectOf(slots, slots.file(index)))) return false;
        this.#last = { object, flags, task, files: [], numbers: [] };
        this.#all.set(key, this.#last);
        return false;
      }
      this.#last = same;
    }
    same.files.push(index);
    same.numbers.push(fd);
    return true;
  }

  /** Opens all that were taken, few by `open`. What is there once for all openings is there since the first. */
  *open(open: (file: number) => Slot): Generator<readonly [number, Slot]> {
    for (const openings of this.#all.values()) {
      if (openings.files.length >= leastRows) yield* this.#open(openings);
      else for (const file of openings.files) yield [file, open(file)];
    }
  }

  #open({ object, flags, task, files, numbers }: Openings): (readonly [number, Slot])[] {
    const { context } = this.slots;
    const { builder } = context;
    const row = objectOf(this.slots, this.slots.file(files[0] as number));
    const name = slotNameOf(row);
    const rows = new Uint32Array(2 * files.length);
    const opened = files.map((file, index) => {
      const slot = builder.slot(name);
      rows[2 * index] = numbers[index] as number;
      rows[2 * index + 1] = slot.index;
      return [file, slot] as const;
    });
    builder.forRows(rows, 2, () => {
      const purpose = `for fd ${rowId} of ${context.taskSubject(task)}`;
      const again = context.openObject(object, flagsToOpen(this.slots.file(files[0] as number), row), purpose);
      if ((flags & openFlags.PATH) === 0) context.checkOpened(again, object, purpose);
      builder.store8(ofRow(1, "slot_address"), again);
    });
    return opened;
  }
}
