// SPDX-License-Identifier: Apache-2.0
/**
 * Command lines that can be meant in one way only: known options, each with its value, and the positionals. What is anything
 * else is not judged here: it is for yargs to understand or to refuse.
 */
import type { Command, OptionSpec } from "./command.js";
import { optionName } from "./parse.js";

/** What a parser may take for something else: an option, nothing, or a text in quotation marks. */
const ambiguous = /^(-|$|["'])/;

function isPlain(value: string | undefined, choices: readonly string[] | undefined): value is string {
  return value !== undefined && !ambiguous.test(value) && (choices === undefined || choices.includes(value));
}

/** The value as the command takes it; undefined if it is none. */
function optionValue(spec: OptionSpec, text: string): unknown {
  if (spec.type !== "number") return text;
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Name and value of an option: `--name=value`, `--name`, `-n`. */
function cut(word: string): { readonly name: string; readonly own: string | undefined } {
  const at = word.startsWith("--") ? word.indexOf("=") : -1;
  return at < 0 ? { name: word, own: undefined } : { name: word.slice(0, at), own: word.slice(at + 1) };
}

/** The arguments of a command; undefined where the words are not plain. `words`: those behind its name. */
export function parsePlainWords(command: Command, words: readonly string[]): Readonly<Record<string, unknown>> | undefined {
  if (command.rest !== undefined) return undefined;
  const options = new Map<string, readonly [string, OptionSpec]>();
  for (const entry of Object.entries(command.options)) {
    options.set(`--${optionName(entry[0])}`, entry);
    if (entry[1].alias !== undefined) options.set(`-${entry[1].alias}`, entry);
  }
  const args: Record<string, unknown> = {};
  const positionals: string[] = [];
  for (let index = 0; index < words.length; index++) {
    const word = words[index] as string;
    if (!word.startsWith("-")) {
      if (!isPlain(word, undefined)) return undefined;
      positionals.push(word);
      continue;
    }
    const { name, own } = cut(word);
    const [key, spec] = options.get(name) ?? [];
    if (key === undefined || spec === undefined || spec.valueOptional === true) return undefined;
    if (spec.type === "boolean") {
      if (own !== undefined || key in args) return undefined;
      args[key] = true;
      continue;
    }
    const text = own ?? words[++index];
    const value = isPlain(text, spec.choices) ? optionValue(spec, text) : undefined;
    if (value === undefined || (key in args && spec.type !== "strings")) return undefined;
    args[key] = spec.type === "strings" ? [...((args[key] as string[] | undefined) ?? []), value] : value;
  }
  for (const [key, { type }] of Object.entries(command.options))
    args[key] ??= type === "boolean" ? false : type === "strings" ? [] : undefined;
  return withPositionals(command, positionals, args) ? args : undefined;
}

/** Adds the positionals. Returns whether there are as many as the command takes. */
function withPositionals(command: Command, words: readonly string[], args: Record<string, unknown>): boolean {
  let next = 0;
  for (const [name, spec] of Object.entries(command.positionals)) {
    if (spec.many) {
      args[name] = words.slice(next);
      if (next >= words.length && spec.optional !== true) return false;
      next = words.length;
      continue;
    }
    const word = words[next];
    if (word === undefined && spec.optional !== true) return false;
    if (word !== undefined && spec.choices !== undefined && !spec.choices.includes(word)) return false;
    args[name] = word;
    if (word !== undefined) next++;
  }
  return next === words.length;
}
