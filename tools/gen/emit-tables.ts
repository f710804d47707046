// SPDX-License-Identifier: Apache-2.0
/** src/gen/tables.ts and src/gen/table-specs.ts: the rows of the v2 tables, and what is known about them. */
import type { EnumType, Field, RecordType, Spec } from "./ir.js";
import { emitEnumsAndConstants, emitFlagMasks, emitRecordType, factoryName, recordTypeName, visibleFields } from "./emit-types.js";
import { camelCase, kebabCase, pascalCase } from "./names.js";
import { header, literal, sourceOf } from "./source.js";
import { SpecError } from "./yaml-values.js";

/** Records that rows contain and that this spec itself declares. */
function isRowPart(record: RecordType, tables: readonly RecordType[]): boolean {
  return tables.some((table) => table.fields.some(({ type }) => type.kind === "record" && type.record === record));
}

/** Tables of a spec by kind; the references between them are checked. */
export function tablesOf(spec: Spec): readonly RecordType[] {
  const tables = spec.records.filter((record) => record.table).sort((a, b) => kindOf(a) - kindOf(b));
  const names = new Set(tables.map((record) => record.table?.name));
  if (new Set(tables.map(kindOf)).size !== tables.length || names.size !== tables.length) {
    throw new SpecError(`${spec.id}: two tables share a kind or a name`);
  }
  for (const { id, fields } of tables) {
    for (const { id: field, ref, type, repeat } of fields) {
      if (ref !== undefined && !names.has(ref)) throw new SpecError(`${spec.id}: ${id}.${field} refers to an unknown table "${ref}"`);
      const isFixed = repeat === undefined || repeat.kind === "fixed";
      if (!isFixed || ["bytes", "str"].includes(type.kind)) throw new SpecError(`${spec.id}: ${id}.${field}: not in a table record`);
    }
  }
  return tables;
}

export function kindOf(record: RecordType): number {
  return record.table?.kind ?? 0;
}

export function tableProperty(record: RecordType): string {
  return camelCase(record.table?.name ?? "");
}

/** Records of other specs that rows contain. */
function importedParts(spec: Spec, tables: readonly RecordType[]): readonly RecordType[] {
  const found = new Set<RecordType>();
  for (const { fields } of tables) {
    for (const { type } of fields) if (type.kind === "record" && type.record.specId !== spec.id) found.add(type.record);
  }
  return [...found];
}

/** Nested records of this spec in the order of declaration. */
export function rowParts(spec: Spec): readonly RecordType[] {
  const tables = tablesOf(spec);
  return spec.records.filter((record) => !record.table && isRowPart(record, tables));
}

/** Records that are neither rows nor in rows: the segment's own header and directory. */
function framingRecords(spec: Spec): readonly RecordType[] {
  const parts = rowParts(spec);
  return spec.records.filter((record) => !record.table && !parts.includes(record) && !["str_ref", "blob_ref"].includes(record.id));
}

export function emitTables(spec: Spec): string {
  const tables = tablesOf(spec);
  const parts = rowParts(spec);
  let text = header([sourceOf(spec)]);
  text += "/** The rows of a checkpoint. Text that is not UTF-8 is kept: see src/bytes/text.ts. */\n";
  for (const part of importedParts(spec, tables)) {
    const file = `./${kebabCase(part.specId)}.js`;
    text += `import { type ${recordTypeName(part)}, ${factoryName(part)} } from "${file}";\n`;
    text += `export { type ${recordTypeName(part)}, ${factoryName(part)} } from "${file}";\n`;
  }
  text += `export { tableSpecs, type TableSpec } from "./table-specs.js";\n\nconst noBytes = new Uint8Array(0);\n\n`;
  text += emitEnumsAndConstants(spec) + "\n";
  for (const record of tables) text += emitFlagMasks(record);
  text += "\n" + [...parts, ...framingRecords(spec), ...tables].map(emitRecordType).join("\n");
  text += "\n/** All tables; a row is referred to by its index. */\nexport interface Tables {\n";
  for (const record of tables) text += `  readonly ${tableProperty(record)}: readonly ${recordTypeName(record)}[];\n`;
  text += "}\n\nexport type TableName = keyof Tables;\n\n";
  text += "/** Tables that can still be added to. */\nexport type MutableTables = { -readonly [Name in TableName]: " +
    "Tables[Name][number][] };\n\n";
  text += "/** Every table, without rows. */\nexport function emptyTables(): MutableTables {\n  return {\n";
  for (const record of tables) text += `    ${tableProperty(record)}: [],\n`;
  return `${text}  };\n}\n`;
}

function enumSpecName(type: EnumType): string {
  return `${camelCase(type.id)}Enum`;
}

function wireType(field: Field): string {
  const { type } = field;
  return type.kind === "int" ? `${type.isSigned ? "s" : "u"}${type.width}` : type.kind;
}

function fieldSpecText(field: Field, propertyOf: (table: string) => string): string {
  const parts = [
    `id: ${literal(field.id)}`,
    `name: ${literal(field.name)}`,
    `wire: ${literal(wireType(field))}`,
    `offset: ${field.offset ?? 0}`,
    `size: ${field.size ?? 0}`,
  ];
  if (field.repeat?.kind === "fixed") parts.push(`repeat: ${field.repeat.value}`);
  if (field.ref !== undefined) parts.push(`ref: ${literal(propertyOf(field.ref))}`);
  if (field.isOptional) parts.push("optional: true");
  if (field.enum) parts.push(`enum: ${enumSpecName(field.enum)}`);
  if (field.flags) parts.push(`flags: { ${field.flags.map(({ id, bit }) => `${id}: ${bit}`).join(", ")} }`);
  if (field.format !== undefined) parts.push(`format: ${literal(field.format)}`);
  if (field.type.kind === "record") parts.push(`record: ${camelCase(field.type.record.id)}Spec`);
  parts.push(`doc: ${literal(field.doc)}`);
  return `{ ${parts.join(", ")} }`;
}

function fieldsText(record: RecordType, propertyOf: (table: string) => string, indent: string): string {
  let text = `${indent}get fields() {\n${indent}  return once(${literal(record.id)}, (): readonly FieldSpec[] => [\n`;
  for (const field of visibleFields(record)) text += `${indent}    ${fieldSpecText(field, propertyOf)},\n`;
  return `${text}${indent}  ]);\n${indent}},\n`;
}

export function emitTableSpecs(spec: Spec): string {
  const tables = tablesOf(spec);
  const propertyOf = (name: string) => camelCase(name);
  let text = header([sourceOf(spec)]);
  text += "/** The tables and their fields as data. */\n";
  text += `import type { EnumSpec, FieldSpec, RecordSpec } from "../bytes/record-spec.js";\n`;
  text += `import type { TableName } from "./tables.js";\n\n`;
  text += "/** One table: its record and where it stands. */\nexport interface TableSpec extends RecordSpec {\n";
  text += "  /** Number in the directory of the tables segment. */\n  readonly kind: number;\n";
  text += "  /** ksy name, such as `signal_actions`; its ELF section is `.ckpt.` and this. */\n  readonly tableId: string;\n";
  text += "  /** Property of `Tables`. */\n  readonly table: TableName;\n}\n\n";
  text += "const known = new Map<string, readonly FieldSpec[]>();\n\n";
  text += "/** Fields are made when somebody asks for them: a dump needs those of one table. */\n";
  text += "function once(id: string, make: () => readonly FieldSpec[]): readonly FieldSpec[] {\n";
  text += "  const fields = known.get(id) ?? make();\n  known.set(id, fields);\n  return fields;\n}\n\n";
  for (const type of spec.enums) {
    const values = type.values.map(({ id, value }) => `${id}: ${value}`).join(", ");
    text += `const ${enumSpecName(type)}: EnumSpec = { id: ${literal(type.id)}, values: { ${values} } };\n`;
  }
  const nested = [...importedParts(spec, tables), ...rowParts(spec)];
  for (const record of nested) {
    text += `\n/** ${pascalCase(record.id)} */\nconst ${camelCase(record.id)}Spec: RecordSpec = {\n  id: ${literal(record.id)},\n`;
    text += `  size: ${record.size},\n  doc: ${literal(record.doc)},\n`;
    text += `${fieldsText(record, propertyOf, "  ")}};\n`;
  }
  text += "\n/** Every table in the order of kinds. */\nexport const tableSpecs: readonly TableSpec[] = [\n";
  for (const record of tables) {
    text += `  {\n    kind: ${kindOf(record)},\n    tableId: ${literal(record.table?.name ?? "")},\n    table: ` +
      `${literal(tableProperty(record))},\n`;
    text += `    id: ${literal(record.id)},\n    size: ${record.size},\n    doc: ${literal(record.doc)},\n`;
    text += `${fieldsText(record, propertyOf, "    ")}  },\n`;
  }
  return `${text}];\n`;
}
