// SPDX-License-Identifier: Apache-2.0
/** Rows to JSON values and back, by the description of the record: every table and field, without naming any. */
import { flagNames } from "../../src/bytes/flag-names.js";
import type { FieldSpec, RecordSpec } from "../../src/bytes/record-spec.js";
import { CrimgError } from "../../src/errors/crimg-error.js";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };
type Row = Readonly<Record<string, unknown>>;

/** A row as a JSON object. What is zero, empty or none is left out, except references, enums and registers. */
export function encodeRow(spec: RecordSpec, row: Row, keepsZeros = false): { readonly [key: string]: JsonValue } {
  const object: Record<string, JsonValue> = {};
  for (const field of spec.fields) {
    const value = row[field.name];
    const isTelling = keepsZeros || field.enum !== undefined || (field.ref !== undefined && field.optional !== true);
    if (!isTelling && isDefault(field, value)) continue;
    object[field.id] =
      field.repeat === undefined ? encodeValue(field, value) : (value as readonly unknown[]).map((one) => encodeValue(field, one));
  }
  return object;
}

function encodeValue(field: FieldSpec, value: unknown): JsonValue {
  if (value === null || typeof value === "string") return value;
  if (field.flags) return flagNames(field.flags, BigInt(value as number | bigint)) ?? plain(value as number | bigint);
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.length).toString("base64");
  if (field.record) return encodeRow(field.record, value as Row, true);
  return plain(value as number | bigint);
}

function plain(value: number | bigint): JsonValue {
  if (typeof value === "number") return value;
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** Whether a value is what a reader takes for a property that is left out. */
function isDefault(field: FieldSpec, value: unknown): boolean {
  if (field.repeat !== undefined) return (value as readonly unknown[]).every((one) => isDefault({ ...field, repeat: undefined }, one));
  if (field.optional === true) return value === null;
  if (value instanceof Uint8Array) return value.length === 0;
  if (field.record) return field.record.fields.every((inner) => isDefault(inner, (value as Row)[inner.name]));
  return value === 0 || value === 0n || value === "";
}

/**
 * A row from a JSON object that the schema has accepted.
 * @param path for messages, such as `tables.tasks[3]`
 * @throws CrimgError `json.value` for what no schema can say
 */
export function decodeRow(spec: RecordSpec, object: { readonly [key: string]: JsonValue }, path: string): Row {
  const row: Record<string, unknown> = {};
  for (const field of spec.fields) {
    const value = object[field.id];
    const place = `${path}.${field.id}`;
    if (field.repeat === undefined) row[field.name] = decodeValue(field, value, place);
    else {
      const values = Array.isArray(value) ? (value as readonly JsonValue[]) : Array.from<undefined>({ length: field.repeat });
      row[field.name] = values.map((one, index) => decodeValue(field, one, `${place}[${index}]`));
    }
  }
  return row;
}

function decodeValue(field: FieldSpec, value: JsonValue | undefined, path: string): unknown {
  if (field.enum) return value ?? enumDefault(field.enum.values);
  switch (field.wire) {
    case "str_ref":
    case "str":
      return value ?? "";
    case "blob_ref":
    case "bytes":
      return decodeBlob((value ?? "") as string, path);
    case "record":
      return decodeRow(field.record as RecordSpec, (value ?? {}) as { readonly [key: string]: JsonValue }, path);
    case "u8":
    case "s8": {
      const number = Array.isArray(value) ? flagBits(field, value) : decodeHex((value ?? "0x0") as string);
      // The schema counts digits; a signed value has one bit less than its digits can say.
      const [least, most] = field.wire === "u8" ? [0n, (1n << 64n) - 1n] : [-(1n << 63n), (1n << 63n) - 1n];
      if (number < least || number > most) throw new CrimgError("json.value", `${path} does not fit in 64 bits`, { format: "json", path });
      return number;
    }
    default:
      if (Array.isArray(value)) return Number(flagBits(field, value));
      return value ?? (field.optional === true ? null : 0);
  }
}

function enumDefault(values: Readonly<Record<string, number>>): string {
  const names = Object.keys(values);
  return names.find((name) => values[name] === 0) ?? names[0] ?? "";
}

function flagBits(field: FieldSpec, names: readonly JsonValue[]): bigint {
  return names.reduce<bigint>((bits, name) => bits | (1n << BigInt(field.flags?.[String(name)] ?? 0)), 0n);
}

function decodeHex(text: string): bigint {
  return text.startsWith("-") ? -BigInt(text.slice(1)) : BigInt(text);
}

/** Base64, strictly: Node's decoder skips what it does not like. */
export function decodeBlob(text: string, path: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (text.length % 4 !== 0 || bytes.length !== (text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0)) {
    throw new CrimgError("json.base64", `${path} is not base64`, { format: "json", path, hint: "restore the original file" });
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
