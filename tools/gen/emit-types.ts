// SPDX-License-Identifier: Apache-2.0
/** TypeScript of record types: interfaces, factories, enums, flag masks. */
import type { EnumType, Field, RecordType, Spec } from "./ir.js";
import { camelCase, pascalCase } from "./names.js";
import { docComment, literal } from "./source.js";

/** Type name of a record: rows of tables are `TaskRow`, others plain. */
export function recordTypeName(record: RecordType): string {
  return pascalCase(record.id) + (record.table ? "Row" : "");
}

/** Name of the factory of a record. */
export function factoryName(record: RecordType): string {
  return camelCase(record.id) + (record.table ? "Row" : "");
}

/** Fields whose length or number of elements the field `id` states. */
export function countUsers(record: RecordType, id: string): readonly Field[] {
  return record.fields.filter(({ type, repeat }) => {
    const length = type.kind === "bytes" || type.kind === "str" ? type.length : undefined;
    return [repeat, length].some((count) => count?.kind === "field" && count.id === id);
  });
}

/** Fields that are in the TypeScript type: not reserved ones, constants and counts (which follow from what they count). */
export function visibleFields(record: RecordType): readonly Field[] {
  return record.fields.filter(
    (field) => !field.isReserved && field.type.kind !== "contents" && countUsers(record, field.id).length === 0,
  );
}

/**
 * Whether enums of a record are names (rows of tables and what is nested in them) or numbers (foreign formats, which may
 * hold any value).
 */
export function hasNamedEnums(record: RecordType): boolean {
  return record.table !== undefined;
}

function elementType(record: RecordType, field: Field): string {
  const { type } = field;
  switch (type.kind) {
    case "int":
      if (field.enum && hasNamedEnums(record)) return pascalCase(field.enum.id);
      if (type.width === 8) return "bigint";
      return field.isOptional ? "number | null" : "number";
    case "record":
      return recordTypeName(type.record);
    case "str_ref":
    case "str":
      return "string";
    case "blob_ref":
    case "bytes":
    case "contents":
      return "Uint8Array";
  }
}

export function fieldTypeText(record: RecordType, field: Field): string {
  const element = elementType(record, field);
  if (!field.repeat) return element;
  return element.includes(" ") ? `readonly (${element})[]` : `readonly ${element}[]`;
}

function elementDefault(record: RecordType, field: Field): string {
  const { type } = field;
  switch (type.kind) {
    case "int":
      if (field.enum && hasNamedEnums(record)) {
        const initial = field.enum.values.find(({ value }) => value === 0) ?? field.enum.values[0];
        return literal(initial?.id ?? "");
      }
      if (field.isOptional) return "null";
      if (field.valid?.kind === "any-of") return `${field.valid.values[0]}${type.width === 8 ? "n" : ""}`;
      return type.width === 8 ? "0n" : "0";
    case "record":
      return `${factoryName(type.record)}()`;
    case "str_ref":
    case "str":
      return `""`;
    case "blob_ref":
    case "contents":
      return "noBytes";
    case "bytes":
      return type.length.kind === "fixed" ? `new Uint8Array(${type.length.value})` : "noBytes";
  }
}

function defaultText(record: RecordType, field: Field): string {
  const element = elementDefault(record, field);
  if (!field.repeat) return element;
  return field.repeat.kind === "fixed" ? `Array.from({ length: ${field.repeat.value} }, () => ${element})` : "[]";
}

/** The interface and the factory of a record. */
export function emitRecordType(record: RecordType): string {
  const name = recordTypeName(record);
  let text = docComment(record.docRef ? `${record.doc} See ${record.docRef}.` : record.doc) + `export interface ${name} {\n`;
  for (const field of visibleFields(record)) {
    text += docComment(field.doc, "  ") + `  readonly ${field.name}: ${fieldTypeText(record, field)};\n`;
  }
  text += "}\n\n";
  text += `/** A ${name}; what is not given is zero, empty or none. */\n`;
  text += `export function ${factoryName(record)}(fields: Partial<${name}> = {}): ${name} {\n  return {\n`;
  for (const field of visibleFields(record)) text += `    ${field.name}: ${defaultText(record, field)},\n`;
  text += "    ...fields,\n  };\n}\n";
  return text;
}

/** Size in bytes of a record of fixed size, under the name `taskRowSize`. */
export function sizeName(record: RecordType): string {
  return `${factoryName(record)}Size`;
}

/** Whether a generated file needs `noBytes`. */
export function needsNoBytes(records: readonly RecordType[]): boolean {
  return records.some((record) => visibleFields(record).some((field) => defaultText(record, field) === "noBytes"));
}

/** Large numbers are type codes, which people know in hex. */
function numberText(value: number): string {
  return value < 0x1000 ? String(value) : `0x${value.toString(16)}`;
}

/** An enum as a map of numbers, a type of names, and a map back. */
export function emitEnum(type: EnumType): string {
  const camel = camelCase(type.id);
  const pascal = pascalCase(type.id);
  let text = `/** Numbers of ${type.id}. */\nexport const ${camel}Values = {\n`;
  for (const { id, value, doc } of type.values) text += docComment(doc, "  ") + `  ${id}: ${numberText(value)},\n`;
  text += `} as const;\nexport type ${pascal} = keyof typeof ${camel}Values;\n`;
  text += `/** Names of ${type.id}. */\nexport const ${camel}Names: ReadonlyMap<number, ${pascal}> = new Map([\n`;
  for (const { id, value } of type.values) text += `  [${numberText(value)}, ${literal(id)}],\n`;
  return `${text}]);\n`;
}

/** Masks of every flags field of a record: `vmaProtBits.write`. */
export function emitFlagMasks(record: RecordType): string {
  let text = "";
  for (const field of visibleFields(record)) {
    if (!field.flags || field.type.kind !== "int") continue;
    const suffix = field.type.width === 8 ? "n" : "";
    text += `/** Masks of the bits of ${record.id}.${field.id}. */\nexport const ${camelCase(record.id)}${pascalCase(field.id)}Bits = {\n`;
    for (const { id, bit } of field.flags) text += `  ${id}: 0x${(1n << BigInt(bit)).toString(16)}${suffix},\n`;
    text += "} as const;\n";
  }
  return text;
}

/** Enums in the order of declaration, and constants, of a spec. */
export function emitEnumsAndConstants(spec: Spec): string {
  const parts = spec.enums.map(emitEnum);
  for (const { id, value, doc } of spec.constants) {
    const text = value <= 0xffff_ffffn ? `0x${value.toString(16)}` : `0x${value.toString(16)}n`;
    parts.push(`${docComment(doc)}export const ${camelCase(id)} = ${text};\n`);
  }
  return parts.join("\n");
}
