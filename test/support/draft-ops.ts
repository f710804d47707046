// SPDX-License-Identifier: Apache-2.0
/** The ops of a program that is being built, as far as tests ask: kind, call, arguments, which results are right. */
import { argModeNames, argModeValues, expectNames, type OpKind, opKindNames } from "../../src/gen/restore-program.js";
import { type Arg, DataRef, inRow } from "../../src/lower/operands.js";
import type { Expectation, ProgramBuilder } from "../../src/lower/program-builder.js";

export interface DraftOp {
  readonly kind: OpKind;
  readonly nr: number;
  readonly args: readonly Arg[];
  readonly options: { readonly expect: Expectation };
}

function signed(words: Uint32Array, at: number): number {
  return Number(BigInt.asIntN(64, BigInt(words[at] ?? 0) | (BigInt(words[at + 1] ?? 0) << 32n)));
}

/** `row`: where in the data that lies which the op is run for. */
function argOf(builder: ProgramBuilder, words: Uint32Array, index: number, row: number | undefined): Arg {
  const given = ((words[2 + (index >> 2)] ?? 0) >> ((index & 3) * 8)) & 0xff;
  const mode = argModeNames.get(given & ~(inRow.u4 | inRow.u8));
  const offered = signed(words, 4 + index * 2);
  if ((given & inRow.u8) !== 0) throw new Error("a row of u8");
  if ((given & inRow.u4) !== 0 && row === undefined) throw new Error("an op without a row");
  const value = (given & inRow.u4) === 0 ? offered : Buffer.from(builder.data.finish()).readUInt32LE((row ?? 0) + offered);
  if (mode === "imm") return value;
  const slot = builder.slots[given === argModeValues.slot ? (words[4 + index * 2] ?? 0) : value];
  if (mode === "slot" && slot !== undefined) {
    const addend = given === argModeValues.slot ? (words[5 + index * 2] ?? 0) | 0 : 0;
    return addend === 0 ? slot : slot.plus(addend);
  }
  if (mode === "data") return new DataRef(value, 0, false);
  throw new Error(`an argument in mode ${mode ?? "?"}`);
}

function draftOf(builder: ProgramBuilder, op: number, row: number | undefined): DraftOp {
  const words = builder.ops.wordsOf(op);
  const head = words[0] ?? 0;
  const expect = expectNames.get((head >> 8) & 0xff) ?? "any";
  return {
    kind: opKindNames.get(head & 0xff) as OpKind,
    nr: words[1] ?? 0,
    get args() {
      return Array.from({ length: 6 }, (_, which) => argOf(builder, words, which, row));
    },
    options: { expect: expect === "equals" ? signed(words, 16) : expect === "one_of" ? [signed(words, 16), signed(words, 18)] : expect },
  };
}

/** The ops from number `from` on, those for rows once a row. Arguments behind the last one given read as 0. */
export function draftsOf(builder: ProgramBuilder, from = 0): DraftOp[] {
  const drafts: DraftOp[] = [];
  for (let op = from; op < builder.ops.length; op++) {
    const draft = draftOf(builder, op, undefined);
    drafts.push(draft);
    if (draft.kind !== "each") continue;
    const words = builder.ops.wordsOf(op);
    const [start, count, stride] = [signed(words, 4), signed(words, 6), signed(words, 8)];
    const body = op + 1;
    for (let row = 0; row < count; row++)
      for (op = body; draftOf(builder, op, undefined).kind !== "next"; op++) drafts.push(draftOf(builder, op, start + row * stride));
    op--;
  }
  return drafts;
}
