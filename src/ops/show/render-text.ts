// SPDX-License-Identifier: Apache-2.0
/** A show document as text: aligned columns, headings in bold, control characters escaped. */
import { printable } from "../../errors/render.js";
import type { Align, Block, ShowDocument } from "./document.js";

export interface TextOptions {
  readonly color: boolean;
}

function pad(text: string, width: number, align: Align | undefined): string {
  return align === "right" ? text.padStart(width) : text.padEnd(width);
}

function renderBlock(block: Block, { color }: TextOptions): string[] {
  const bold = (text: string): string => (color ? `\u001b[1m${text}\u001b[0m` : text);
  const dim = (text: string): string => (color ? `\u001b[2m${text}\u001b[0m` : text);
  const lines: string[] = [];
  if (block.heading !== undefined) lines.push(bold(printable(block.heading)));
  if (block.columns !== undefined && block.rows !== undefined) {
    const rows = block.rows.map((row) => row.map(printable));
    const widths = block.columns.map((column, index) => {
      return rows.reduce((width, row) => Math.max(width, (row[index] ?? "").length), column.title.length);
    });
    const line = (cells: readonly string[]): string => {
      return cells
        .map((cell, index) => pad(cell, widths[index] ?? 0, block.columns?.[index]?.align))
        .join("  ")
        .trimEnd();
    };
    if (block.columns.some((column) => column.title !== "")) lines.push(dim(`  ${line(block.columns.map((column) => column.title))}`));
    for (const row of rows) lines.push(`  ${line(row)}`);
  }
  for (const text of block.lines ?? []) lines.push(`  ${printable(text)}`);
  return lines;
}

/** The whole document, block after block, an empty line between them. */
export function renderText(document: ShowDocument, options: TextOptions): string {
  const blocks = document.blocks.map((block) => renderBlock(block, options).join("\n"));
  return `${blocks.filter((text) => text !== "").join("\n\n")}\n`;
}
