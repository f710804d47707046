// SPDX-License-Identifier: Apache-2.0
/** The attributes of a field that do not bear on its layout: valid, flags, format. */
import type { Field, FieldType, Valid } from "./ir.js";
import { isKsyIdentifier } from "./names.js";
import { SpecError, asInteger, asList, asMapping, asText } from "./yaml-values.js";

/** The ways to show a value (-crimg-format). */
export const fieldFormats = ["hex", "octal", "signal", "signal_set", "time_ns", "u4_array", "sockaddr"] as const;

/** `valid:` as a bare value, {eq}, {min, max}, {any-of} or {in-enum: true}. */
export function parseValid(value: unknown, type: FieldType, hasEnum: boolean, where: string): Valid | undefined {
  if (value === undefined) return undefined;
  if (type.kind !== "int") throw new SpecError(`${where}: valid needs an integer`);
  if (typeof value === "number") return { kind: "any-of", values: [BigInt(asInteger(value, `${where}: valid`))] };
  const rule = asMapping(value, `${where}: valid`);
  const number = (key: string) => (rule[key] === undefined ? undefined : BigInt(asInteger(rule[key], `${where}: valid/${key}`)));
  const keys = Object.keys(rule).sort().join();
  switch (keys) {
    case "eq":
      return { kind: "any-of", values: [number("eq") ?? 0n] };
    case "any-of":
      return { kind: "any-of", values: asList(rule["any-of"], where).map((one) => BigInt(asInteger(one, `${where}: valid/any-of`))) };
    case "min":
    case "max":
    case "max,min":
      return { kind: "range", min: number("min"), max: number("max") };
    case "in-enum":
      if (!hasEnum) throw new SpecError(`${where}: valid/in-enum needs an enum`);
      return { kind: "in-enum" };
    default:
      throw new SpecError(`${where}: valid: {${keys}} is not supported`);
  }
}

export function parseFlags(value: unknown, type: FieldType, where: string): Field["flags"] {
  if (value === undefined) return undefined;
  if (type.kind !== "int" || type.isSigned) throw new SpecError(`${where}: -crimg-flags needs an unsigned integer`);
  const flags = Object.entries(asMapping(value, `${where}: -crimg-flags`)).map(([id, bit]) => {
    if (!isKsyIdentifier(id)) throw new SpecError(`${where}: flag "${id}" is not an identifier`);
    return { id, bit: asInteger(bit, `${where}: -crimg-flags/${id}`) };
  });
  const bits = new Set(flags.map(({ bit }) => bit));
  if (bits.size !== flags.length) throw new SpecError(`${where}: two flags share a bit`);
  for (const { id, bit } of flags) {
    if (bit < 0 || bit >= type.width * 8) throw new SpecError(`${where}: bit ${bit} of flag "${id}" does not fit`);
  }
  return flags;
}

export function parseFormat(value: unknown, where: string): string | undefined {
  if (value === undefined) return undefined;
  const format = asText(value, `${where}: -crimg-format`);
  if (!(fieldFormats as readonly string[]).includes(format)) throw new SpecError(`${where}: -crimg-format "${format}" is not known`);
  return format;
}
