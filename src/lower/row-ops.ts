// SPDX-License-Identifier: Apache-2.0
/**
 * Ops that are the same for many threads but for values: once in the program, between the ops `each` and `next`, and for each
 * thread a row of the values that differ. Ten thousand threads would have half a million ops otherwise.
 *
 * Whoever makes them need not care: ops are made for each in full, and those that are like the ones before leave only a row. Ops
 * of another shape (a thread with a filter of its own) begin anew. Slots made meanwhile are of the thread that runs the ops.
 */
import type { Mark, OpStore, Raise } from "./op-store.js";
import { type DataRef, maxRowSize } from "./operands.js";

/** Where ops and rows go. */
export interface RowTarget {
  readonly ops: OpStore;
  /** Ops without arguments. */
  plain(kind: "each" | "next"): void;
  /** Puts rows into the data. */
  place(rows: Uint8Array): DataRef;
}

const idSize = 4;

/** Values of a field, by row. */
class Column {
  readonly low: number[];
  readonly high: number[];

  constructor(count: number, low: number, high: number) {
    this.low = new Array<number>(count).fill(low);
    this.high = new Array<number>(count).fill(high);
  }

  push(low: number, high: number): void {
    this.low.push(low);
    this.high.push(high);
  }

  /** Bytes of a value. */
  get width(): 4 | 8 {
    return this.high.some((word) => word !== 0) ? 8 : 4;
  }

  isSame({ low, high }: Column): boolean {
    return this.low.every((word, row) => word === low[row]) && this.high.every((word, row) => word === high[row]);
  }
}

/** Ops of one shape, and the rows that they are run for. */
class Group {
  readonly #ids: number[] = [];
  readonly #columns = new Map<number, Column>();
  readonly #raises: ReadonlyMap<number, Raise>;
  /** When its ops were there, and none for the second row. */
  readonly end: Mark;

  /** `begin`: before its ops, which are the last of all; the op before it is `each`. */
  constructor(
    private readonly target: RowTarget,
    private readonly begin: Mark,
    id: number,
  ) {
    this.end = target.ops.mark();
    this.#raises = target.ops.raisesSince(begin);
    this.#ids.push(id);
  }

  /** Takes the values of ops, the last of all, that are like its own. */
  takes(other: Mark, id: number): boolean {
    const { ops } = this.target;
    const count = this.end.ops - this.begin.ops;
    if (ops.length - other.ops !== count || !ops.isAlike(this.begin, other, count)) return false;
    ops.compare(this.begin.ops, other.ops, count, (field) => {
      if (this.#columns.has(field)) return;
      this.#columns.set(field, new Column(this.#ids.length, ops.low(this.begin.ops, field), ops.high(this.begin.ops, field)));
    });
    for (const [field, column] of this.#columns) column.push(ops.low(other.ops, field), ops.high(other.ops, field));
    this.#ids.push(id);
    return true;
  }

  /** Puts the rows into the data, and where they are into the ops. Fields that always have the same value are one. */
  close(): void {
    const { ops } = this.target;
    const placed: { readonly column: Column; readonly raise: Raise | undefined; readonly width: 4 | 8; readonly offset: number }[] = [];
    let stride = idSize;
    for (const [field, column] of this.#columns) {
      const raise = this.#raises.get(field);
      let place = placed.find((one) => one.raise === raise && one.column.isSame(column));
      if (place === undefined) {
        place = { column, raise, width: column.width, offset: stride };
        placed.push(place);
        stride += place.width;
      }
      ops.takeFromRow(this.begin.ops, field, place.offset, place.width);
    }
    if (stride > maxRowSize) throw new Error(`a row of ${stride} bytes`);
    const count = this.#ids.length;
    const rows = new DataView(new ArrayBuffer(stride * count));
    for (let row = 0, at = 0; row < count; row++, at += stride) {
      rows.setUint32(at, this.#ids[row] ?? 0, true);
      for (const { column, offset, width } of placed) {
        rows.setUint32(at + offset, column.low[row] ?? 0, true);
        if (width === 8) rows.setUint32(at + offset + 4, column.high[row] ?? 0, true);
      }
    }
    const { offset: start } = this.target.place(new Uint8Array(rows.buffer));
    for (const { raise, offset, width } of placed)
      if (raise !== undefined) ops.raiseRows({ by: raise, at: start + offset, stride, count, width });
    const each = this.begin.ops - 1;
    ops.setArg(each, 0, "data", start);
    ops.setArg(each, 1, "imm", count);
    ops.setArg(each, 2, "imm", stride);
  }
}

/** Adds the ops that `build` makes for each item, with as few of them as there are shapes. */
export function addForEach<Item>(
  target: RowTarget,
  items: Iterable<Item>,
  idOf: (item: Item) => number,
  build: (item: Item) => void,
): void {
  const { ops } = target;
  let group: Group | undefined;
  for (const item of items) {
    if (group !== undefined) target.plain("next");
    target.plain("each");
    const mark = ops.mark();
    build(item);
    ops.settleTargets(mark);
    const isTaken = group?.takes(mark, idOf(item)) === true;
    if (isTaken && group !== undefined) ops.truncate(group.end);
    else {
      group?.close();
      group = new Group(target, mark, idOf(item));
    }
  }
  if (group === undefined) return;
  target.plain("next");
  group.close();
}
