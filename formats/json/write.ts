// SPDX-License-Identifier: Apache-2.0
/** Model → document, one row a line; pages beside it, or inline. */
import { basename } from "node:path";
import type { WriteOptions } from "../../src/adapter/format.js";
import type { Output } from "../../src/adapter/output.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { tableSpecs, type ExtentRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { PageCopies, type PlacedRange } from "../../src/pages/page-copies.js";
import { MappedFiles } from "../../src/pages/mapped-files.js";
import { MemoryView } from "../../src/pages/memory-view.js";
import { documentFormat, documentSchema, documentVersion, maxInlineBytes, pagesSuffix } from "./document.js";
import { readProcessStrings } from "./process-strings.js";
import { encodeRow } from "./row-codec.js";
import { TextOutput } from "./text-output.js";

/** Writes the document and its pages. Throws CrimgError `json.*`. */
export async function writeDocument(checkpoint: Checkpoint, output: Output, options: WriteOptions): Promise<void> {
  const { extents } = checkpoint.tables;
  const total = extents.reduce((sum, { length }) => sum + length, 0n);
  const beside = options.extra?.["inline-pages"] === true ? undefined : output.beside?.(pagesSuffix);
  if (!beside && total > maxInlineBytes) {
    throw new CrimgError("json.inline", `the pages have ${total} bytes; at most ${maxInlineBytes} can be inline`, {
      format: "json",
      hint: "write to a file, without --inline-pages: the pages then go beside it",
    });
  }
  const text = new TextOutput(output.file().fd);
  text.write(`{\n"$schema": ${JSON.stringify(documentSchema)},\n"format": ${JSON.stringify(documentFormat)},\n`);
  text.write(`"version": ${JSON.stringify(documentVersion)},\n`);
  writeProcesses(text, checkpoint);
  if (checkpoint.unknownTables.length > 0) {
    const tables = checkpoint.unknownTables.map(({ kind, rowLength, bytes }) => ({
      kind,
      row_length: rowLength,
      bytes: Buffer.from(bytes).toString("base64"),
    }));
    text.write(`"unknown_tables": ${JSON.stringify(tables)},\n`);
  }
  if (beside) text.write(`"pages": ${JSON.stringify({ file: basename(beside.path) })},\n`);
  else writeInlinePages(text, checkpoint);
  // Inline bytes need no position; beside, the extents stand one behind the other.
  let position = 0n;
  const placed = (row: ExtentRow): ExtentRow => {
    const fileOffset = beside ? position : 0n;
    position += row.length;
    return { ...row, source: 0, fileOffset };
  };
  text.write(`"tables": {`);
  let isFirst = true;
  for (const spec of tableSpecs) {
    const rows = checkpoint.tables[spec.table];
    if (rows.length === 0) continue;
    text.write(`${isFirst ? "" : ","}\n${JSON.stringify(spec.tableId)}: [`);
    isFirst = false;
    for (const [index, row] of rows.entries()) {
      const shown = spec.table === "extents" ? placed(row as ExtentRow) : row;
      text.write(`${index === 0 ? "" : ","}\n ${JSON.stringify(encodeRow(spec, shown as unknown as Readonly<Record<string, unknown>>))}`);
    }
    text.write("\n]");
  }
  text.write("\n}\n}\n");
  text.flush();
  if (!beside) return;
  const copies = new PageCopies(options.onProgress);
  copies.expect(total);
  await copies.copy(beside.fd, placedRanges(checkpoint));
}

function writeProcesses(text: TextOutput, checkpoint: Checkpoint): void {
  const { tables } = checkpoint;
  const files = new MappedFiles(tables);
  const lines: string[] = [];
  for (const [task, { pid, mm }] of tables.tasks.entries()) {
    const row = mm === null ? undefined : tables.mms[mm];
    if (!row || mm === null) continue;
    const strings = readProcessStrings(row, new MemoryView(checkpoint, mm, files));
    lines.push(` ${JSON.stringify({ task, pid, ...strings }, undefined, 1).replaceAll("\n", "\n ")}`);
  }
  files.close();
  text.write(`"processes": [\n${lines.join(",\n")}\n],\n`);
}

function writeInlinePages(text: TextOutput, { tables, sources }: Checkpoint): void {
  text.write(`"pages": {"extents": [`);
  for (const [index, { source, length, fileOffset }] of tables.extents.entries()) {
    const bytes = Buffer.alloc(Number(length));
    sources[source]?.read(fileOffset, bytes);
    text.write(`${index === 0 ? "" : ","}\n "`);
    text.write(bytes.toString("base64"));
    text.write(`"`);
  }
  text.write(`\n]},\n`);
}

/** Pages in the order of the extents, without gaps. */
function* placedRanges({ tables, sources }: Checkpoint): Generator<PlacedRange> {
  let target = 0n;
  for (const { source, length, fileOffset } of tables.extents) {
    const pages = sources[source];
    if (pages) yield { source: pages, position: fileOffset, length, target };
    target += length;
  }
}
