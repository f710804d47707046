// SPDX-License-Identifier: Apache-2.0
/** Straight-line readers and writers of records. */
import type { Count, EnumType, Field, RecordType } from "./ir.js";
import { countUsers, hasNamedEnums, recordTypeName, sizeName, visibleFields } from "./emit-types.js";
import type { Imports } from "./imports.js";
import { minSizeOf } from "./layout.js";
import { camelCase, localName } from "./names.js";
import { literal } from "./source.js";

/** Which module (relative to src/gen) has the types, enums and codecs of a spec. */
export interface Modules {
  readonly types: (specId: string) => string;
  readonly codecs: (specId: string) => string;
}

export class CodecEmitter {
  constructor(
    readonly imports: Imports,
    readonly modules: Modules,
  ) {}

  /** Size constant, reader and writer of a record. */
  emit(record: RecordType): string {
    let text = "";
    if (record.size !== undefined) {
      text += `/** Bytes of a ${record.id} record. */\nexport const ${sizeName(record)} = ${record.size};\n\n`;
    }
    return text + this.#reader(record) + "\n" + this.#writer(record);
  }

  #typeName(record: RecordType): string {
    return this.imports.type(this.modules.types(record.specId), recordTypeName(record));
  }

  #enumConst(type: EnumType, suffix: "Names" | "Values"): string {
    return this.imports.value(this.modules.types(type.specId), `${camelCase(type.id)}${suffix}`);
  }

  #reader(record: RecordType): string {
    const reader = this.imports.type("../bytes/byte-reader.js", "ByteReader");
    const parameters = record.table ? `reader: ${reader}, heaps: ` +
      `${this.imports.type("../bytes/heaps.js", "HeapReader")}` : `reader: ${reader}`;
    let text = `/** Reads a ${record.id} record at the reader's position. */\n`;
    text += `export function read${recordTypeName(record)}(${parameters}): ${this.#typeName(record)} {\n`;
    if (record.size !== undefined) text += `  reader.need(${sizeName(record)}, ${literal(record.id)});\n`;
    for (const field of record.fields) text += this.#readField(record, field);
    const properties = visibleFields(record).map(({ name }) => (localName(name) === name ? name : `${name}: ${localName(name)}`));
    return `${text}  return { ${properties.join(", ")} };\n}\n`;
  }

  #readField(record: RecordType, field: Field): string {
    if (field.type.kind === "contents") return `  reader.contents([${field.type.bytes.join(", ")}], ${literal(field.id)});\n`;
    if (field.isReserved) return `  reader.skip(${field.size});\n`;
    const local = localName(field.name);
    const one = this.#readOne(record, field);
    const text = `  const ${local} = ${field.repeat ? this.#readMany(record, field, field.repeat, one) : one};\n`;
    const [rule, expected] = this.#brokenRule(field, local);
    if (rule === "" || field.type.kind !== "int" || field.repeat) return text;
    return `${text}  if (${rule}) throw reader.invalid(${literal(field.id)}, ${field.type.width}, ${local}, ${literal(expected)});\n`;
  }

  #readOne(record: RecordType, field: Field): string {
    const { type } = field;
    const id = literal(field.id);
    switch (type.kind) {
      case "int": {
        if (field.isOptional) return "reader.row()";
        const read = `reader.${type.isSigned ? "s" : "u"}${type.width}()`;
        if (!field.enum || !hasNamedEnums(record)) return read;
        return `reader.name(${read}, ${type.width}, ${this.#enumConst(field.enum, "Names")}, ${id})`;
      }
      case "record":
        return `${this.imports.value(this.modules.codecs(type.record.specId), `read${recordTypeName(type.record)}`)}(reader)`;
      case "str_ref":
        return `heaps.text(reader, ${id})`;
      case "blob_ref":
        return `heaps.blob(reader, ${id})`;
      case "bytes":
        return `reader.bytes(${this.#readLength(record, field, type.length)})`;
      case "str":
        return `reader.text(${this.#readLength(record, field, type.length)}, ${type.isTerminated})`;
      case "contents":
        return "";
    }
  }

  #readLength(record: RecordType, field: Field, length: Count): string {
    if (length.kind === "fixed") return String(length.value);
    if (length.kind === "eos") return "reader.remaining";
    return `reader.count(${countLocal(record, length.id)}, 1, ${literal(field.id)})`;
  }

  #readMany(record: RecordType, field: Field, repeat: Count, one: string): string {
    if (repeat.kind === "eos") return `reader.all(() => ${one})`;
    const least = minSizeOf(field.type);
    const count =
      repeat.kind === "fixed" ? String(repeat.value) : `reader.count(${countLocal(record, repeat.id)}, ${least}, ${literal(field.id)})`;
    return `Array.from({ length: ${count} }, () => ${one})`;
  }

  /** A condition that is true when `value` breaks the field's rule, and the rule in words. */
  #brokenRule(field: Field, value: string): readonly [string, string] {
    const { valid, type } = field;
    if (!valid || type.kind !== "int") return ["", ""];
    const suffix = type.width === 8 ? "n" : "";
    switch (valid.kind) {
      case "any-of":
        return [valid.values.map((one) => `${value} !== ${one}${suffix}`).join(" && "), valid.values.join(" or ")];
      case "range": {
        const { min, max } = valid;
        const parts = [min === undefined ? "" : `${value} < ${min}${suffix}`, max === undefined ? "" : `${value} > ${max}${suffix}`];
        const words = [min === undefined ? "" : `at least ${min}`, max === undefined ? "" : `at most ${max}`];
        return [parts.filter(Boolean).join(" || "), words.filter(Boolean).join(" and ")];
      }
      case "in-enum": {
        if (!field.enum) return ["", ""];
        const words = field.enum.values.map((one) => one.value).join(" or ");
        return [`!${this.#enumConst(field.enum, "Names")}.has(${value})`, words];
      }
    }
  }

  #writer(record: RecordType): string {
    const writer = this.imports.type("../bytes/byte-writer.js", "ByteWriter");
    const parameters = [`writer: ${writer}`, `row: ${this.#typeName(record)}`];
    if (record.table) parameters.push(`heaps: ${this.imports.type("../bytes/heaps.js", "HeapWriter")}`);
    let text = `/** Appends a ${record.id} record. */\nexport function write${recordTypeName(record)}(${parameters.join(", ")}): void {\n`;
    for (const field of record.fields) {
      if (field.type.kind === "str" && field.type.length.kind !== "fixed") {
        text += `  const ${field.name}Bytes = ${this.imports.value("../bytes/text.js", "encodeText")}(row.${field.name});\n`;
      }
    }
    for (const field of record.fields) text += this.#writeField(record, field);
    return `${text}}\n`;
  }

  #writeField(record: RecordType, field: Field): string {
    const { type } = field;
    if (type.kind === "contents") return `  writer.bytes(Uint8Array.of(${type.bytes.join(", ")}));\n`;
    if (field.isReserved) return `  writer.zeros(${field.size});\n`;
    const users = countUsers(record, field.id);
    const first = users[0];
    if (first && type.kind === "int") {
      const length = lengthOf(first);
      return `  writer.${type.isSigned ? "s" : "u"}${type.width}(${type.width === 8 ? `BigInt(${length})` : length}, ` +
        `${literal(field.id)});\n`;
    }
    const value = `row.${field.name}`;
    if (!field.repeat) {
      const [rule, expected] = this.#brokenRule(field, value);
      const check = rule === "" ? "" : `  if (${rule}) throw writer.invalid(${literal(field.id)}, ${value}, ${literal(expected)});\n`;
      return `${check}  ${this.#writeOne(record, field, value)};\n`;
    }
    const list = this.#checkedList(record, field, field.repeat, value);
    return `  for (const one of ${list}) ${this.#writeOne(record, field, "one")};\n`;
  }

  #checkedList(record: RecordType, field: Field, repeat: Count, value: string): string {
    if (repeat.kind === "eos") return value;
    if (repeat.kind === "fixed") return `writer.elements(${value}, ${repeat.value}, ${literal(field.id)})`;
    const first = countUsers(record, repeat.id)[0];
    return first === undefined || first === field ? value : `writer.elements(${value}, ${lengthOf(first)}, ${literal(field.id)})`;
  }

  #writeOne(record: RecordType, field: Field, value: string): string {
    const { type } = field;
    const id = literal(field.id);
    switch (type.kind) {
      case "int": {
        if (field.isOptional) return `writer.row(${value}, ${id})`;
        const number = field.enum && hasNamedEnums(record) ? `writer.number(${value}, ${this.#enumConst(field.enum, "Values")}, ` +
          `${id})` : value;
        return `writer.${type.isSigned ? "s" : "u"}${type.width}(${number}, ${id})`;
      }
      case "record":
        return `${this.imports.value(this.modules.codecs(type.record.specId), `write${recordTypeName(type.record)}`)}(writer, ${value})`;
      case "str_ref":
        return `heaps.text(writer, ${value}, ${id})`;
      case "blob_ref":
        return `heaps.blob(writer, ${value}, ${id})`;
      case "str":
        if (type.length.kind === "fixed") return `writer.text(${value}, ${type.length.value}, ${id})`;
        return this.#writeBytes(record, field, type.length, `${field.name}Bytes`);
      case "bytes":
        return this.#writeBytes(record, field, type.length, value);
      case "contents":
        return "";
    }
  }

  #writeBytes(record: RecordType, field: Field, length: Count, value: string): string {
    if (length.kind === "fixed") return `writer.fixed(${value}, ${length.value}, ${literal(field.id)})`;
    const first = length.kind === "field" ? countUsers(record, length.id)[0] : undefined;
    if (first === undefined || first === field) return `writer.bytes(${value})`;
    return `writer.fixed(${value}, ${lengthOf(first)}, ${literal(field.id)})`;
  }
}

function countLocal(record: RecordType, id: string): string {
  const field = record.fields.find((other) => other.id === id);
  return localName(field?.name ?? camelCase(id));
}

/** Expression for the length of a value whose length a count field states. */
function lengthOf(field: Field): string {
  return field.type.kind === "str" ? `${field.name}Bytes.length` : `row.${field.name}.length`;
}

