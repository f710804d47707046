// SPDX-License-Identifier: Apache-2.0
/**
 * Probes: small programs that hold a state of the kernel and tell it from inside. A family is one C program (probe.h
 * says how it is written) and a list of what becomes of each of its states; `families.ts` lists the families. The test
 * e2e/limits.test.ts dumps and resumes each, twice, and `npm run limits` writes docs/limits.md from the same lists.
 */

/** What becomes of a state. */
export type Expectation =
  /** It is there after the resume, and after another dump and resume. */
  | "kept"
  /** The dump is refused with these words in its message; the program goes on. `ignore`: the class that leaves it out. */
  | { readonly refused: RegExp; readonly ignore?: string }
  /** It is not as it was: why. `told`: words that the dump says of it; absent if nobody can see the state. */
  | { readonly cannot: string; readonly told?: RegExp };

export interface Probe {
  /** The name that the program knows it by. */
  readonly name: string;
  /** For docs/limits.md, such as "MDWE (PR_SET_MDWE)". */
  readonly state: string;
  readonly is: Expectation;
  /** It would change others in the same process. */
  readonly isAlone?: true;
}

export interface Family {
  /** test/probes/PROGRAM.c */
  readonly program: string;
  /** Heading in docs/limits.md. */
  readonly title: string;
  /** For the compiler. */
  readonly flags?: readonly string[];
  readonly probes: readonly Probe[];
  /** What no probe can tell; a paragraph each below the table. */
  readonly notes?: readonly string[];
}

/** Probes that share a process: all that are kept and do not mind; each other is alone. */
export function groupsOf({ probes }: Family): Probe[][] {
  const together = probes.filter((probe) => probe.is === "kept" && !probe.isAlone);
  const alone = probes.filter((probe) => !together.includes(probe)).map((probe) => [probe]);
  return together.length > 0 ? [together, ...alone] : alone;
}
