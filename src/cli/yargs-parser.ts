// SPDX-License-Identifier: Apache-2.0
/** Command descriptions → yargs → checked arguments. The only file that knows yargs. */
import yargs, { type Argv, type Options, type PositionalOptions } from "yargs";
import type { Command, OptionSpec } from "./command.js";
import { type CommandEntry, optionName, type Parsed, usageError, usageOf } from "./parse.js";

function yargsOption(spec: OptionSpec, forHelp: boolean): Options {
  const isList = spec.type === "strings";
  return {
    ...(forHelp ? { describe: spec.describe } : { hidden: true }),
    // Numbers are taken as text and converted below: yargs would turn "abc" into NaN without an error.
    ...(spec.type === "boolean" ? { boolean: true } : isList ? { array: true, string: true } : { string: true }),
    ...(isList || spec.type === "boolean" || spec.valueOptional ? {} : { requiresArg: true }),
    ...(isList ? { nargs: 1 } : {}),
    ...(spec.alias === undefined ? {} : { alias: spec.alias }),
    ...(spec.choices === undefined ? {} : { choices: spec.choices }),
    ...(spec.group === undefined ? {} : { group: `${spec.group}:` }),
  };
}

/**
 * yargs lays out the help text of a command on every run of it, which takes longer than a small dump: only when help
 * is asked for does it get anything to lay out.
 */
function describeCommand(argv: Argv, command: Command, forHelp: boolean): Argv {
  let result = argv;
  for (const [name, spec] of Object.entries(command.positionals)) {
    const options: PositionalOptions = {
      ...(forHelp ? { describe: spec.suggests === undefined ? spec.describe : `${spec.describe} (${spec.suggests.join(", ")})` } : {}),
      type: "string",
      ...(spec.choices === undefined ? {} : { choices: spec.choices }),
    };
    result = result.positional(name, options);
  }
  for (const [key, spec] of Object.entries(command.options)) result = result.option(optionName(key), yargsOption(spec, forHelp));
  if (!forHelp) return result;
  for (const example of command.examples) result = result.example(example.command, example.text);
  if (command.notes !== undefined) result = result.epilogue(command.notes.join("\n\n"));
  return result;
}

/** yargs turns the positional `-` into an empty text, which nobody can mean otherwise. */
function pathText(value: unknown): string {
  return value === "" ? "-" : String(value);
}

/** Node-style own names only; yargs adds aliases and kebab forms. */
function pick(command: Command, parsed: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const args: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(command.positionals)) {
    const value = parsed[name];
    args[name] = spec.many ? (Array.isArray(value) ? value.map(pathText) : []) : value === undefined ? undefined : pathText(value);
  }
  for (const [key, spec] of Object.entries(command.options)) {
    const value = parsed[optionName(key)];
    if (spec.type === "boolean") args[key] = value === true;
    else if (spec.type === "strings") args[key] = Array.isArray(value) ? value.map(String) : [];
    else {
      // Given twice, the last one counts.
      const last: unknown = Array.isArray(value) ? value[value.length - 1] : value;
      if (last === undefined) args[key] = undefined;
      else if (spec.type === "number") args[key] = wholeNumber(`--${optionName(key)}`, String(last), command.name);
      else args[key] = String(last);
    }
  }
  return args;
}

/**
 * An option whose value may be left out (`--manage-cgroups`, `--manage-cgroups=MODE`) must not swallow the next word,
 * which is what yargs would let it do.
 */
function ownValues(words: readonly string[], command: Command | undefined): string[] {
  const bare = Object.entries(command?.options ?? {}).flatMap(([key, spec]) => (spec.valueOptional ? [`--${optionName(key)}`] : []));
  return words.map((word) => (bare.includes(word) ? `${word}=` : word));
}

function wholeNumber(what: string, text: string, command: string): number {
  if (!/^\d{1,15}$/.test(text)) throw usageError(`${what} takes a whole number, not "${text}"`, command);
  return Number(text);
}

/** Parses a command line; `command` is the one that it names. */
export async function parseByYargs(
  words: readonly string[],
  command: Command | undefined,
  entries: readonly CommandEntry[],
  version: string,
  columns: number,
): Promise<Parsed> {
  // What comes behind -- is another program's, its --help included.
  const end = command?.rest === undefined ? -1 : words.indexOf("--");
  const own = end < 0 ? words : words.slice(0, end);
  const forHelp = own.includes("--help") || own.includes("-h");
  let chosen: Readonly<Record<string, unknown>> | undefined;
  let text = "";
  let parser = yargs([])
    .scriptName("crimg")
    .locale("en")
    .version(version)
    .help()
    .alias("help", "h")
    .strict()
    .exitProcess(false)
    .parserConfiguration({ "boolean-negation": false, "parse-positional-numbers": false, "parse-numbers": false })
    .wrap(Math.min(columns, 110))
    .fail((message: string | undefined, error: Error | undefined) => {
      if (error !== undefined && !(message !== undefined && error.name === "YError")) throw error;
      throw usageError((message ?? "bad usage").replace(/\s+/g, " "), command?.name);
    });
  if (command === undefined) {
    parser = parser
      .usage("crimg: freeze a running Linux process tree into one ELF file, and resume it by executing that file")
      .demandCommand(1, "no command is given: crimg COMMAND")
      .epilogue(
        "crimg COMMAND --help describes a command. Exit statuses: 0 success; 1 findings; 2 failure; 3 loss refused; 4 dump refused; " +
          "125 not resumed.",
      );
    for (const one of entries) parser = parser.command(one.name, one.describe);
  } else {
    parser = parser.command(
      forHelp ? usageOf(command) : usageOf({ ...command, rest: undefined }),
      command.describe,
      (argv) => describeCommand(argv, command, forHelp),
      (args) => {
        chosen = args;
      },
    );
  }
  await parser.parseAsync(ownValues(own, command), {}, (_error, _argv, output) => {
    text = output;
  });
  if (command !== undefined && chosen !== undefined) {
    const rest = command.rest === undefined ? {} : { [command.rest.name]: end < 0 ? [] : words.slice(end + 1) };
    return { kind: "run", command, args: { ...pick(command, chosen), ...rest } };
  }
  if (text !== "") return { kind: "text", text: `${text}\n` };
  throw usageError("no command is given: crimg COMMAND");
}
