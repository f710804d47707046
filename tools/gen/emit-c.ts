// SPDX-License-Identifier: Apache-2.0
/** native/gen/<spec>.h: structures (packed where that makes a difference) with size and offset asserts, enums, flag masks. */
import type { EnumType, Field, RecordType, Spec } from "./ir.js";
import { alignOf } from "./layout.js";
import { upperCase } from "./names.js";
import { commentText, header, sourceOf } from "./source.js";
import { SpecError } from "./yaml-values.js";

const keywords = new Set(
  ("auto break case char const continue default do double else enum extern float for goto if inline int long register " +
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while").split(" "),
);

function comment(text: string): string {
  return text === "" ? "" : ` /* ${commentText(text)} */`;
}

/** Prints the header of a spec that has a C prefix; records of variable size are left out. */
export function emitCHeader(spec: Spec): string {
  const prefix = spec.cPrefix ?? spec.id;
  const records = inOrder(spec.records.filter(({ size }) => size !== undefined));
  let text = header([sourceOf(spec)], (line) => `/* ${line} */`);
  text += "#pragma once\n#include <stddef.h>\n#include <stdint.h>\n";
  for (const { id, value, doc } of spec.constants) {
    text += `\n#define ${upperCase(`${prefix}_${id}`)} 0x${value.toString(16)}${comment(doc)}`;
  }
  text += spec.constants.length > 0 ? "\n" : "";
  for (const type of spec.enums) text += emitEnum(prefix, type);
  for (const record of records) text += emitStruct(prefix, record);
  return text;
}

/** Structures after those that they contain; records of other specs that are needed come in between. */
function inOrder(records: readonly RecordType[]): readonly RecordType[] {
  const order = new Set<RecordType>();
  const visit = (record: RecordType): void => {
    for (const { type } of record.fields) if (type.kind === "record") visit(type.record);
    order.add(record);
  };
  records.forEach(visit);
  return [...order];
}

/** #define, not enum: values of 2^31 and more do not fit in an int. */
function emitEnum(prefix: string, type: EnumType): string {
  let text = `\n/* ${type.id} */\n`;
  for (const { id, value, doc } of type.values) {
    text += `#define ${upperCase(`${prefix}_${type.id}_${id}`)} ${value < 0x1000 ? value : `0x${value.toString(16)}u`}${comment(doc)}\n`;
  }
  return text;
}

function emitStruct(prefix: string, record: RecordType): string {
  const name = `struct ${prefix}_${record.id}`;
  let text = `\n${record.doc === "" ? "" : `/* ${commentText(record.doc)} */\n`}${name} {\n`;
  const members = uniqueNames(record.fields);
  record.fields.forEach((field, index) => {
    text += `\t${memberText(prefix, field, members[index] ?? field.id)};${comment(field.doc)}\n`;
  });
  text += `}${isNaturallyLaidOut(record) ? "" : " __attribute__((packed))"};\n_Static_assert(sizeof(${name}) == ${record.size}, ` +
    `"${record.id}");\n`;
  record.fields.forEach((field, index) => {
    text += `_Static_assert(offsetof(${name}, ${members[index]}) == ${field.offset}, "${record.id}.${field.id}");\n`;
  });
  for (const field of record.fields) {
    for (const { id, bit } of field.flags ?? []) {
      const mask = `0x${(1n << BigInt(bit)).toString(16)}u${bit > 31 ? "ll" : ""}`;
      text += `#define ${upperCase(`${prefix}_${record.id}_${field.id}_${id}`)} ${mask}\n`;
    }
  }
  return text;
}

/** Whether a C compiler lays the record out as it is without being told to pack it. */
function isNaturallyLaidOut(record: RecordType): boolean {
  const isAligned = record.fields.every(({ offset, type }) => (offset ?? 1) % alignOf(type) === 0);
  return isAligned && (record.size ?? 1) % record.align === 0;
}

/** Member names: keywords get an underscore, further fields called `reserved` a number. */
function uniqueNames(fields: readonly Field[]): readonly string[] {
  const seen = new Set<string>();
  return fields.map(({ id }, index) => {
    let name = keywords.has(id) ? `${id}_` : id;
    if (seen.has(name)) name = `${id}_at_${index}`;
    seen.add(name);
    return name;
  });
}

function memberText(prefix: string, field: Field, name: string): string {
  const { type } = field;
  const repeat = field.repeat?.kind === "fixed" ? `[${field.repeat.value}]` : "";
  switch (type.kind) {
    case "int":
      return `${type.isSigned ? "" : "u"}int${type.width * 8}_t ${name}${repeat}`;
    case "record":
      return `struct ${prefix}_${type.record.id} ${name}${repeat}`;
    case "str_ref":
      return `uint32_t ${name}${repeat}`;
    case "blob_ref":
      return `struct ${prefix}_blob_ref ${name}${repeat}`;
    case "contents":
      return `uint8_t ${name}[${type.bytes.length}]`;
    case "bytes":
    case "str":
      if (type.length.kind !== "fixed" || repeat !== "") throw new SpecError(`${field.id}: not in a C header`);
      return `${type.kind === "str" ? "char" : "uint8_t"} ${name}[${type.length.value}]`;
  }
}
