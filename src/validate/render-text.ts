// SPDX-License-Identifier: Apache-2.0
/** Findings for people: what, where, expected and found, a few bytes with a caret, what to do. */
import { closeSync, constants, openSync, readSync, statSync } from "node:fs";
import { printable, renderLocation } from "../errors/render.js";
import type { Finding, Severity } from "./finding.js";

export interface FindingTextOptions {
  readonly color: boolean;
  /** Bytes around the place, read from the file. Content of an image: only for the terminal of a user who may read it. */
  readonly excerpt: boolean;
}

const colors: Readonly<Record<Severity, string>> = { error: "1;31", warning: "1;33", note: "1;36" };
const bytesPerLine = 16;

/** The sixteen bytes around the place, and a caret under those that are meant. */
function excerptLines(finding: Finding, paint: (code: string, text: string) => string): string[] {
  const { source, offset, length = 1 } = finding;
  if (source === undefined || offset === undefined) return [];
  let fd: number | undefined;
  try {
    if (!statSync(source).isFile()) return [];
    fd = openSync(source, constants.O_RDONLY | constants.O_NONBLOCK);
    const start = offset - (offset % BigInt(bytesPerLine));
    const bytes = Buffer.alloc(bytesPerLine);
    const count = readSync(fd, bytes, 0, bytesPerLine, start);
    if (count === 0) return [];
    const shown = bytes.subarray(0, count);
    const address = start.toString(16).padStart(8, " ");
    const hex = [...shown].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = [...shown].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    const first = Number(offset - start);
    const marked = Math.max(1, Math.min(length, bytesPerLine - first));
    const caret = `${" ".repeat(3 * first)}${"^".repeat(3 * marked - 1)}`;
    return [
      `  ${paint("2", `${address} |`)} ${hex.padEnd(3 * bytesPerLine - 1)}  ${text}`,
      `  ${paint("2", `${" ".repeat(8)} |`)} ${paint(colors[finding.severity], caret)}`,
    ];
  } catch {
    return []; // an excerpt is a courtesy; the finding stands without it
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** One finding, two to six lines. */
export function renderFinding(finding: Finding, { color, excerpt }: FindingTextOptions): string {
  const paint = (code: string, text: string): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text);
  const lines = [`${paint(colors[finding.severity], `${finding.severity} ${finding.code}`)}: ${printable(finding.message)}`];
  const where = renderLocation(finding);
  if (where !== "") lines.push(`  ${paint("2", "-->")} ${printable(where)}`);
  if (excerpt) lines.push(...excerptLines(finding, paint));
  const sides = [
    finding.expected === undefined ? "" : `expected ${finding.expected}`,
    finding.actual === undefined ? "" : `found ${finding.actual}`,
  ].filter((side) => side !== "");
  if (sides.length > 0) lines.push(`  ${printable(sides.join(", "))}`);
  if (finding.hint !== undefined) lines.push(`  ${paint("36", "hint:")} ${printable(finding.hint)}`);
  return `${lines.join("\n")}\n`;
}
