// SPDX-License-Identifier: Apache-2.0
/** Renders errors and places as text or JSON. */
import { CrimgError, type Location } from "./crimg-error.js";
import { type JsonValue, toJsonValue } from "./json.js";

/** How much may be said, and how. */
export interface RenderOptions {
  readonly color: boolean;
}

const paint = (code: string, text: string, color: boolean): string => (color ? `\u001b[${code}m${text}\u001b[0m` : text);

/** Control characters of names in images must not reach a terminal: they are shown escaped. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** `image.elf at 0x1040, tasks[0].pgid`, or an empty string. */
export function renderLocation(place: Location): string {
  const parts: string[] = [];
  if (place.source !== undefined) parts.push(place.source);
  if (place.offset !== undefined) parts.push(`at 0x${place.offset.toString(16)}`);
  const where = parts.join(" ");
  return [where, place.path].filter((part) => part !== undefined && part !== "").join(", ");
}

/** Two to four lines: what happened, where, expected and found, what to do. */
export function renderError(error: CrimgError, options: RenderOptions): string {
  const lines = [`${paint("1;31", "crimg:", options.color)} ${printable(error.message)}`];
  const where = renderLocation(error);
  // Many messages name the file themselves; the place is said only if it adds something.
  if (where !== "" && !(error.offset === undefined && error.path === undefined && error.message.includes(where))) {
    lines.push(`  where: ${printable(where)}`);
  }
  if (error.expected !== undefined || error.actual !== undefined) {
    const sides = [
      error.expected === undefined ? "" : `expected ${error.expected}`,
      error.actual === undefined ? "" : `found ${error.actual}`,
    ];
    lines.push(`  ${printable(sides.filter((side) => side !== "").join(", "))}`);
  }
  for (const part of error.parts ?? []) {
    lines.push(`  - ${printable(part.message)}`);
    if (part.hint !== undefined) lines.push(`    ${paint("36", "hint:", options.color)} ${printable(part.hint)}`);
  }
  if (error.hint !== undefined) lines.push(`  ${paint("36", "hint:", options.color)} ${printable(error.hint)}`);
  return `${lines.join("\n")}\n`;
}

/**
 * The same as data: `{"error": {code, message, source, offset, path, format, expected, actual, hint, specRef, ignore}}`;
 * for several errors of one run with `parts`, an array of the same.
 */
export function errorToJson(error: CrimgError): JsonValue {
  return toJsonValue({ error: membersOf(error) });
}

function membersOf(error: CrimgError): Readonly<Record<string, unknown>> {
  const { code, message, source, offset, path, format, expected, actual, hint, specRef, ignore, parts } = error;
  const members = { code, message, source, offset, path, format, expected, actual, hint, specRef, ignore };
  return parts === undefined ? members : { ...members, parts: parts.map(membersOf) };
}

const systemWords: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "it is a directory",
  ENOTDIR: "it is not a directory",
  ENOSPC: "no space left on the device",
  EMFILE: "too many open files",
  EROFS: "the filesystem is read-only",
  EEXIST: "it exists already",
  EIO: "input/output error",
  EDQUOT: "the disk quota is used up",
  EFBIG: "the file would be too large",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "the name is too long",
};

/** An error of Node's fs calls in words, as a CrimgError; anything else is returned as it is. */
export function fromSystemError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CrimgError) return error;
  const { code, path, syscall } = error as NodeJS.ErrnoException;
  const words = code === undefined ? undefined : systemWords[code];
  if (code === undefined || words === undefined || syscall === undefined) return error;
  const name = path ?? "";
  return new CrimgError(`system.${code.toLowerCase()}`, `cannot ${syscall} ${name === "" ? "a file" : name}: ${words}`, {
    ...(name === "" ? {} : { source: name }),
    cause: error,
  });
}
