// SPDX-License-Identifier: Apache-2.0
/** Restore programs as strace-like lines. */
import { type Op, argModeNames, computeOpNames, expectNames, jumpIfNames, opFlagsBits, opKindNames } from "../../gen/restore-program.js";
import { nr } from "../../native/index.js";
import { callArguments } from "./calls.js";
import type { RestoreProgram } from "./program.js";
import { type ArgKind, type EnumKind, showValue } from "./values.js";

const callNames: ReadonlyMap<number, string> = new Map(Object.entries(nr).map(([name, number]) => [number, name]));
const noSlot = 0xffff_ffff;

/** One line an op, for each row that it is run for; a line with the task or thread wherever it changes. */
export function* renderProgram(program: RestoreProgram): Generator<string> {
  const { header } = program;
  yield `# ${program.text(header.ofsTitle)}`;
  yield `# ${header.numOps} ops; occupies ${hex(header.holeBase)}-${hex(header.holeBase + header.holeSize)} until it leaves`;
  const targets = new Set(program.ops.filter(hasTarget).map(({ target }) => target));
  let before = "";
  let isFirst = true;
  const width = String(header.numOps).length;
  for (const { index, op, id } of program.steps()) {
    const subject = program.text(op.subject, id);
    if (subject !== before || isFirst) {
      before = subject;
      isFirst = false;
      yield "";
      yield `${subject || "the first process"}:`;
    }
    const mark = targets.has(index) ? ">" : " ";
    const message = program.text(op.message, id);
    const line = `${mark}${String(index).padStart(width)}  ${renderOp(program, op)}`;
    yield message === "" || message === callNames.get(op.nr) ? line : `${line.padEnd(78)}  # ${message}`;
  }
}

function hasTarget(op: Op): boolean {
  const kind = opKindNames.get(op.kind);
  return kind === "jump" || kind === "thread" || (op.flags & opFlagsBits.else_jump) !== 0;
}

function renderOp(program: RestoreProgram, op: Op): string {
  const kind = opKindNames.get(op.kind) ?? `op ${op.kind}`;
  const argument = (index: number, as: ArgKind | EnumKind = "hex") => showArgument(program, op, index, as);
  const store = op.store === noSlot ? "" : `$${program.slotName(op.store)} = `;
  switch (kind) {
    case "syscall":
      return store + renderCall(program, op) + renderExpectation(op) + patience(op);
    case "jump": {
      const condition = jumpIfNames.get(op.nr) ?? "?";
      return condition === "always"
        ? `jump ${op.target}`
        : `jump ${op.target} if ${argument(0, "dec")} ${comparisons[condition] ?? condition} ${argument(1, "dec")}`;
    }
    case "compute": {
      const operator = computeOpNames.get(op.nr) ?? "?";
      if (operator === "move") return `${store}${argument(0, "dec")}`;
      const sign = operators[operator];
      return sign === undefined
        ? `${store}${operator}(${argument(0)} + ${argument(1, "dec")})`
        : `${store}${argument(0, "dec")} ${sign} ${argument(1, "dec")}`;
    }
    case "store4":
    case "store8":
      return `*${argument(0)} = ${argument(1, "dec")}`;
    case "copy":
      return `copy(${argument(0)}, ${argument(1)}, ${argument(2, "size")})`;
    case "compare":
      return `${store}compare(${argument(0)}, ${argument(1)}, ${argument(2, "size")})${renderExpectation(op)}`;
    case "find":
      return `${store}find(${argument(0)}, ${argument(1, "size")}, ${argument(2)}, ${argument(3, "size")})${renderExpectation(op)}`;
    case "symbol":
      return `${store}symbol(${argument(0)}, ${argument(1, "text")})${renderExpectation(op)}`;
    case "thread":
      return `${store}thread(${argument(0)}) at ${op.target}${patience(op)}`;
    case "count":
      return `count(${argument(0)}, ${argument(1, "dec")})`;
    case "wait":
      return `wait(${argument(0)} >= ${argument(1, "dec")})`;
    case "format":
      return `${store}format(${argument(0)}, ${argument(1, "text")}, ${argument(2, "dec")}, ${argument(3, "text")})`;
    case "populate":
      return `populate(${argument(0)}, ${argument(1, "size")})`;
    case "load":
      return (
        `load(${argument(0, "fd")}, ${argument(1)}, ${argument(2, "dec")} pieces, ${argument(3, "dec")}, ` +
        `+${argument(4)})${op.nr === 1 ? ", touched before" : ""}${renderExpectation(op)}`
      );
    case "frames":
      return `frames(${argument(0)}, ${argument(1, "dec")})`;
    case "protect":
      return `protect(${argument(0)}, ${argument(1, "dec")} ranges, ${argument(2, "prot")})`;
    case "page":
      return `page(${argument(0, "fd")}, ${argument(1, "fd")}, ${argument(2)}, ${argument(3, "dec")} address spaces)`;
    case "keep":
      return `${store}keep(${argument(0, "dec")})`;
    case "each":
      return `for each of ${argument(1, "dec")} rows of ${argument(2, "dec")} bytes at ${argument(0)}`;
    case "next":
      return "the next row";
    case "leave": {
      const again = op.args[4] === 0n ? "" : ", the call again";
      return `rt_sigreturn with registers at ${argument(0)}, extended state at ${argument(3)}${again}`;
    }
    case "sigreturn":
      return `rt_sigreturn(${argument(0)})`;
    case "fail":
      return `fail(${argument(0, "dec")})`;
    case "cpuid":
      return `${store}cpuid(${argument(0, "dec")}, ${argument(1, "dec")})[${argument(2, "dec")}]`;
    default:
      return `${store}${kind}()`;
  }
}

const comparisons: Readonly<Record<string, string>> = {
  eq: "==",
  ne: "!=",
  lt: "<",
  ge: ">=",
  bits: "has bits of",
  no_bits: "has no bits of",
};
const operators: Readonly<Record<string, string>> = { add: "+", sub: "-", and: "&", or: "|", shift_left: "<<", shift_right: ">>" };

function renderCall(program: RestoreProgram, op: Op): string {
  const name = callNames.get(op.nr) ?? `syscall_${op.nr}`;
  const known = callArguments[name];
  const count = known?.length ?? lastArgument(op);
  const shown = Array.from({ length: count }, (_, index) => showArgument(program, op, index, known?.[index] ?? "dec"));
  return `${name}(${shown.join(", ")})`;
}

/** Whether EEXIST is tried again. */
function patience(op: Op): string {
  return (op.flags & opFlagsBits.patient) === 0 ? "" : " (EEXIST: again)";
}

function lastArgument(op: Op): number {
  for (let index = 6; index > 0; index--) if (op.args[index - 1] !== 0n || op.modes[index - 1] !== 0) return index;
  return 0;
}

function renderExpectation(op: Op): string {
  const orElse = (op.flags & opFlagsBits.else_jump) !== 0 ? `, else ${op.target}` : "";
  switch (expectNames.get(op.expect)) {
    case "any":
      return " (any result)";
    case "equals":
      return op.expectA === 0n ? orElse : ` = ${showValue(BigInt.asUintN(64, op.expectA), "dec")}${orElse}`;
    case "one_of":
      return ` = ${op.expectA} or ${op.expectB}${orElse}`;
    default:
      return orElse;
  }
}

function showArgument(program: RestoreProgram, op: Op, index: number, kind: ArgKind | EnumKind): string {
  const value = op.args[index] ?? 0n;
  switch (argModeNames.get(op.modes[index] ?? 0)) {
    case "data":
      return showData(program, value, kind);
    case "slot": {
      const addend = Number(BigInt.asIntN(32, value >> 32n));
      return `$${program.slotName(Number(value & 0xffff_ffffn))}${addend === 0 ? "" : addend > 0 ? `+${addend}` : addend}`;
    }
    case "slot_address":
      return `&$${program.slotName(Number(value))}`;
    case "mem4":
    case "mem4s":
    case "mem8":
      return `*data+${hex(value)}`;
    case "control":
    case "control4":
      return `<${program.sharedName(value)}>`;
    case "auxv":
      return `auxv[${value}]`;
    case "hole":
      return value === 0n ? "hole" : `hole+${hex(value)}`;
    default:
      return showValue(value, kind);
  }
}

/** Strings are shown where they are read as such, small constant structures as their bytes. */
function showData(program: RestoreProgram, offset: bigint, kind: ArgKind | EnumKind): string {
  if ((kind === "path" || kind === "text") && program.bytes(offset, 1) !== undefined) {
    return JSON.stringify(offset === 0n ? "" : program.text(offset));
  }
  return `data+${hex(offset)}`;
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
