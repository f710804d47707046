// SPDX-License-Identifier: Apache-2.0
/**
 * A command is data: what it is called, what it takes, examples, and what it does. The parser, `--help`, the
 * completion scripts and docs/cli.md are all made from this description, so that they cannot drift apart.
 */
import type { Terminal } from "./terminal.js";

/** How an option's value is given. `strings` may be repeated. */
export type OptionType = "boolean" | "string" | "number" | "strings";

export interface OptionSpec {
  readonly type: OptionType;
  readonly describe: string;
  readonly alias?: string;
  /** Name of the value in help, such as `FILE`. */
  readonly value?: string;
  /** The value may be left out; it must then be given as `--option=VALUE`. */
  readonly valueOptional?: boolean;
  readonly choices?: readonly string[];
  /** Heading in help. */
  readonly group?: string;
  /** Completed by file names. */
  readonly isFile?: boolean;
}

export interface PositionalSpec {
  readonly describe: string;
  /** May be left out. */
  readonly optional?: boolean;
  /** Takes all that is left. */
  readonly many?: boolean;
  readonly choices?: readonly string[];
  /** Words that are completed and listed in help; others are taken too. */
  readonly suggests?: readonly string[];
  /** Completed by file names. */
  readonly isFile?: boolean;
}

type OptionValue<S extends OptionSpec> = S["type"] extends "boolean"
  ? boolean
  : S["type"] extends "number"
    ? number | undefined
    : S["type"] extends "strings"
      ? readonly string[]
      : string | undefined;
type PositionalValue<S extends PositionalSpec> = S["many"] extends true
  ? readonly string[]
  : S["optional"] extends true
    ? string | undefined
    : string;

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;
export type PositionalSpecs = Readonly<Record<string, PositionalSpec>>;
/** The words behind `--`, taken as they are. */
export interface RestSpec {
  readonly name: string;
  readonly describe: string;
}

export type ArgsOf<P extends PositionalSpecs, O extends OptionSpecs, R extends RestSpec = never> = {
  readonly [K in keyof P]: PositionalValue<P[K]>;
} & { readonly [K in keyof O]: OptionValue<O[K]> } & { readonly [K in R["name"]]: readonly string[] };

export interface Example {
  readonly command: string;
  readonly text: string;
}

export interface CommandSpec<P extends PositionalSpecs, O extends OptionSpecs, R extends RestSpec = never> {
  readonly name: string;
  /** One sentence for the list of commands. */
  readonly describe: string;
  /** Paragraphs below the options in `crimg NAME --help`. */
  readonly notes?: readonly string[];
  /** In order. */
  readonly positionals: P;
  readonly rest?: R;
  readonly options: O;
  readonly examples: readonly Example[];
  /** Returns the exit status. Throws CrimgError for what users can cause. */
  run(args: ArgsOf<P, O, R>, terminal: Terminal): Promise<number>;
}

/** A command with its argument types forgotten: what the parser handles. */
export interface Command {
  readonly name: string;
  readonly describe: string;
  readonly notes?: readonly string[];
  readonly positionals: PositionalSpecs;
  readonly rest?: RestSpec;
  readonly options: OptionSpecs;
  readonly examples: readonly Example[];
  /** `args` has been checked against the specs by the parser. */
  run(args: Readonly<Record<string, unknown>>, terminal: Terminal): Promise<number>;
}

/** Options of every command; src/cli/main.ts acts on them. */
export const commonOptionSpecs = {
  quiet: { type: "boolean", alias: "q", group: "Every command", describe: "Print results and errors only: no progress, notes or losses" },
  verbose: { type: "boolean", alias: "v", group: "Every command", describe: "Print each step to standard error, for a bug report" },
} as const satisfies OptionSpecs;

/** The common options; a letter that the command itself uses stays the command's. */
function commonOptionsBeside(own: OptionSpecs): OptionSpecs {
  const letters = new Set(Object.values(own).map(({ alias }) => alias));
  return Object.fromEntries(
    Object.entries(commonOptionSpecs).map(([name, { alias, ...spec }]) => [name, letters.has(alias) ? spec : { alias, ...spec }]),
  );
}

/** Declares a command; the types of `run`'s arguments follow from the specs. */
export function defineCommand<const P extends PositionalSpecs, const O extends OptionSpecs, const R extends RestSpec = never>(
  spec: CommandSpec<P, O, R>,
): Command {
  return {
    ...spec,
    options: { ...spec.options, ...commonOptionsBeside(spec.options) },
    run: (args, terminal) => spec.run(args as ArgsOf<P, O, R>, terminal),
  };
}
