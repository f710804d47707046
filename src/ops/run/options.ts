// SPDX-License-Identifier: Apache-2.0
/** What `crimg run` takes, and the words of its values. */
import type { FormatRegistry } from "../../adapter/registry.js";
import { CrimgError } from "../../errors/crimg-error.js";
import type { DumpOptions } from "../options.js";

/** What of the dump's options a job may choose. */
export type JobDumpOptions = Omit<
  DumpOptions,
  | "registry"
  | "pid"
  | "output"
  | "to"
  | "after"
  | "isTree"
  | "force"
  | "sync"
  | "inheritStreams"
  | "ignoresSignals"
  | "onProgress"
  | "rehearse"
  | "onUnrehearsed"
>;

export interface RunOptions {
  readonly registry: FormatRegistry;
  /** The image: resumed if it is there, else CMD is started. */
  readonly image: string;
  /** The command and its arguments; may be empty if the image is there. */
  readonly command: readonly string[];
  /** Signals that freeze the job and end it. All others are passed on. */
  readonly freezeOn: readonly NodeJS.Signals[];
  /** Time between images that are taken while the job goes on, milliseconds. */
  readonly everyMs?: number;
  /** Freeze once, at this moment of a job that has not been resumed. */
  readonly once?: Moment;
  /** Exit status once the job is frozen. */
  readonly frozenStatus: number;
  /** Run by the shell once the job is frozen. */
  readonly afterFreeze?: string;
  readonly pidMode?: PidMode;
  /** Standard output and error of a new job are appended to this file. */
  readonly outputFile?: string;
  /** Do not remove the image when the job has ended by itself. */
  readonly keep: boolean;
  /** Rehearse a new image before it replaces the last one (docs/rehearse.md), where that can be done. */
  readonly rehearse: boolean;
  readonly dump: JobDumpOptions;
  /** One line for people. */
  readonly say: (line: string) => void;
  /** One line that says what went wrong. */
  readonly warn: (line: string) => void;
}

export type PidMode = "namespace" | "same" | "any";

/** When a job freezes without being told. */
export type Moment =
  | { readonly kind: "after"; readonly ms: number }
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "output"; readonly pattern: RegExp };

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Longest time that a timer of Node takes, milliseconds. */
const longest = 0x7fff_ffff;

/** `90s`, `10m`, `1.5h` → milliseconds. Throws CrimgError `usage.duration`. */
export function parseDuration(text: string, option: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/.exec(text);
  const ms = match === null ? 0 : Math.round(Number(match[1]) * (units[match[2] ?? ""] ?? 0));
  if (ms < 1 || ms > longest) {
    throw new CrimgError("usage.duration", `${option} ${text}: not a duration`, {
      expected: "a number with ms, s, m, h or d, such as 30s or 10m; 24 days at most",
    });
  }
  return ms;
}

/** `SIGTERM,USR1` → names. Throws CrimgError `usage.signal`. */
export function parseSignals(text: string, known: readonly string[]): NodeJS.Signals[] {
  return text.split(",").map((word) => {
    const name = word.startsWith("SIG") ? word : `SIG${word}`;
    if (!known.includes(name)) {
      throw new CrimgError("usage.signal", `--on ${word}: not a signal that a job can be frozen on`, { expected: known.join(", ") });
    }
    return name as NodeJS.Signals;
  });
}
