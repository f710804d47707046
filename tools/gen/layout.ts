// SPDX-License-Identifier: Apache-2.0
/** Sizes and alignments of types. */
import type { FieldType, RecordType } from "./ir.js";
import { SpecError } from "./yaml-values.js";

/** Natural alignment, bytes. */
export function alignOf(type: FieldType): number {
  switch (type.kind) {
    case "int":
      return type.width;
    case "record":
      return type.record.align;
    case "str_ref":
      return 4;
    case "blob_ref":
      return 8;
    default:
      return 1;
  }
}

/** Bytes of one repetition, if fixed. */
export function sizeOf(type: FieldType): number | undefined {
  switch (type.kind) {
    case "int":
      return type.width;
    case "record":
      return type.record.size;
    case "str_ref":
      return 4;
    case "blob_ref":
      return 16;
    case "contents":
      return type.bytes.length;
    default:
      return type.length.kind === "fixed" ? type.length.value : undefined;
  }
}

/** Fewest bytes that one value of a type can have. */
export function minSizeOf(type: FieldType): number {
  if (type.kind !== "record") return sizeOf(type) ?? 0;
  return type.record.fields.reduce((sum, field) => {
    if (field.size !== undefined) return sum + field.size;
    return field.repeat ? sum : sum + minSizeOf(field.type);
  }, 0);
}

/** Records of tables are read in place by C: fields naturally aligned, the whole a multiple of 8. */
export function assertTableLayout(record: RecordType, where: string): void {
  if (record.size === undefined) throw new SpecError(`${where}: a table record has a fixed size`);
  if (record.size === 0 || record.size % 8 !== 0) throw new SpecError(`${where}: ${record.size} bytes are not a multiple of 8`);
  for (const field of record.fields) {
    if ((field.offset ?? 0) % alignOf(field.type) !== 0) {
      throw new SpecError(`${where}: ${field.id} at ${field.offset} is not aligned to ${alignOf(field.type)}`);
    }
  }
}
