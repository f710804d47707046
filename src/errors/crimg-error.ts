// SPDX-License-Identifier: Apache-2.0
/**
 * The one error class for what users can cause or meet. Everything else that is thrown is a bug of crimg.
 * `message` is one sentence, "expected versus found"; `hint` is an action.
 */

/** Where something is: shared by errors, findings and losses. */
export interface Location {
  /** File name, or "process 4711". */
  readonly source?: string;
  /** Absolute byte offset of the failing record or field. */
  readonly offset?: bigint;
  /** Path in structure, such as `tasks[0].pgid` or `program_headers[3].p_filesz`. */
  readonly path?: string;
  /** Format id, such as `ckpt-elf`. */
  readonly format?: string;
}

/** What an error says beside its message. */
export interface CrimgErrorFields extends Location {
  /** What the spec allows there. */
  readonly expected?: string;
  /** What was found. */
  readonly actual?: string;
  /** What to do next. */
  readonly hint?: string;
  /** Section of SPEC.md or of the kernel's documentation. */
  readonly specRef?: string;
  /** The error that led to this one. */
  readonly cause?: unknown;
  /** The class that `--ignore` takes to leave this out. */
  readonly ignore?: string;
  /** Several errors found in one run, each with its own code, words and way on. */
  readonly parts?: readonly CrimgError[];
}

/** Exit statuses of the command line (documented in docs/exit-status.md). */
export const exitStatus = {
  /** Done. */
  ok: 0,
  /** Findings (validate), differences, a refused input. */
  findings: 1,
  /** Could not judge or do: bad usage, unreadable input. */
  trouble: 2,
  /** --strict and something would be lost. */
  loss: 3,
  /** The target cannot be dumped; it runs on unharmed. */
  refused: 4,
  /** The tree could not be resumed; nothing of it is left running. */
  restoreFailed: 125,
  /** crimg run: the command is there but cannot be executed. */
  notExecutable: 126,
  /** crimg run: there is no such command. */
  notFound: 127,
  /** Ended by Ctrl-C (SIGINT); nothing is left behind. */
  interrupted: 130,
  /** Ended by SIGTERM; nothing is left behind. */
  terminated: 143,
} as const;

/** One of the exit statuses of the command line (docs/exit-status.md). */
export type ExitStatus = (typeof exitStatus)[keyof typeof exitStatus];

/** An error with a stable code, a place and a way on. */
export class CrimgError extends Error implements CrimgErrorFields {
  /** Always `CrimgError`. */
  override readonly name = "CrimgError";
  readonly source?: string;
  readonly offset?: bigint;
  readonly path?: string;
  readonly format?: string;
  readonly expected?: string;
  readonly actual?: string;
  readonly hint?: string;
  readonly specRef?: string;
  readonly ignore?: string;
  readonly parts?: readonly CrimgError[];

  constructor(
    /** Stable, never reused: `area.what`, such as `dump.traced`. */
    readonly code: string,
    message: string,
    fields: CrimgErrorFields = {},
    /** Exit status of the command line when this ends it. */
    readonly exit: ExitStatus = exitStatus.trouble,
  ) {
    super(message, { cause: fields.cause });
    this.source = fields.source;
    this.offset = fields.offset;
    this.path = fields.path;
    this.format = fields.format;
    this.expected = fields.expected;
    this.actual = fields.actual;
    this.hint = fields.hint;
    this.specRef = fields.specRef;
    this.ignore = fields.ignore;
    this.parts = fields.parts;
  }
}
