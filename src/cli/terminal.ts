// SPDX-License-Identifier: Apache-2.0
/** What a command may write to: standard output for results, standard error for everything said beside them. */
import { fstatSync } from "node:fs";
import { isatty } from "node:tty";
import { writeAll } from "../ops/write-all.js";

export interface Terminal {
  /** Result text. Returns false once the reader has gone away (`| head`). */
  print(text: string): boolean;
  /** Errors, and what was asked for on standard error. */
  say(text: string): void;
  /** Words beside the result: progress, losses, what was done. Not with --quiet. */
  note(text: string): void;
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  /** Colour on standard output, on standard error. */
  readonly color: boolean;
  readonly errColor: boolean;
  readonly columns: number;
}

/** https://no-color.org: any non-empty NO_COLOR wins; FORCE_COLOR asks for it where there is no terminal. */
export function wantsColor(isTerminal: boolean, env: NodeJS.ProcessEnv): boolean {
  if (env["NO_COLOR"]) return false;
  if (env["FORCE_COLOR"] && env["FORCE_COLOR"] !== "0") return true;
  return isTerminal && env["TERM"] !== "dumb";
}

/** The same terminal without notes and progress. */
export function withoutNotes(terminal: Terminal): Terminal {
  return { ...terminal, errIsTerminal: false, note: () => undefined };
}

/** Major number of /dev/null and its like. */
const memoryDevices = 1;

/** Whether a descriptor is a terminal. What tells is loaded only for what may be one: it brings networking along. */
function isTerminal(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    // makedev(3): bits 8 to 19 are the lower ones of the major number.
    if (!stat.isCharacterDevice() || ((stat.rdev >> 8) & 0xfff) === memoryDevices) return false;
  } catch {
    return false;
  }
  return isatty(fd);
}

/** The terminal of this process. */
export function processTerminal(env: NodeJS.ProcessEnv = process.env): Terminal {
  const outIsTerminal = isTerminal(1);
  const errIsTerminal = isTerminal(2);
  let isOpen = true;
  const say = (text: string): void => {
    try {
      writeAll(2, Buffer.from(text, "utf8"));
    } catch {
      // Standard error may be closed; there is nobody left to tell.
    }
  };
  return {
    print(text) {
      if (isOpen) isOpen = writeAll(1, Buffer.from(text, "utf8"));
      return isOpen;
    },
    say,
    note: say,
    outIsTerminal,
    errIsTerminal,
    color: wantsColor(outIsTerminal, env),
    errColor: wantsColor(errIsTerminal, env),
    columns: (outIsTerminal ? process.stdout.columns : undefined) ?? 100,
  };
}
