// SPDX-License-Identifier: Apache-2.0
/** Reads .ksy files into the generator's IR. Whatever the generator cannot express is an error that names file and field. */
import { parse } from "yaml";
import type { EnumType, Field, FieldType, IntType, RecordType, Spec } from "./ir.js";
import { camelCase, isKsyIdentifier } from "./names.js";
import { alignOf, assertTableLayout, minSizeOf, sizeOf } from "./layout.js";
import { loadContents, loadLength, loadRepeat, maxRecordBytes } from "./load-counts.js";
import { parseFlags, parseFormat, parseValid } from "./load-attributes.js";
import { type Mapping, SpecError, asInteger, asList, asMapping, asText, optionalText } from "./yaml-values.js";

/** A set of .ksy texts that may import each other, by meta/id. */
export class SpecLoader {
  readonly #documents = new Map<string, { file: string; root: Mapping }>();
  readonly #records = new Map<string, RecordType>();
  readonly #enums = new Map<string, EnumType>();
  /** Records being laid out, to find a record that contains itself. */
  readonly #open = new Set<string>();

  /** @param files text of every .ksy file by file name. */
  constructor(files: ReadonlyMap<string, string>) {
    for (const [file, text] of files) {
      const root = asMapping(parseYaml(file, text), file);
      const id = asText(asMapping(root["meta"], `${file}: meta`)["id"], `${file}: meta/id`);
      if (!isKsyIdentifier(id)) throw new SpecError(`${file}: meta/id "${id}" is not an identifier`);
      if (file !== `${id}.ksy`) throw new SpecError(`${file}: meta/id is "${id}"; the file must be called ${id}.ksy`);
      this.#documents.set(id, { file, root });
    }
  }

  /** All specs, in the order of their ids. */
  load(): Spec[] {
    return [...this.#documents.keys()].sort().map((id) => this.#loadSpec(id));
  }

  #document(id: string, where: string): { file: string; root: Mapping } {
    const found = this.#documents.get(id);
    if (!found) throw new SpecError(`${where}: no spec "${id}"`);
    return found;
  }

  #loadSpec(id: string): Spec {
    const { file, root } = this.#document(id, id);
    const meta = asMapping(root["meta"], `${file}: meta`);
    if (meta["endian"] !== "le") throw new SpecError(`${file}: meta/endian must be le`);
    for (const imported of asList(meta["imports"] ?? [], `${file}: meta/imports`)) {
      this.#document(asText(imported, `${file}: meta/imports`), `${file}: meta/imports`);
    }
    const types = asMapping(root["types"] ?? {}, `${file}: types`);
    const records = Object.keys(types)
      .filter((type) => asMapping(types[type], `${file}: types/${type}`)["-crimg-skip"] !== true)
      .map((type) => this.#record(id, type, `${file}: types/${type}`));
    const enums = asMapping(root["enums"] ?? {}, `${file}: enums`);
    const constants = asMapping(root["-crimg-constants"] ?? {}, `${file}: -crimg-constants`);
    return {
      id,
      title: optionalText(meta["title"], `${file}: meta/title`),
      doc: optionalText(root["doc"], `${file}: doc`),
      cPrefix: root["-crimg-c-prefix"] === undefined ? undefined : loadIdentifier(root["-crimg-c-prefix"], `${file}: -crimg-c-prefix`),
      records,
      enums: Object.keys(enums).map((name) => this.#enum(id, name, `${file}: enums/${name}`)),
      constants: Object.entries(constants).map(([name, value]) => loadConstant(name, value, `${file}: -crimg-constants/${name}`)),
    };
  }

  #enum(specId: string, name: string, where: string): EnumType {
    const key = `${specId}::${name}`;
    const known = this.#enums.get(key);
    if (known) return known;
    if (!isKsyIdentifier(name)) throw new SpecError(`${where}: "${name}" is not an identifier`);
    const { root, file } = this.#document(specId, where);
    const raw = asMapping(asMapping(root["enums"] ?? {}, `${file}: enums`)[name], `${where}: enum ${name}`);
    const seen = new Set<string>();
    const values = Object.entries(raw).map(([key, entry]) => {
      const value = asInteger(/^\d/.test(key) ? Number(key) : key, `${where}: key "${key}"`);
      if (value < 0 || value > 0xffff_ffff) throw new SpecError(`${where}: ${key} does not fit in 32 bits`);
      const isPlain = typeof entry === "string";
      const id = isPlain ? entry : asText(asMapping(entry, `${where}/${key}`)["id"], `${where}/${key}: id`);
      if (!isKsyIdentifier(id)) throw new SpecError(`${where}: "${id}" is not an identifier`);
      if (seen.has(id)) throw new SpecError(`${where}: "${id}" stands twice`);
      seen.add(id);
      return { value, id, doc: isPlain ? "" : optionalText(asMapping(entry, where)["doc"], `${where}/${key}: doc`) };
    });
    if (values.length === 0) throw new SpecError(`${where}: no values`);
    const made: EnumType = { id: name, doc: "", specId, values };
    this.#enums.set(key, made);
    return made;
  }

  #record(specId: string, name: string, where: string): RecordType {
    const key = `${specId}::${name}`;
    const known = this.#records.get(key);
    if (known) return known;
    if (this.#open.has(key)) throw new SpecError(`${where}: ${key} contains itself`);
    if (!isKsyIdentifier(name)) throw new SpecError(`${where}: "${name}" is not an identifier`);
    const { root, file } = this.#document(specId, where);
    const types = asMapping(root["types"] ?? {}, `${file}: types`);
    if (!Object.hasOwn(types, name)) throw new SpecError(`${where}: no type ${key}`);
    this.#open.add(key);
    const raw = asMapping(types[name], `${file}: types/${name}`);
    const made = this.#layOut(specId, name, raw, `${file}: types/${name}`);
    this.#open.delete(key);
    this.#records.set(key, made);
    return made;
  }

  #layOut(specId: string, id: string, raw: Mapping, where: string): RecordType {
    for (const unsupported of ["params", "switch-on"]) {
      if (unsupported in raw) throw new SpecError(`${where}: ${unsupported} is not supported`);
    }
    const fields: Field[] = [];
    let offset: number | undefined = 0;
    let align = 1;
    for (const [index, item] of asList(raw["seq"], `${where}/seq`).entries()) {
      const at = `${where}/seq/${index}`;
      const field = this.#field(specId, asMapping(item, at), fields, offset, raw["-crimg-table"] !== undefined, at);
      if (fields.some((other) => other.id === field.id && !field.isReserved)) {
        throw new SpecError(`${where}: field "${field.id}" stands twice`);
      }
      fields.push(field);
      align = Math.max(align, alignOf(field.type));
      offset = offset === undefined || field.size === undefined ? undefined : offset + field.size;
      if (offset !== undefined && offset > maxRecordBytes) throw new SpecError(`${where}: longer than ${maxRecordBytes} bytes`);
    }
    const record: RecordType = {
      id: raw["-crimg-row"] === undefined ? id : loadIdentifier(raw["-crimg-row"], `${where}: -crimg-row`),
      typeId: id,
      specId,
      doc: optionalText(raw["doc"], `${where}: doc`),
      docRef: raw["doc-ref"] === undefined ? undefined : [raw["doc-ref"]].flat().map(String).join("; "),
      fields,
      size: offset,
      align,
      table: loadTable(raw, where),
    };
    if (record.table) assertTableLayout(record, where);
    return record;
  }

  #field(
    specId: string,
    raw: Mapping,
    before: readonly Field[],
    offset: number | undefined,
    isTableRecord: boolean,
    where: string,
  ): Field {
    const id = asText(raw["id"], `${where}: id`);
    if (!isKsyIdentifier(id)) throw new SpecError(`${where}: "${id}" is not an identifier`);
    const place = `${where} (${id})`;
    for (const key of Object.keys(raw)) {
      if (!knownKeys.has(key)) throw new SpecError(`${place}: "${key}" is not supported`);
    }
    const type = this.#fieldType(specId, raw, before, place);
    const repeat = loadRepeat(raw, before, place);
    const enumType = raw["enum"] === undefined ? undefined : this.#enumOf(specId, asText(raw["enum"], place), place);
    if (enumType && (type.kind !== "int" || type.width > 4)) throw new SpecError(`${place}: an enum needs u1, u2, u4 or s1, s2, s4`);
    const isOptional = raw["-crimg-optional"] === true;
    const ref = raw["-crimg-ref"] === undefined ? undefined : asText(raw["-crimg-ref"], `${place}: -crimg-ref`);
    if ((isOptional || ref) && !(type.kind === "int" && type.width === 4 && !type.isSigned)) {
      throw new SpecError(`${place}: a row reference is a u4`);
    }
    const one = sizeOf(type);
    if (repeat && minSizeOf(type) === 0) throw new SpecError(`${place}: repeats something that may have no bytes`);
    const isReserved = /^reserved(_|\d|$)/.test(id);
    const many = repeat?.kind === "fixed" && one !== undefined ? one * repeat.value : undefined;
    const size: number | undefined = repeat === undefined ? one : many;
    if (isReserved && size === undefined) throw new SpecError(`${place}: a reserved field has a fixed size`);
    if ((type.kind === "str_ref" || type.kind === "blob_ref") && !isTableRecord) throw new SpecError(`${place}: ${type.kind} ` +
      `outside a table record`);
    return {
      id,
      name: camelCase(id),
      doc: optionalText(raw["doc"], `${place}: doc`).trim(),
      type,
      repeat,
      enum: enumType,
      valid: parseValid(raw["valid"], type, enumType !== undefined, place),
      ref,
      isOptional,
      flags: parseFlags(raw["-crimg-flags"], type, place),
      format: parseFormat(raw["-crimg-format"], place),
      isReserved,
      offset,
      size,
    };
  }

  #enumOf(specId: string, name: string, where: string): EnumType {
    const [spec, local] = name.includes("::") ? (name.split("::") as [string, string]) : [specId, name];
    return this.#enum(spec, local, where);
  }

  #fieldType(specId: string, raw: Mapping, before: readonly Field[], where: string): FieldType {
    if (raw["contents"] !== undefined) return { kind: "contents", bytes: loadContents(raw["contents"], where) };
    const type = raw["type"];
    if (type === undefined) return { kind: "bytes", length: loadLength(raw, before, where) };
    const name = asText(type, `${where}: type`);
    const int = /^([us])([1248])$/.exec(name);
    if (int) return { kind: "int", width: Number(int[2]) as IntType["width"], isSigned: int[1] === "s" };
    if (name === "str" || name === "strz") {
      const isTerminated = name === "strz" || raw["terminator"] === 0;
      const length = loadLength(raw, before, where);
      if (isTerminated && length.kind !== "fixed") throw new SpecError(`${where}: terminated text needs a fixed size`);
      return { kind: "str", length, isTerminated };
    }
    if (raw["size"] !== undefined) throw new SpecError(`${where}: size on a user type is not supported`);
    if (name === "str_ref" || name === "blob_ref") return { kind: name };
    const [spec, local] = name.includes("::") ? (name.split("::") as [string, string]) : [specId, name];
    return { kind: "record", record: this.#record(spec, local, where) };
  }
}

const knownKeys = new Set([
  "id", "type", "size", "size-eos", "contents", "repeat", "repeat-expr", "enum", "valid", "encoding", "terminator", "pad-right",
  "doc", "doc-ref", "-orig-id", "-crimg-ref", "-crimg-optional", "-crimg-flags", "-crimg-format",
]);

function parseYaml(file: string, text: string): unknown {
  try {
    // Aliases could blow a small text up; specs have no use for them.
    return parse(text, { maxAliasCount: 0, uniqueKeys: true });
  } catch (cause) {
    throw new SpecError(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

function loadIdentifier(value: unknown, where: string): string {
  const id = asText(value, where);
  if (!isKsyIdentifier(id)) throw new SpecError(`${where}: "${id}" is not an identifier`);
  return id;
}

function loadConstant(id: string, value: unknown, where: string): Spec["constants"][number] {
  if (!isKsyIdentifier(id)) throw new SpecError(`${where}: "${id}" is not an identifier`);
  const entry = typeof value === "number" ? { value } : asMapping(value, where);
  return { id, value: BigInt(asInteger(entry["value"], `${where}: value`)), doc: optionalText(entry["doc"], `${where}: doc`) };
}

function loadTable(raw: Mapping, where: string): RecordType["table"] {
  if (raw["-crimg-table"] === undefined) return undefined;
  const kind = asInteger(raw["-crimg-table"], `${where}: -crimg-table`);
  const name = asText(raw["-crimg-name"], `${where}: -crimg-name`);
  if (kind < 1 || kind > 0xffff || !isKsyIdentifier(name)) throw new SpecError(`${where}: bad table kind or name`);
  return { kind, name };
}
