// SPDX-License-Identifier: Apache-2.0
/**
 * Every op of a restore program made to fail in turn. The program is data, so this needs nothing in the interpreter: an
 * op is replaced by one whose result is the error, or is done and then judged by an expectation that nothing meets.
 */
import { type Op, computeOpValues, expectValues, opFlagsBits, opKindValues } from "../../src/gen/restore-program.js";
import { inTurns } from "./in-turns.js";
import type { Jail, Verdict } from "./jail.js";
import { type Resumable, mendChecksum, opOffset, textOf, wholeStatus, withImage } from "./resumable.js";

export interface OpFaultResult {
  readonly ops: number;
  readonly tried: number;
  /** Ended with status 125 and a message that says what failed. */
  readonly named: number;
  /** The op is not reached here, or may fail: the tree resumed and found everything as it was. */
  readonly resumed: number;
  /** Anything else: no message, another status, a signal, a hang, survivors. */
  readonly wrong: readonly string[];
}

/** Op kinds that can fail at all. */
const { syscall, thread, compare, find, protect } = opKindValues;
const fallible: ReadonlySet<number> = new Set([syscall, thread, compare, find, protect]);
/** No call returns this. */
const impossible = 0x7fff_ffff_ffff_fff0n;
const patience = 10_000;

export type OpFault = { readonly kind: "errno"; readonly errno: number } | { readonly kind: "judged-wrong" };

/** A copy of the image in which op `index` fails. */
export function withFailingOp(image: Resumable, index: number, fault: OpFault): Buffer {
  const bytes = Buffer.from(image.bytes);
  const at = opOffset(image, index);
  if (fault.kind === "errno") {
    // result = move −errno
    bytes.writeUInt8(opKindValues.compute, at);
    bytes.writeUInt32LE(computeOpValues.move, at + 4);
    bytes.fill(0, at + 8, at + 14);
    bytes.writeBigInt64LE(BigInt(-fault.errno), at + 16);
  } else {
    bytes.writeUInt8(expectValues.equals, at + 1);
    bytes.writeBigInt64LE(impossible, at + 64);
  }
  mendChecksum(bytes, image);
  return bytes;
}

/** Whether the program itself goes on after this op has failed. */
export function mayFail(op: Op): boolean {
  return op.expect === expectValues.any || (op.flags & opFlagsBits.else_jump) !== 0;
}

/** What is wrong with how it ended; undefined if it is right. */
function judge(image: Resumable, index: number, { how, number, survivors, stderr }: Verdict): "named" | "resumed" | string {
  const message = textOf(image, index, "message");
  const shown = `${how} ${number}${stderr === "" ? "" : `, ${stderr.trim()}`}`;
  if (survivors > 0) return `${survivors} processes survive (${shown})`;
  if (how === "exit" && number === wholeStatus) return "resumed";
  if (how !== "exit" || number !== 125) return shown;
  // An op without a message may fail; where it may not after all, a later op says what is wrong.
  const isNamed = message === "" ? !/^crimg: (.*: )?op \d/.test(stderr) : stderr.includes(message);
  return stderr.startsWith("crimg: ") && isNamed ? "named" : `the message does not name it (${shown})`;
}

/** Ops and faults to try; `step` takes every so-manieth. */
export async function failEveryOp(
  image: Resumable,
  jail: Jail,
  directory: string,
  errnos: readonly number[],
  step = 1,
): Promise<OpFaultResult> {
  const indices = image.ops.flatMap(({ kind }, index) => (fallible.has(kind) ? [index] : []));
  const faults: readonly OpFault[] = [...errnos.map((errno): OpFault => ({ kind: "errno", errno })), { kind: "judged-wrong" }];
  const trials = indices
    .filter((_, place) => place % step === 0)
    .flatMap((index) => faults.map((fault) => ({ index, fault })))
    .filter(({ index, fault }) => fault.kind === "errno" || !mayFail(image.ops[index] as Op));
  const count = { named: 0, resumed: 0 };
  const wrong: string[] = [];
  await inTurns(trials, async ({ index, fault }, number) => {
    const verdict = await withImage(directory, `op-${number}.elf`, withFailingOp(image, index, fault), (path) =>
      jail.run(path, "root", patience),
    );
    const judged = judge(image, index, verdict);
    if (judged === "named" || judged === "resumed") count[judged] += 1;
    else
      wrong.push(
        `op ${index} (${textOf(image, index, "message")}), ` +
          `${fault.kind === "errno" ? `errno ${fault.errno}` : "judged wrong"}: ${judged}`,
      );
  });
  return { ops: image.ops.length, tried: trials.length, ...count, wrong };
}
