// SPDX-License-Identifier: Apache-2.0
/**
 * Command lines → checked arguments. What is simple is parsed by itself (plain-words.ts); yargs, which takes longer to load than
 * a small dump takes, does the rest: help, errors, and whatever may be said in more than one way.
 */
import { CrimgError } from "../errors/crimg-error.js";
import type { Command } from "./command.js";
import { parsePlainWords } from "./plain-words.js";

export interface CommandEntry {
  readonly name: string;
  readonly describe: string;
  load(): Promise<Command>;
}

export type Parsed =
  | { readonly kind: "run"; readonly command: Command; readonly args: Readonly<Record<string, unknown>> }
  | { readonly kind: "text"; readonly text: string };

/** `dump <pid>`: the positionals in yargs's notation. */
export function usageOf(command: Command): string {
  const words = Object.entries(command.positionals).map(([name, spec]) => {
    const word = spec.many ? `${name}..` : name;
    return spec.optional ? `[${word}]` : `<${word}>`;
  });
  if (command.rest !== undefined) words.push("--", `<${command.rest.name}..>`);
  return [command.name, ...words].join(" ");
}

/** camelCase → --kebab-case. */
export function optionName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

export function usageError(message: string, command?: string): CrimgError {
  return new CrimgError("usage.bad", message, {
    hint: command === undefined ? "crimg --help lists the commands" : `crimg ${command} --help shows the options`,
  });
}

/** Parses a command line. Only the module of the command named is loaded. */
export async function parseCommandLine(
  words: readonly string[],
  entries: readonly CommandEntry[],
  version: string,
  columns: number,
): Promise<Parsed> {
  const first = words[0];
  const entry = entries.find((one) => one.name === first);
  if (entry === undefined && first !== undefined && !first.startsWith("-")) {
    throw usageError(`there is no command "${first}"`);
  }
  const command = entry === undefined ? undefined : await entry.load();
  const args = command === undefined ? undefined : parsePlainWords(command, words.slice(1));
  if (command !== undefined && args !== undefined) return { kind: "run", command, args };
  const { parseByYargs } = await import("./yargs-parser.js");
  return parseByYargs(words, command, entries, version, columns);
}
