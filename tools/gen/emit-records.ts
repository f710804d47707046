// SPDX-License-Identifier: Apache-2.0
/** src/gen/<spec>.ts: types, factories, readers and writers of a spec's records. */
import { CodecEmitter, type Modules } from "./emit-codec.js";
import { emitEnumsAndConstants, emitFlagMasks, emitRecordType, factoryName, needsNoBytes, recordTypeName } from "./emit-types.js";
import { tablesOf } from "./emit-tables.js";
import { Imports } from "./imports.js";
import type { RecordType, Spec } from "./ir.js";
import { camelCase, kebabCase } from "./names.js";
import { header, sourceOf } from "./source.js";

const tablesModule = "./tables.js";

/** Which module has what, given the specs that have tables (their types are in tables.ts). */
export function modulesOf(specs: readonly Spec[]): Modules {
  const withTables = new Set(specs.filter((spec) => tablesOf(spec).length > 0).map(({ id }) => id));
  const own = (id: string) => `./${kebabCase(id)}.js`;
  return { types: (id) => (withTables.has(id) ? tablesModule : own(id)), codecs: own };
}

/** Types, factories, readers and writers of a spec without tables. */
export function emitRecords(spec: Spec, modules: Modules): string {
  const imports = new Imports(modules.codecs(spec.id));
  const codec = new CodecEmitter(imports, modules);
  let body = emitEnumsAndConstants(spec);
  for (const record of spec.records) body += emitFlagMasks(record);
  for (const record of spec.records) {
    importParts(record, imports, modules);
    body += `\n${emitRecordType(record)}\n${codec.emit(record)}`;
  }
  const noBytes = needsNoBytes(spec.records) ? "const noBytes = new Uint8Array(0);\n" : "";
  return `${header([sourceOf(spec)])}${imports.emit()}\n${noBytes}${body}`;
}

function importParts(record: RecordType, imports: Imports, modules: Modules): void {
  for (const { type } of record.fields) {
    if (type.kind !== "record") continue;
    imports.type(modules.types(type.record.specId), recordTypeName(type.record));
    imports.value(modules.types(type.record.specId), factoryName(type.record));
  }
}

/** Readers and writers of a spec whose row types are in tables.ts. */
export function emitTableCodecs(spec: Spec, modules: Modules): string {
  const imports = new Imports(modules.codecs(spec.id));
  const codec = new CodecEmitter(imports, modules);
  const records = spec.records.filter(({ id }) => id !== "str_ref" && id !== "blob_ref");
  let body = records.map((record) => codec.emit(record)).join("\n");
  const [reader, writer] = [imports.type("../bytes/byte-reader.js", "ByteReader"), imports.type("../bytes/byte-writer.js", "ByteWriter")];
  const [heapReader, heapWriter] = [imports.type("../bytes/heaps.js", "HeapReader"), imports.type("../bytes/heaps.js", "HeapWriter")];
  const tables = imports.type(tablesModule, "Tables");
  body += `\n/** How the rows of every table are read and written. */\nexport interface RowCodec<Row> {\n`;
  body += `  readonly read: (reader: ${reader}, heaps: ${heapReader}) => Row;\n`;
  body += `  readonly write: (writer: ${writer}, row: Row, heaps: ${heapWriter}) => void;\n}\n\n`;
  body += `export const rowCodecs: { readonly [Name in keyof ${tables}]: RowCodec<${tables}[Name][number]> } = {\n`;
  for (const record of tablesOf(spec)) {
    const name = recordTypeName(record);
    body += `  ${camelCase(record.table?.name ?? "")}: { read: read${name}, write: write${name} },\n`;
  }
  body += "};\n";
  return `${header([sourceOf(spec)])}${imports.emit()}\n${body}`;
}
