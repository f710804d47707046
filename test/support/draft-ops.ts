// SPDX-License-Identifier: Apache-2.0
/** The ops of a program that is being built, as far as tests ask: kind, call, arguments, which results are right. */
import { argModeNames, expectNames, type OpKind, opKindNames } from "../../src/gen/restore-program.js";
import { type Arg, DataRef } from "../../src/lower/operands.js";
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

function argOf(builder: ProgramBuilder, words: Uint32Array, index: number): Arg {
  const mode = argModeNames.get(((words[2 + (index >> 2)] ?? 0) >> ((index & 3) * 8)) & 0xff);
  const value = signed(words, 4 + index * 2);
  if (mode === "imm") return value;
  const slot = builder.slots[words[4 + index * 2] ?? 0];
  if (mode === "slot" && slot !== undefined) {
    const addend = (words[5 + index * 2] ?? 0) | 0;
    return addend === 0 ? slot : slot.plus(addend);
  }
  if (mode === "data") return new DataRef(value, 0, false);
  throw new Error(`an argument in mode ${mode ?? "?"}`);
}

/** The ops from number `from` on. Arguments behind the last one given read as 0. */
export function draftsOf(builder: ProgramBuilder, from = 0): DraftOp[] {
  return Array.from({ length: builder.ops.length - from }, (_, index) => {
    const words = builder.ops.wordsOf(from + index);
    const head = words[0] ?? 0;
    const expect = expectNames.get((head >> 8) & 0xff) ?? "any";
    return {
      kind: opKindNames.get(head & 0xff) as OpKind,
      nr: words[1] ?? 0,
      get args() {
        return Array.from({ length: 6 }, (_, which) => argOf(builder, words, which));
      },
      options: { expect: expect === "equals" ? signed(words, 16) : expect === "one_of" ? [signed(words, 16), signed(words, 18)] : expect },
    };
  });
}
