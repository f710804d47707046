// SPDX-License-Identifier: Apache-2.0
/** Values out of YAML, with their types checked. */

/** A .ksy file that the generator refuses. */
export class SpecError extends Error {
  override readonly name = "SpecError";
}

export type Mapping = Readonly<Record<string, unknown>>;

export function asMapping(value: unknown, where: string): Mapping {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new SpecError(`${where}: expected a mapping`);
  return value as Mapping;
}

export function asList(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new SpecError(`${where}: expected a list`);
  return value;
}

export function asText(value: unknown, where: string): string {
  if (typeof value !== "string" || value === "") throw new SpecError(`${where}: expected text`);
  return value;
}

export function optionalText(value: unknown, where: string): string {
  return value === undefined ? "" : asText(value, where).trim();
}

export function asInteger(value: unknown, where: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new SpecError(`${where}: expected an integer`);
  return value;
}
