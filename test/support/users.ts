// SPDX-License-Identifier: Apache-2.0
/** Who runs a program in tests: whoever runs the tests, and if that is root, an ordinary user without any privilege too. */
import { spawnSync } from "node:child_process";
import { chmodSync, chownSync } from "node:fs";
import { crimgCommand } from "./project.js";

const nobody = 65534;
const isRoot = process.getuid?.() === 0;

export interface User {
  /** Ends the name of a test. */
  readonly name: string;
  readonly isPrivileged: boolean;
  /** Goes before a command line to run it as that user. */
  readonly words: readonly [string, ...string[]];
  /** Why it cannot be done here, or false. */
  readonly skip: string | false;
  /** Gives a directory to the user. */
  own(directory: string): void;
}

const ordinaryWords = [
  "setpriv",
  `--reuid=${nobody}`,
  `--regid=${nobody}`,
  "--clear-groups",
  "--inh-caps=-all",
  "--bounding-set=-all",
] as const;

/** Whether that user can run something. */
const can = (...command: string[]): boolean => spawnSync(ordinaryWords[0], [...ordinaryWords.slice(1), ...command]).status === 0;

function whyNot(): string | false {
  if (!can("test", "-x", crimgCommand)) return "the checkout is not readable for an ordinary user";
  return can("unshare", "--user", "--pid", "--fork", "true") ? false : "no unprivileged user namespaces here";
}

const self: User = {
  name: isRoot ? "as root" : "as an ordinary user",
  isPrivileged: isRoot,
  words: ["env"],
  skip: false,
  own: () => undefined,
};

const ordinary = (): User => ({
  name: "as an ordinary user",
  isPrivileged: false,
  words: ordinaryWords,
  skip: whyNot(),
  own(directory) {
    chmodSync(directory, 0o755);
    chownSync(directory, nobody, nobody);
  },
});

export const users: readonly User[] = isRoot ? [self, ordinary()] : [self];
