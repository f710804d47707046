// SPDX-License-Identifier: Apache-2.0
/** Document → model. */
import { basename, dirname, join } from "node:path";
import type { ReadOptions } from "../../src/adapter/format.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { emptyTables, tableSpecs, type ExtentRow, type MutableTables } from "../../src/gen/tables.js";
import { Checkpoint, type UnknownTable } from "../../src/model/checkpoint.js";
import type { PageSource } from "../../src/model/page-source.js";
import { assertReferences } from "../../src/model/references.js";
import { BufferPageSource } from "../../src/pages/buffer-source.js";
import { FilePageSource } from "../../src/pages/file-source.js";
import { applyStrings } from "./edit-strings.js";
import { maxDocumentBytes } from "./document.js";
import type { ProcessStrings } from "./process-strings.js";
import { decodeBlob, decodeRow, type JsonValue } from "./row-codec.js";
import { assertDocument } from "./schema.js";
import { findSyntaxError } from "./syntax.js";

/** What the schema has accepted. */
interface Document {
  readonly version: readonly [number, number];
  readonly processes?: readonly (ProcessStrings & { readonly task: number })[];
  readonly tables: Readonly<Record<string, readonly { readonly [key: string]: JsonValue }[]>>;
  readonly unknown_tables?: readonly { readonly kind: number; readonly row_length: number; readonly bytes: string }[];
  readonly pages?: { readonly file: string } | { readonly extents: readonly string[] };
}

/** Reads a document. Throws CrimgError `json.*`, `model.reference`. */
export function readDocument(path: string, _options: ReadOptions): Checkpoint {
  const document = parseDocument(path);
  const tables = emptyTables();
  for (const spec of tableSpecs) {
    const rows = document.tables[spec.tableId] ?? [];
    (tables[spec.table] as unknown[]).push(...rows.map((row, index) => decodeRow(spec, row, `tables.${spec.tableId}[${index}]`)));
  }
  if (tables.checkpoint.length !== 1) {
    throw new CrimgError("json.checkpoint", `tables.checkpoint must have one row, found ${tables.checkpoint.length}`, {
      source: path,
      format: "json",
      path: "tables.checkpoint",
    });
  }
  assertReferences(tables, { source: path, format: "json" });
  const source = placePages(document, tables, path);
  try {
    const unknownTables = (document.unknown_tables ?? []).map(
      (table, index): UnknownTable => ({
        kind: table.kind,
        rowLength: table.row_length,
        bytes: decodeBlob(table.bytes, `unknown_tables[${index}].bytes`),
      }),
    );
    return applyStrings(new Checkpoint({ tables, sources: [source], unknownTables }), document.processes ?? [], path);
  } catch (error) {
    source.close();
    throw error;
  }
}

function parseDocument(path: string): Document {
  const file = FileBytes.open(path);
  let text: string;
  try {
    if (file.size > maxDocumentBytes) {
      throw new CrimgError("json.large", `the document has ${file.size} bytes; at most ${maxDocumentBytes} are read`, {
        source: path,
        format: "json",
        hint: "keep the pages in a file beside it",
      });
    }
    text = new TextDecoder("utf-8").decode(file.read(0n, Number(file.size)));
  } finally {
    file.close();
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw syntaxError(cause, text, path);
  }
  assertDocument(document, path);
  return document as Document;
}

function syntaxError(cause: unknown, text: string, path: string): CrimgError {
  const at = findSyntaxError(text);
  const before = text.slice(0, at);
  const line = before.split("\n").length;
  const found = at >= text.length ? "the end of the document" : JSON.stringify(text.slice(at, at + 1));
  return new CrimgError("json.syntax", `line ${line}, column ${at - before.lastIndexOf("\n")} is not JSON: found ${found}`, {
    source: path,
    format: "json",
    offset: BigInt(Buffer.byteLength(before)),
    cause,
  });
}

/** The source of the extents; inline bytes become one buffer. */
function placePages({ pages }: Document, tables: MutableTables, path: string): PageSource {
  const refuse = (message: string, place: string, hint?: string) =>
    new CrimgError("json.pages", message, { source: path, format: "json", path: place, hint });
  if (pages && "extents" in pages) {
    if (pages.extents.length !== tables.extents.length) {
      throw refuse(
        `pages.extents must have one entry a row of tables.extents (${tables.extents.length}), found ${pages.extents.length}`,
        "pages.extents",
      );
    }
    const pieces = pages.extents.map((text, index) => decodeBlob(text, `pages.extents[${index}]`));
    let position = 0n;
    tables.extents = tables.extents.map((row, index): ExtentRow => {
      const length = BigInt(pieces[index]?.length ?? 0);
      if (length !== row.length)
        throw refuse(`pages.extents[${index}] must have ${row.length} bytes, found ${length}`, `pages.extents[${index}]`);
      position += length;
      return { ...row, source: 0, fileOffset: position - length };
    });
    return new BufferPageSource(path, Buffer.concat(pieces));
  }
  if (!pages) {
    if (tables.extents.length > 0) throw refuse("there are extents, but no pages", "pages");
    return new BufferPageSource(path, new Uint8Array(0));
  }
  const file = join(dirname(path), basename(pages.file));
  let source: FilePageSource;
  try {
    source = FilePageSource.open(file);
  } catch (cause) {
    throw new CrimgError("json.pages", `the file with the pages, ${file}, cannot be opened`, {
      source: path,
      format: "json",
      path: "pages.file",
      cause,
      hint: "keep it in the folder of the document; if it was renamed, correct pages.file",
    });
  }
  const { size } = source;
  for (const [index, { fileOffset, length }] of tables.extents.entries()) {
    if (fileOffset + length <= size) continue;
    source.close();
    throw refuse(`tables.extents[${index}] lies behind the end of ${file} (${size} bytes)`, `tables.extents[${index}].file_offset`);
  }
  tables.extents = tables.extents.map((row) => ({ ...row, source: 0 }));
  return source;
}
