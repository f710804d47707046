// SPDX-License-Identifier: Apache-2.0
/** The ops of a program one after the other, those that are run for rows once for each row, with the values of the row in them. */
import { CrimgError } from "../errors/crimg-error.js";
import { argModeValues, type Op, opKindValues } from "../gen/restore-program.js";
import { inRow, textInRow } from "./operands.js";

/** An op as it is run. */
export interface Step {
  readonly index: number;
  /** With the values of the row, and plain modes. */
  readonly op: Op;
  /** The id that the row begins with; undefined for ops that are run once. */
  readonly id: number | undefined;
}

/** Rows of an op `each`; undefined if they do not lie in the data. */
function rowsOf({ args, modes }: Op, data: DataView): { start: number; count: number; stride: number } | undefined {
  const [start, count, stride] = [Number(args[0] ?? 0n), Number(args[1] ?? 0n), Number(args[2] ?? 0n)];
  const isPlain = modes[0] === argModeValues.data && modes[1] === argModeValues.imm && modes[2] === argModeValues.imm;
  const isThere = isPlain && count > 0 && stride >= 4 && start + count * stride <= data.byteLength;
  return isThere ? { start, count, stride } : undefined;
}

/** @throws CrimgError `program.rows` where an op names what its row does not have */
function opOfRow(op: Op, index: number, data: DataView, at: number, stride: number): Op {
  const offset = (value: number, size: number): number => {
    if (value + size <= stride) return at + value;
    throw new CrimgError("program.rows", `op ${index} takes ${size} bytes at ${value} of a row of ${stride} bytes`, {
      path: `ops[${index}]`,
    });
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

/** What is wrong with ops that are run for rows: that these are not in the data, or lack what an op names. */
export function wrongRows(ops: readonly Op[], data: Uint8Array): CrimgError | undefined {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (const [index, op] of ops.entries()) {
    if (op.kind === opKindValues.each && rowsOf(op, view) === undefined)
      return new CrimgError("program.rows", `the rows of op ${index} do not lie in the data`, { path: `ops[${index}]` });
  }
  let stride = 0;
  for (const [index, op] of ops.entries()) {
    const isOutside = op.kind === opKindValues.each || op.kind === opKindValues.next;
    if (isOutside) stride = op.kind === opKindValues.each ? Number(op.args[2] ?? 0n) : 0;
    try {
      // Any row tells what an op names.
      opOfRow(op, index, view, 0, isOutside ? 0 : stride);
    } catch (error) {
      if (!(error instanceof CrimgError)) throw error;
      return error;
    }
  }
  return undefined;
}

/**
 * `data`: of the program.
 * @throws CrimgError `program.rows`
 */
export function* unrolled(ops: readonly Op[], data: Uint8Array): Generator<Step> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let index = 0; index < ops.length; index++) {
    const op = ops[index] as Op;
    yield { index, op, id: undefined };
    const rows = op.kind === opKindValues.each ? rowsOf(op, view) : undefined;
    if (rows === undefined) continue;
    const first = index + 1;
    for (let row = 0; row < rows.count; row++) {
      const at = rows.start + row * rows.stride;
      const id = view.getUint32(at, true);
      for (index = first; index < ops.length && ops[index]?.kind !== opKindValues.next; index++)
        yield { index, op: opOfRow(ops[index] as Op, index, view, at, rows.stride), id };
    }
    // `next` is seen once.
    index--;
  }
}
