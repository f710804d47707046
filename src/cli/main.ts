// SPDX-License-Identifier: Apache-2.0
/** Entry of the command line: parse, run, and say errors in one place. */
import { CrimgError, exitStatus } from "../errors/crimg-error.js";
import { toJsonText } from "../errors/json.js";
import { errorToJson, fromSystemError, renderError } from "../errors/render.js";
import { commandEntries } from "./commands.js";
import { parseCommandLine } from "./parse.js";
import { type Terminal, processTerminal, withoutNotes } from "./terminal.js";
import { crimgVersion } from "../ops/version.js";

/** `crimg exec` starts itself with this word (exec-progress.ts). */
const watchWord = "__watch-resume";

/** A bug of crimg: one line, and the trace only for those who ask. */
function sayBug(error: unknown, terminal: Terminal): void {
  const message = error instanceof Error ? error.message : String(error);
  terminal.say(`crimg: bug in crimg: ${message}\n  hint: please report it, with the output of CRIMG_DEBUG=1 added\n`);
  if (process.env["CRIMG_DEBUG"] && error instanceof Error && error.stack !== undefined) {
    terminal.say(`${error.stack.split("\n").slice(1, 9).join("\n")}\n`);
  }
}

/** Says an error and returns the exit status that goes with it. */
export function reportError(error: unknown, terminal: Terminal, asJson: boolean): number {
  const known = fromSystemError(error);
  if (!(known instanceof CrimgError)) {
    if (asJson) {
      const message = error instanceof Error ? error.message : String(error);
      terminal.print(toJsonText({ error: { code: "crimg.bug", message } }));
    }
    sayBug(error, terminal);
    return exitStatus.trouble;
  }
  if (asJson) terminal.print(toJsonText(errorToJson(known)));
  else terminal.say(renderError(known, { color: terminal.errColor }));
  return known.exit;
}

/** Whether an option's value is another than that of an option left out. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
}

/** Runs one command line (without `node` and the script) and returns its exit status. */
export async function runCommandLine(words: readonly string[]): Promise<number> {
  const terminal = processTerminal();
  const asJson = words.includes("--json");
  // What escapes a callback of Node must not end in Node's own trace either.
  process.once("uncaughtException", (error) => process.exit(reportError(error, terminal, asJson)));
  let endLog: (() => void) | undefined;
  try {
    if (asJson && words[0] === "--version") {
      const { buildInfo } = await import("../ops/build-info.js");
      terminal.print(toJsonText(buildInfo()));
      return exitStatus.ok;
    }
    if (words[0] === watchWord) return await (await import("./exec-progress.js")).runWatch(words.slice(1), terminal);
    const parsed = await parseCommandLine(words, commandEntries, crimgVersion(), terminal.columns);
    if (parsed.kind === "text") {
      terminal.print(parsed.text);
      return exitStatus.ok;
    }
    const { quiet, verbose } = parsed.args;
    if (verbose === true) {
      const { startVerbose } = await import("./verbose.js");
      const given = Object.keys(parsed.command.options).filter((name) => isGiven(parsed.args[name]));
      endLog = await startVerbose(parsed.command.name, given, terminal);
    }
    return await parsed.command.run(parsed.args, quiet === true ? withoutNotes(terminal) : terminal);
  } catch (error) {
    return reportError(error, terminal, asJson);
  } finally {
    endLog?.();
  }
}

/** Ends the process with the exit status that a command line promises. */
export function endWith(status: Promise<number>): void {
  // Nothing is left to wait for, but the command has not ended: never a success.
  process.once("beforeExit", () => {
    processTerminal().say("crimg: bug in crimg: the command waits for something that cannot come\n");
    process.exitCode = exitStatus.trouble;
  });
  // What was printed is out (terminal.ts writes at once). Ending here spares the time that V8 takes to give back its heap
  // piece by piece.
  void status.then((code) => process.exit(code));
}
