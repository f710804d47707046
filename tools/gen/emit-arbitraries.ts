// SPDX-License-Identifier: Apache-2.0
/** test/support/gen/<spec>.ts: a fast-check arbitrary and a codec case for every record of a spec. */
import { countUsers, hasNamedEnums, recordTypeName, sizeName, visibleFields } from "./emit-types.js";
import { tableProperty, tablesOf } from "./emit-tables.js";
import { Imports } from "./imports.js";
import type { Count, Field, IntType, RecordType, Spec } from "./ir.js";
import { camelCase, kebabCase } from "./names.js";
import { header, literal, sourceOf } from "./source.js";
import type { Modules } from "./emit-codec.js";

const support = "../primitive-arbitraries.js";

/** Elements of lists and bytes of texts whose length is free. */
const someLength = 20;

function arbitraryName(record: RecordType): string {
  return `${camelCase(record.id)}Arbitrary`;
}

export function emitArbitraries(spec: Spec, modules: Modules): string {
  const own = `./${kebabCase(spec.id)}.js`;
  const imports = new Imports(own);
  const emitter = new ArbitraryEmitter(imports);
  const fromSource = (module: string) => module.replace("./", "../../../src/gen/");
  const records = inOrder(spec.records.filter(({ id }) => id !== "str_ref" && id !== "blob_ref"));
  let body = "";
  let cases = "\n/** Every record of the spec, for the laws that all codecs obey. */\nexport const codecCases: readonly CodecCase[] = [\n";
  for (const record of records) {
    const type = imports.type(fromSource(modules.types(spec.id)), recordTypeName(record));
    const codecs = fromSource(modules.codecs(spec.id));
    body += `\nexport const ${arbitraryName(record)}: fc.Arbitrary<${type}> = ${emitter.record(record)};\n`;
    const read = imports.value(codecs, `read${recordTypeName(record)}`);
    const write = imports.value(codecs, `write${recordTypeName(record)}`);
    const size = record.size === undefined ? "undefined" : imports.value(codecs, sizeName(record));
    cases += `  codecCase(${literal(`${spec.id}::${record.id}`)}, ${size}, ${arbitraryName(record)}, ${read}, ${write}),\n`;
  }
  imports.value("../codec-laws.js", "codecCase");
  imports.type("../codec-laws.js", "CodecCase");
  const tables = tablesOf(spec);
  if (tables.length > 0) {
    const type = imports.type(fromSource(modules.types(spec.id)), "Tables");
    cases += `];\n\n/** Rows of each table; references are any numbers. */\n`;
    cases += `export const rowArbitraries: { readonly [Name in keyof ${type}]: fc.Arbitrary<${type}[Name][number]> } = {\n`;
    for (const record of tables) cases += `  ${tableProperty(record)}: ${arbitraryName(record)},\n`;
  }
  const end = tables.length > 0 ? "};\n" : "];\n";
  return `${header([sourceOf(spec)])}import fc from "fast-check";\n${imports.emit()}${body}${cases}${end}`;
}

/** Records after those of the same spec that they contain. */
function inOrder(records: readonly RecordType[]): readonly RecordType[] {
  const order = new Set<RecordType>();
  const visit = (record: RecordType): void => {
    for (const { type } of record.fields) if (type.kind === "record" && records.includes(type.record)) visit(type.record);
    order.add(record);
  };
  records.forEach(visit);
  return [...order];
}

class ArbitraryEmitter {
  readonly #imports: Imports;

  constructor(imports: Imports) {
    this.#imports = imports;
  }

  record(record: RecordType): string {
    let text = "fc.record({\n";
    for (const field of visibleFields(record)) text += `  ${field.name}: ${this.#field(record, field)},\n`;
    return `${text}})`;
  }

  #primitive(name: string): string {
    return this.#imports.value(support, name);
  }

  #field(record: RecordType, field: Field): string {
    const one = this.#one(record, field);
    if (!field.repeat) return one;
    const [least, most] = lengthRange(record, field.repeat);
    return `fc.array(${one}, { minLength: ${least}, maxLength: ${most} })`;
  }

  #one(record: RecordType, field: Field): string {
    const { type } = field;
    switch (type.kind) {
      case "int":
        return this.#int(record, field, type);
      case "record":
        return type.record.specId === record.specId
          ? arbitraryName(type.record)
          : this.#imports.value(`./${kebabCase(type.record.specId)}.js`, arbitraryName(type.record));
      case "str_ref":
        return `${this.#primitive("text")}(${someLength})`;
      case "blob_ref":
        return `${this.#primitive("bytes")}(0, ${someLength})`;
      case "str": {
        const [least, most] = lengthRange(record, type.length);
        return type.isTerminated ? `${this.#primitive("text")}(${most})` : `${this.#primitive("anyText")}(${least}, ${most})`;
      }
      case "bytes":
        return `${this.#primitive("bytes")}(${lengthRange(record, type.length).join(", ")})`;
      case "contents":
        return "";
    }
  }

  #int(record: RecordType, field: Field, type: IntType): string {
    if (field.enum && (hasNamedEnums(record) || field.valid?.kind === "in-enum")) {
      const values = field.enum.values.map(({ id, value }) => (hasNamedEnums(record) ? literal(id) : String(value)));
      return `fc.constantFrom(${values.join(", ")})`;
    }
    if (field.isOptional) return this.#primitive("optionalRow");
    const suffix = type.width === 8 ? "n" : "";
    if (field.valid?.kind === "any-of") return `fc.constantFrom(${field.valid.values.map((value) => `${value}${suffix}`).join(", ")})`;
    const whole = this.#primitive(`${type.isSigned ? "s" : "u"}${type.width}`);
    if (field.valid?.kind !== "range") return whole;
    const { min, max } = field.valid;
    const tests = [min === undefined ? "" : `value >= ${min}${suffix}`, max === undefined ? "" : `value <= ${max}${suffix}`];
    return `${whole}.filter((value) => ${tests.filter(Boolean).join(" && ")})`;
  }
}

function lengthRange(record: RecordType, count: Count): readonly [number, number] {
  if (count.kind === "fixed") return [count.value, count.value];
  // Fields that share a count must agree on it.
  if (count.kind === "field" && countUsers(record, count.id).length > 1) return [3, 3];
  return [0, someLength];
}
