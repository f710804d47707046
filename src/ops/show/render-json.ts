// SPDX-License-Identifier: Apache-2.0
/** A show document as JSON: the rows concerned, field by field, under the names of the spec. */
import { flagNames } from "../../bytes/flag-names.js";
import type { FieldSpec, RecordSpec } from "../../bytes/record-spec.js";
import { type JsonValue, hexOf } from "../../errors/json.js";
import { tableSpecs } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import type { ShowDocument } from "./document.js";

function valueJson(field: FieldSpec, value: unknown): JsonValue {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.map((one: unknown) => valueJson(field, one));
  const isInteger = typeof value === "bigint" || typeof value === "number";
  if (field.flags !== undefined && isInteger) {
    const names = flagNames(field.flags, BigInt(value));
    if (names !== undefined) return names;
  }
  if (typeof value === "bigint") return hexOf(value);
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
  if (typeof value === "number" || typeof value === "string" || typeof value === "boolean") return value;
  if (field.record !== undefined && typeof value === "object") return recordJson(field.record, value);
  return String(value);
}

/** A row or nested record, as `convert --to json` writes it: 64-bit values as hex strings, flags by name, bytes as base64. */
export function recordJson(record: RecordSpec, value: object): { readonly [key: string]: JsonValue } {
  const members = value as Readonly<Record<string, unknown>>;
  return Object.fromEntries(record.fields.map((field) => [field.id, valueJson(field, members[field.name])]));
}

/**
 * The document. `tables` holds the rows concerned and is valid against the checkpoint schema; `rows` says which rows
 * of their tables they are, since that is what references name.
 */
export function renderJson(document: ShowDocument, checkpoint: Checkpoint): JsonValue {
  const tables: Record<string, JsonValue> = {};
  const numbers: Record<string, JsonValue> = {};
  for (const spec of tableSpecs) {
    const selected = document.selected[spec.table];
    if (selected === undefined) continue;
    const rows: readonly object[] = checkpoint.tables[spec.table];
    const found = selected.filter((index) => rows[index] !== undefined);
    numbers[spec.tableId] = found;
    tables[spec.tableId] = found.map((index) => recordJson(spec, rows[index] ?? {}));
  }
  const { source, format, section, pid, values, container } = document;
  return {
    source,
    format,
    section,
    ...(pid === undefined ? {} : { pid }),
    ...(container === undefined ? {} : { container }),
    rows: numbers,
    tables,
    ...(values === undefined ? {} : { values }),
  };
}
