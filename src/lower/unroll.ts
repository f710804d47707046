// SPDX-License-Identifier: Apache-2.0
/** The ops of a program one after the other, those that are run for rows once for each row, with the values of the row in them. */
import { CrimgError } from "../errors/crimg-error.js";
import { argModeValues, type Op, opKindValues } from "../gen/restore-program.js";
import { inRow, maxRowSize, textInRow } from "./operands.js";

/** An op as it is run. */
export interface Step {
  readonly index: number;
  /** With the values of the row, and plain modes. */
  readonly op: Op;
  /** The id that the row begins with; undefined for ops that are run once. */
  readonly id: number | undefined;
}

/**
 * Ops run for rows that a program may have, by bytes of its data: with few of both, a small file could keep its reader busy for
 * days. A thread has some seventy, and registers and rows of 250 bytes at least.
 */
const mostSteps = (data: Uint8Array): number => Math.max(1 << 20, 16 * data.length);

interface Rows {
  readonly start: number;
  readonly count: number;
  readonly stride: number;
}

function wrong(index: number, message: string): CrimgError {
  return new CrimgError("program.rows", message, { path: `ops[${index}]` });
}

const tooMany = (index: number): CrimgError => wrong(index, `op ${index} is run for more rows than any tree of threads has`);

/** Rows of an op `each`; undefined if they do not lie in the data, or are longer than the interpreter takes. */
function rowsOf({ args, modes }: Op, data: DataView): Rows | undefined {
  const [start, count, stride] = [Number(args[0] ?? 0n), Number(args[1] ?? 0n), Number(args[2] ?? 0n)];
  const isPlain = modes[0] === argModeValues.data && modes[1] === argModeValues.imm && modes[2] === argModeValues.imm;
  const isThere = isPlain && count > 0 && stride >= 4 && stride <= maxRowSize && start + count * stride <= data.byteLength;
  return isThere ? { start, count, stride } : undefined;
}

/** @throws CrimgError `program.rows` where an op names what its row does not have */
function opOfRow(op: Op, index: number, data: DataView, at: number, stride: number): Op {
  const offset = (value: number, size: number): number => {
    if (value + size <= stride) return at + value;
    throw wrong(index, `op ${index} takes ${size} bytes at ${value} of a row of ${stride} bytes`);
  };
  const text = (value: number): number => (value >= textInRow ? data.getUint32(offset(value - textInRow, 4), true) : value);
  const args = op.args.map((value, place) => {
    const mode = op.modes[place] ?? 0;
    if ((mode & inRow.u8) !== 0) return data.getBigUint64(offset(Number(value), 8), true);
    return (mode & inRow.u4) === 0 ? value : BigInt(data.getUint32(offset(Number(value), 4), true));
  });
  const modes = op.modes.map((mode) => mode & ~(inRow.u4 | inRow.u8));
  return { ...op, args, modes, subject: text(op.subject), message: text(op.message), hint: text(op.hint) };
}

/** What is wrong with ops that are run for rows: where these are and end, how many there are, or that they lack what an op names. */
export function wrongRows(ops: readonly Op[], data: Uint8Array): CrimgError | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const most = mostSteps(data);
  let rows: (Rows & { readonly each: number }) | undefined;
  let steps = 0;
  for (const [index, op] of ops.entries()) {
    const isEach = op.kind === opKindValues.each;
    if (isEach && rows !== undefined) return wrong(index, `op ${index} begins rows before those of op ${rows.each} end`);
    if (op.kind === opKindValues.next) rows = undefined;
    steps += rows?.count ?? 0;
    if (steps > most) return tooMany(index);
    try {
      // Any row tells what an op names.
      opOfRow(op, index, view, rows?.start ?? 0, rows?.stride ?? 0);
    } catch (error) {
      if (!(error instanceof CrimgError)) throw error;
      return error;
    }
    if (!isEach) continue;
    const found = rowsOf(op, view);
    if (found === undefined) return wrong(index, `the rows of op ${index} do not lie in the data, or have more than ${maxRowSize} bytes`);
    rows = { ...found, each: index };
  }
  return rows && wrong(rows.each, `the rows of op ${rows.each} do not end`);
}

/**
 * `data`: of the program.
 * @throws CrimgError `program.rows`
 */
export function* unrolled(ops: readonly Op[], data: Uint8Array): Generator<Step> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const most = mostSteps(data);
  let steps = 0;
  for (let index = 0; index < ops.length; index++) {
    const op = ops[index] as Op;
    yield { index, op, id: undefined };
    const rows = op.kind === opKindValues.each ? rowsOf(op, view) : undefined;
    if (rows === undefined) continue;
    const first = index + 1;
    for (let row = 0; row < rows.count; row++) {
      const at = rows.start + row * rows.stride;
      const id = view.getUint32(at, true);
      for (index = first; index < ops.length && ops[index]?.kind !== opKindValues.next; index++) {
        if (++steps > most) throw tooMany(index);
        yield { index, op: opOfRow(ops[index] as Op, index, view, at, rows.stride), id };
      }
    }
    // `next` is seen once.
    index--;
  }
}
