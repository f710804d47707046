// SPDX-License-Identifier: Apache-2.0
/** `OLD=NEW` of the command line. */
import { CrimgError } from "../../errors/crimg-error.js";

/** Both sides; neither may be empty. `option` such as `--tcp-map`. @throws CrimgError `usage.change` */
export function pairOf(option: string, text: string, expected: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at <= 0 || at === text.length - 1) throw badChange(option, text, "there is no OLD=NEW in it", expected);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** An option whose value says nothing that can be done. */
export function badChange(option: string, text: string, why: string, expected?: string, hint?: string): CrimgError {
  return new CrimgError("usage.change", `${option} ${text}: ${why}`, {
    ...(expected === undefined ? {} : { expected }),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Some of many names, for messages. */
export function some(names: readonly string[]): string {
  const unique = [...new Set(names)];
  return unique.slice(0, 8).join(", ") + (unique.length > 8 ? ` and ${unique.length - 8} more` : "");
}

export interface InheritedFd {
  /** Descriptor of the caller. */
  readonly own: number;
  /** Process of the tree; undefined: the first. */
  readonly pid: number | undefined;
  readonly fd: number;
}

/** `N:FD` or `N:PID:FD`. @throws CrimgError `usage.change` */
export function inheritedNumbers(text: string): InheritedFd {
  const [, own, pid, fd] = /^(\d{1,9}):(?:(\d{1,10}):)?(\d{1,9})$/.exec(text) ?? [];
  if (own === undefined || fd === undefined) {
    const expected = "N:FD or N:PID:FD, where N is a descriptor of the caller, and FD one of the program (of its first process, or of PID)";
    throw badChange("--inherit-fd", text, "it names no descriptors", expected);
  }
  return { own: Number(own), pid: pid === undefined ? undefined : Number(pid), fd: Number(fd) };
}
