// SPDX-License-Identifier: Apache-2.0
/**
 * Openings that differ in nothing but whose they are: the first is made like any other, later ones are rows of one. A tree that has
 * a file open a thousand times would have ten thousand ops otherwise.
 */
import type { OpenFileRow } from "../../gen/tables.js";
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
  /** A row of which all files are of the last. */
  #row: OpenFileRow | undefined;

  constructor(private readonly slots: FileSlots) {}

  /** Whether `open` is going to open a file. The first of its like it does not, and none that needs more than to be opened. */
  takes(index: number): boolean {
    const { slots } = this;
    const row = slots.file(index);
    const holder = slots.firstHolder(index);
    if (holder === undefined) return false;
    const { task, fd } = holder;
    let same = this.#last;
    // Files that are alike are often one row.
    if (row !== this.#row || same?.task !== task) {
      const { object, flags, pos } = row;
      if (object === null || (pos > 0n && (flags & openFlags.PATH) === 0)) return false;
      const key = `${object} ${flags} ${task}`;
      same = this.#all.get(key);
      if (same === undefined) {
        if (!isOpenedByName(objectOf(slots, row))) return false;
        this.#last = { object, flags, task, files: [], numbers: [] };
        this.#row = row;
        this.#all.set(key, this.#last);
        return false;
      }
      this.#last = same;
      this.#row = row;
    }
    same.files.push(index);
    same.numbers.push(fd);
    return true;
  }

  /** Opens all that were taken, few by `open`, into `opened`. What is there once for all openings is there since the first. */
  open(opened: Map<number, Slot>, open: (file: number) => Slot): void {
    for (const openings of this.#all.values()) {
      if (openings.files.length >= leastRows) this.#open(openings, opened);
      else for (const file of openings.files) opened.set(file, open(file));
    }
  }

  #open({ object, flags, task, files, numbers }: Openings, opened: Map<number, Slot>): void {
    const { context } = this.slots;
    const { builder } = context;
    const row = objectOf(this.slots, this.slots.file(files[0] as number));
    const name = slotNameOf(row);
    const rows = new Uint32Array(2 * files.length);
    for (let index = 0; index < files.length; index++) {
      const slot = builder.slot(name);
      rows[2 * index] = numbers[index] as number;
      rows[2 * index + 1] = slot.index;
      opened.set(files[index] as number, slot);
    }
    builder.forRows(rows, 2, () => {
      const purpose = `for fd ${rowId} of ${context.taskSubject(task)}`;
      const again = context.openObject(object, flagsToOpen(this.slots.file(files[0] as number), row), purpose);
      if ((flags & openFlags.PATH) === 0) context.checkOpened(again, object, purpose);
      builder.store8(ofRow(1, "slot_address"), again);
    });
  }
}
