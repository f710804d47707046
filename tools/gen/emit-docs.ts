// SPDX-License-Identifier: Apache-2.0
/**
 * The generated parts of spec/SPEC.md. A part stands between `<!-- generated: WHAT -->` and `<!-- end -->`; WHAT is
 * `record SPEC::RECORD`, `table NAME`, `tables` (an index), `enum SPEC::ENUM` or `enums SPEC`.
 */
import { tablesOf } from "./emit-tables.js";
import type { EnumType, Field, RecordType, Spec } from "./ir.js";
import { SpecError } from "./yaml-values.js";

const part = /^(<!-- generated: (.+) -->)\n(?:(?!<!-- ).*\n)*(<!-- end -->)$/gm;

/** The document with every generated part made anew. */
export function emitDocument(text: string, specs: readonly Spec[]): string {
  const begins = text.match(/^<!-- generated: /gm)?.length ?? 0;
  const whole = text.match(part)?.length ?? 0;
  if (begins !== whole) throw new SpecError(`SPEC.md: ${begins} generated parts begin, ${whole} of them end`);
  return text.replaceAll(part, (_all, begin: string, what: string, end: string) => `${begin}\n${emitPart(what, specs)}${end}`);
}

function emitPart(what: string, specs: readonly Spec[]): string {
  const [kind = "", name = ""] = what.split(" ");
  const tables = specs.flatMap((spec) => [...tablesOf(spec)]);
  switch (kind) {
    case "tables":
      return tableIndex(tables);
    case "table": {
      const record = tables.find(({ table }) => table?.name === name);
      if (!record) throw new SpecError(`SPEC.md: no table "${name}"`);
      return recordTable(record);
    }
    case "record":
      return recordTable(find(name, specs, (spec) => spec.records));
    case "enum":
      return enumTable(find(name, specs, (spec) => spec.enums));
    case "enums": {
      const spec = specs.find(({ id }) => id === name);
      if (!spec) throw new SpecError(`SPEC.md: no spec "${name}"`);
      return spec.enums
        .map((type) => {
          const values = type.values.map(({ id, value }) => `${number(value)} ${id}`);
          return `\`${type.id}\`: ${values.join(", ")}\n\n`;
        })
        .join("");
    }
    default:
      throw new SpecError(`SPEC.md: cannot generate "${what}"`);
  }
}

/** SPEC::NAME among the things of a spec. */
function find<Thing extends { readonly id: string }>(
  name: string,
  specs: readonly Spec[],
  things: (spec: Spec) => readonly Thing[],
): Thing {
  const [specId, id] = name.split("::");
  const spec = specs.find((one) => one.id === specId);
  const found = spec && things(spec).find((one) => one.id === id);
  if (!found) throw new SpecError(`SPEC.md: no "${name}"`);
  return found;
}

/** Text in a cell of a Markdown table. */
function cell(text: string): string {
  return text.replace(/\s+/g, " ").replaceAll("|", "\\|").trim();
}

function tableIndex(tables: readonly RecordType[]): string {
  let text = "| kind | table | bytes a record | rows are |\n|---|---|---|---|\n";
  for (const { table, size, doc } of tables) text += `| ${table?.kind} | \`${table?.name}\` | ${size} | ${cell(doc)} |\n`;
  return text;
}

function recordTable(record: RecordType): string {
  const size = record.size === undefined ? "Variable size." : `${record.size} bytes.`;
  let text = `${size} ${cell(record.doc)}\n\n| offset | field | type | meaning |\n|---|---|---|---|\n`;
  for (const field of record.fields) {
    text += `| ${field.offset ?? "…"} | \`${field.id}\` | ${typeText(field)} | ${cell(fieldDoc(field))} |\n`;
  }
  return text;
}

function fieldDoc(field: Field): string {
  const flags = field.flags ? ` Bits: ${field.flags.map(({ id, bit }) => `${bit} ${id}`).join(", ")}.` : "";
  const valid = field.valid?.kind === "any-of" ? ` Must be ${field.valid.values.join(" or ")}.` : "";
  return field.doc + valid + flags;
}

function typeText(field: Field): string {
  const { type } = field;
  const { repeat } = field;
  const times = repeat?.kind === "fixed" ? repeat.value : repeat?.kind === "field" ? repeat.id : "…";
  const count = repeat === undefined ? "" : `[${times}]`;
  const note = field.ref ? ` → ` +
    `${field.ref}${field.isOptional ? ", or none" : ""}` : field.isOptional ? ", or none" : field.enum ? ` (${field.enum.id})` : "";
  switch (type.kind) {
    case "int":
      return `${type.isSigned ? "s" : "u"}${type.width}${count}${note}`;
    case "record":
      return `${type.record.id}${count}`;
    case "str_ref":
    case "blob_ref":
      return `${type.kind}${count}`;
    case "contents":
      return `${type.bytes.length} bytes`;
    case "bytes":
    case "str":
      if (type.length.kind === "fixed") return `${type.length.value} bytes`;
      return type.length.kind === "field" ? `bytes[${type.length.id}]` : "bytes[…]";
  }
}

/** Type codes are known in hex. */
function number(value: number): string {
  return value < 0x1000 ? String(value) : `0x${value.toString(16)}`;
}

function enumTable(type: EnumType): string {
  const hasDocs = type.values.some(({ doc }) => doc !== "");
  let text = hasDocs ? "| value | name | meaning |\n|---|---|---|\n" : "| value | name |\n|---|---|\n";
  for (const { id, value, doc } of type.values) text += `| ${number(value)} | \`${id}\` |${hasDocs ? ` ${cell(doc)} |` : ""}\n`;
  return text;
}
