// SPDX-License-Identifier: Apache-2.0
/** Sizes, repetitions and constants of fields. */
import type { Count, Field } from "./ir.js";
import { type Mapping, SpecError, asInteger, asList, asText } from "./yaml-values.js";

/** Largest record and repetition that a spec may ask for: a guard against slips, not a limit of the format. */
export const maxRecordBytes = 1 << 20;
const maxRepeat = 1 << 16;

/** How often a field is repeated; undefined: once, and not as a list. */
export function loadRepeat(raw: Mapping, before: readonly Field[], where: string): Count | undefined {
  switch (raw["repeat"]) {
    case undefined:
      if (raw["repeat-expr"] !== undefined) throw new SpecError(`${where}: repeat-expr without repeat`);
      return undefined;
    case "eos":
      return { kind: "eos" };
    case "expr": {
      const count = loadCount(raw["repeat-expr"], before, `${where}: repeat-expr`);
      if (count.kind === "fixed" && count.value > maxRepeat) throw new SpecError(`${where}: repeated more than ${maxRepeat} times`);
      return count;
    }
    default:
      throw new SpecError(`${where}: repeat: ${String(raw["repeat"])} is not supported`);
  }
}

/** The length of bytes or text. */
export function loadLength(raw: Mapping, before: readonly Field[], where: string): Count {
  if (raw["size-eos"] === true) return { kind: "eos" };
  if (raw["size"] === undefined) throw new SpecError(`${where}: needs a type, contents or a size`);
  return loadCount(raw["size"], before, `${where}: size`);
}

/** A number, or the id of an integer field before. */
function loadCount(value: unknown, before: readonly Field[], where: string): Count {
  if (typeof value === "number") {
    const fixed = asInteger(value, where);
    if (fixed < 0 || fixed > maxRecordBytes) throw new SpecError(`${where}: ${fixed} is out of range`);
    return { kind: "fixed", value: fixed };
  }
  const id = asText(value, where);
  const field = before.find((other) => other.id === id);
  if (!field || field.type.kind !== "int" || field.repeat) throw new SpecError(`${where}: "${id}" is not an integer field before it`);
  return { kind: "field", id };
}

/** The bytes of a constant. */
export function loadContents(value: unknown, where: string): readonly number[] {
  if (typeof value === "string") return [...Buffer.from(value, "utf8")];
  const bytes = asList(value, `${where}: contents`).map((byte) => asInteger(byte, `${where}: contents`));
  if (bytes.length === 0 || bytes.some((byte) => byte < 0 || byte > 255)) throw new SpecError(`${where}: contents are bytes`);
  return bytes;
}
